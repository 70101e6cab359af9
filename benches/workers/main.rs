//! The cost of record handlers: Offtake's worker, Confluent's Parallel Consumer and plain loops of `poll` on the same
//! topics of one real Kafka, in turn. `benches/README.md` explains the tables, how each is set up, and how to repeat
//! them.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

#[path = "../rebalance/broker.rs"]
mod as_shipped;
mod figures;
mod killing;
mod ledger;
mod piping;
mod settings;
mod system;

use std::process::{Command, ExitCode};

use offtake_tests::{JavaTool, Kafka, unique};

use crate::{
    figures::Figures,
    settings::{Section, Settings, USAGE},
    system::{Job, System},
};

const PARTITIONS: i32 = 6;

/// The context of all sections.
pub(crate) struct Bench {
    settings: Settings,
    kafka: Kafka,
    tool: JavaTool,
    figures: Figures,
}

fn main() -> ExitCode {
    let done = Settings::read(std::env::args().skip(1))
        .map_err(|error| format!("{error}\n{USAGE}"))
        .and_then(Bench::start)
        .and_then(|mut bench| bench.run());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Bench {
    fn start(settings: Settings) -> Result<Self, String> {
        let figures = Figures::to(settings.out.as_deref())?;
        let kafka = as_shipped::as_shipped().start();
        let tool = JavaTool::start(&kafka);
        Ok(Self { settings, kafka, tool, figures })
    }

    fn run(&mut self) -> Result<(), String> {
        for system in System::ALL {
            if let Some(obstacle) = system.obstacle(&self.settings) {
                eprintln!("workers: {system} is left out: {obstacle}");
            }
        }
        let sections = self.settings.sections.clone();
        for section in sections {
            match section {
                Section::Jobs => self.measure(section, 100_000, 5, &[100])?,
                Section::Noop => self.measure(section, 1_000_000, 0, &[1, 64])?,
                Section::Killed => self.killed()?,
                Section::Pipe => self.piped()?,
            }
        }
        Ok(())
    }

    /// Each system does the same job, in turn, once per run.
    fn measure(
        &mut self,
        section: Section,
        records: u64,
        work: u64,
        concurrencies: &[u32],
    ) -> Result<(), String> {
        let count = self.settings.scaled(records);
        let topic = self.filled(1000, count)?;
        let mut rows = Vec::new();
        for system in System::ALL {
            // A loop whose handlers do not wait has no concurrency.
            let is_plain = work == 0 && matches!(system, System::Poll | System::Java);
            // The Parallel Consumer with one thread takes minutes for this many.
            let is_slow = work == 0 && system == System::Parallel;
            let concurrencies = match concurrencies {
                [first, ..] if is_plain => std::slice::from_ref(first),
                [.., last] if is_slow => std::slice::from_ref(last),
                all => all,
            };
            for concurrency in concurrencies {
                if system.takes_part(section) && system.obstacle(&self.settings).is_none() {
                    let row = if is_plain { system.to_string() } else { format!("{system}, {concurrency}") };
                    rows.push((
                        row,
                        Job { topic: topic.clone(), count, work, concurrency: *concurrency, system },
                    ));
                }
            }
        }
        for run in 1..=self.settings.runs {
            for (row, job) in &rows {
                eprintln!("workers: {section}, run {run}: {row}");
                match job.run(&self.settings, &self.kafka.direct()) {
                    Ok(done) => self.figures.note(section, row, job, &done),
                    Err(error) => println!("# {section}, {row}, run {run}: {error}"),
                }
            }
        }
        let rows: Vec<String> = rows.into_iter().map(|(row, _)| row).collect();
        self.figures.print(section, &rows);
        self.tool.delete_topic(&topic);
        Ok(())
    }

    /// A new topic with this many records, with this many keys.
    pub(crate) fn filled(&self, keys: u64, count: u64) -> Result<String, String> {
        let topic = self.tool.create_topic(&unique("workers"), PARTITIONS, &[]);
        let (keys, count) = (keys.to_string(), count.to_string());
        let filled = Command::new(&self.settings.ours)
            .args(["fill", &self.kafka.direct(), &topic, &keys, &count])
            .status()
            .map_err(|error| format!("{}: {error}", self.settings.ours.display()))?;
        if filled.success() { Ok(topic) } else { Err(format!("the topic was not filled: {filled}")) }
    }
}
