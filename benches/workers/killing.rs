//! What is handled again after a process was killed, with handlers that take 5 ms.

use offtake_tests::unique;

use crate::{
    Bench,
    ledger::{self, Ledger},
    settings::Section,
    system::{Job, PATIENCE, System},
};

impl Bench {
    /// A process is killed when two fifths are done, and another goes on in its group.
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
                    Ok((lines, repeats)) => {
                        let row = system.to_string();
                        self.figures.add(section, &row, "handled again", repeats as f64);
                        self.figures.add(section, &row, "handled when it was killed", lines as f64);
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

    fn killed_once(&self, job: &Job) -> Result<(u64, u64), String> {
        let folder = self.kafka.folder().join(unique("ledger"));
        let path = folder.display().to_string();
        let (group, bootstrap) = (unique("group"), self.kafka.direct());
        let first = job.start(&self.settings, &bootstrap, &group, 1, &path);
        let has_begun = ledger::wait_for(&folder, job.count * 2 / 5, PATIENCE);
        first.signal("KILL");
        drop(first.finish(PATIENCE));
        let lines = Ledger::read(&folder).different();
        if !has_begun || lines >= job.count {
            return Err(format!("it was killed when {lines} of {} records were handled", job.count));
        }
        let second = job.start(&self.settings, &bootstrap, &group, 1, &path);
        let has_ended = ledger::wait_for(&folder, job.count, PATIENCE);
        second.signal("KILL");
        drop(second.finish(PATIENCE));
        let ledger = Ledger::read(&folder);
        match has_ended {
            true => Ok((lines, ledger.repeats())),
            false => Err(format!("{} of {} records were handled", ledger.different(), job.count)),
        }
    }
}
