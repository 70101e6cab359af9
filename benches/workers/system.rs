//! The measured systems, and how a process of each is started.

use std::{fmt, process::Command, time::Duration};

use offtake_tests::{Finished, Offtake, Running, V4_3_0, unique};
use serde_json::Value;

use crate::settings::{Section, Settings};

/// How long a process may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Worker,
    Parallel,
    /// The same, committing as often as our worker.
    ParallelEachSecond,
    Poll,
    Java,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "Offtake's worker",
            Self::Parallel => "Parallel Consumer",
            Self::ParallelEachSecond => "Parallel Consumer, commits each second",
            Self::Poll => "Offtake's `poll`",
            Self::Java => "Java's `poll`",
        })
    }
}

/// The job of a process.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) system: System,
    pub(crate) topic: String,
    pub(crate) count: u64,
    /// Milliseconds for each record.
    pub(crate) work: u64,
    pub(crate) concurrency: u32,
}

/// The result that it prints.
pub(crate) struct Done {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    /// Seconds spent in handlers, in total.
    pub(crate) busy: f64,
    pub(crate) peak_mib: f64,
}

impl System {
    pub(crate) const ALL: [Self; 5] =
        [Self::Worker, Self::Parallel, Self::ParallelEachSecond, Self::Poll, Self::Java];

    pub(crate) fn takes_part(self, section: Section) -> bool {
        self != Self::ParallelEachSecond || section == Section::Killed
    }

    /// The group of a pass: Java's programs have one for each.
    pub(crate) fn group(self, group: &str, pass: u32) -> String {
        if self.class().is_some() { format!("{group}-{pass}") } else { group.to_owned() }
    }

    fn class(self) -> Option<&'static str> {
        match self {
            Self::Parallel | Self::ParallelEachSecond => Some("Parallel"),
            Self::Java => Some("Loop"),
            Self::Worker | Self::Poll => None,
        }
    }

    /// Why it cannot be measured here, if so.
    pub(crate) fn obstacle(self, settings: &Settings) -> Option<String> {
        let file = settings.programs.join("java").join(format!("{}.class", self.class()?));
        (!file.is_file()).then(|| format!("{} is not there: it could not be built", file.display()))
    }
}

impl Job {
    /// Runs a job to its end, as a group of its own. Java's programs do it twice, and report the second time.
    pub(crate) fn run(&self, settings: &Settings, bootstrap: &str) -> Result<Done, String> {
        let finished = self.start(settings, bootstrap, &unique("group"), 2, "-").finish(PATIENCE);
        let said = || format!("it ended with {:?}: {}", finished.code, last_words(&finished));
        let row: Value =
            finished.stdout.last().and_then(|line| serde_json::from_str(line).ok()).ok_or_else(said)?;
        let of = |name: &str| row[name].as_f64().unwrap_or_default();
        if finished.code != Some(0)
            || row["records"] != self.count
            || of("bytes") != self.count as f64 * 100.0
        {
            return Err(format!("{}: {row}", said()));
        }
        Ok(Done {
            seconds: of("seconds"),
            cpu: of("cpu"),
            busy: of("busy"),
            peak_mib: of("peak_kib") / 1024.0,
        })
    }

    /// Starts a process that handles all records. `ledger`: where it notes each, or `-`.
    pub(crate) fn start(
        &self,
        settings: &Settings,
        bootstrap: &str,
        group: &str,
        passes: u32,
        ledger: &str,
    ) -> Running {
        let [passes, count, work, concurrency] =
            [u64::from(passes), self.count, self.work, u64::from(self.concurrency)]
                .map(|number| number.to_string());
        let job = [bootstrap, &self.topic, group, &count, &work, &concurrency, ledger];
        let Some(class) = self.system.class() else {
            let mode = if self.system == System::Poll { "poll" } else { "worker" };
            return Offtake::new([mode]).args(job).instead(&settings.ours).start();
        };
        let libs = settings.programs.join("libs/*");
        // The loop has the current client; the Parallel Consumer the version that it depends on.
        let libs = if self.system == System::Java { current_client() } else { libs.display().to_string() };
        let path = format!("{}:{libs}", settings.programs.join("java").display());
        let java = Offtake::new(["-Xmx1g", "-cp", &path, class, &passes]).args(job);
        let java = if self.system == System::ParallelEachSecond { java.args(["1000"]) } else { java };
        java.instead("java").start()
    }
}

/// The class path of the current Kafka.
fn current_client() -> String {
    let java: Command = V4_3_0.java();
    let words: Vec<_> = java.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let at = words.iter().position(|word| word == "-cp" || word == "-classpath");
    at.and_then(|at| words.get(at + 1).cloned()).unwrap_or_default()
}

fn last_words(finished: &Finished) -> String {
    finished.stderr.iter().rev().take(3).rev().cloned().collect::<Vec<_>>().join(" | ")
}
