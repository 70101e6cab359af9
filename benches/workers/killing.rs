//! Repeated records after a process was killed, with handlers that take 5 ms.

use offtake_tests::unique;

use crate::{
    Bench,
    ledger::Ledger,
    settings::Section,
    system::{Job, PATIENCE, System},
};

impl Bench {
    /// Kills a process when two fifths are done, and starts another in its group.
    pub(crate) fn killed(&mut self) -> Result<(), String> {
        let section = Section::Killed;
        let count = self.settings.scaled(100_000);
        let topic = self.filled(1000, count)?;
        let systems: Vec<_> =
            System::ALL.into_iter().filter(|system| system.obstacle(&self.settings).is_none()).collect();
        for run in 1..=self.settings.runs {
            for system in &systems {
                eprintln!("workers: {section}, run {run}: {system}");
                let job = Job { system: *system, topic: topic.clone(), count, work: 5, concurrency: 100 };
                match self.killed_once(&job) {
                    Ok(seen) => {
                        let row = system.to_string();
                        let mut add = |column, value| self.figures.add(section, &row, column, value as f64);
                        add("handled when it was killed", seen.before);
                        add("handled again", seen.repeats);
                        add("never handled", seen.lost);
                        add("of those, passed by a commit", seen.passed);
                    }
                    Err(error) => println!("# {section}, {system}, run {run}: {error}"),
                }
            }
        }
        let rows: Vec<String> = systems.iter().map(ToString::to_string).collect();
        self.figures.print(section, &rows);
        self.tool.delete_topic(&topic);
        Ok(())
    }

    fn killed_once(&self, job: &Job) -> Result<Seen, String> {
        let file = self.kafka.folder().join(unique("ledger"));
        let path = file.display().to_string();
        let (group, bootstrap) = (unique("group"), self.kafka.direct());
        let first = job.start(&self.settings, &bootstrap, &group, 1, &path);
        let mut ledger = Ledger::at(&file);
        let has_begun = ledger.wait_for(job.count * 2 / 5);
        first.signal("KILL");
        drop(first.finish(PATIENCE));
        ledger.read_on();
        let before = ledger.different();
        if !has_begun || before >= job.count {
            return Err(format!("it was killed when {before} of {} records were handled", job.count));
        }
        let second = job.start(&self.settings, &bootstrap, &group, 1, &path);
        ledger.wait_for(job.count);
        second.signal("KILL");
        drop(second.finish(PATIENCE));
        ledger.read_on();
        let group = job.system.group(&group, 1);
        let committed =
            self.tool.committed(&group).into_iter().map(|((_, partition), offset)| (partition, offset));
        let ends = self.tool.list_offsets(&job.topic, "latest", "read_uncommitted");
        Ok(Seen {
            before,
            repeats: ledger.repeats(),
            lost: job.count - ledger.different(),
            passed: ledger.missing(&ends, &committed.collect()),
        })
    }
}

/// The result.
struct Seen {
    before: u64,
    repeats: u64,
    lost: u64,
    passed: u64,
}
