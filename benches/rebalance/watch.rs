//! Members as processes, and their deliveries: each line is stamped when it is read, whichever program wrote it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::clock::{Micros, micros};
use crate::settings::Settings;
use crate::system::{Place, System};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) at: Micros,
    pub(crate) member: usize,
    pub(crate) partition: i32,
    pub(crate) sequence: u64,
    pub(crate) produced: Micros,
    /// When the member got it, by its own account; kcat prints no time.
    pub(crate) said: Option<Micros>,
}

/// The deliveries to all members of a run, in the order in which they were read.
#[derive(Clone, Default)]
pub(crate) struct Deliveries(Arc<Mutex<Vec<Delivery>>>);

impl Deliveries {
    pub(crate) fn all(&self) -> Vec<Delivery> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the deliveries satisfy `enough`; false if that does not happen.
    pub(crate) fn wait(&self, patience: Duration, mut enough: impl FnMut(&[Delivery]) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if enough(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    }
}

/// A live member. Dropping it kills it.
pub(crate) struct Member {
    system: System,
    child: Child,
    stdin: Option<ChildStdin>,
    /// When its process was started.
    pub(crate) spawned: Micros,
    started: Arc<OnceLock<Micros>>,
    slow: Slow,
}

/// When a member began to revoke partitions, and when it was done, if it is slow.
#[derive(Clone, Default)]
struct Slow(Arc<[OnceLock<Micros>; 2]>);

impl Slow {
    fn hear(&self, at: Micros, line: &str) {
        for (word, time) in ["revoking", "revoked"].iter().zip(self.0.iter()) {
            if *word == line {
                time.set(at).ok();
            }
        }
    }
}

impl Member {
    pub(crate) fn start(
        system: System,
        number: usize,
        settings: &Settings,
        place: &Place<'_>,
        deliveries: &Deliveries,
    ) -> Result<Self, String> {
        let mut command = system.member(settings, place);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors(settings.logs.as_deref(), place)?);
        let spawned = micros();
        let mut child = spawn(&mut command)?;
        let (started, slow) = (Arc::new(OnceLock::new()), Slow::default());
        if system == System::Librdkafka {
            started.set(spawned).ok();
        }
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            let (started, deliveries, slow) = (Arc::clone(&started), deliveries.clone(), slow.clone());
            std::thread::spawn(move || read(stdout, number, &started, &slow, &deliveries));
        }
        Ok(Self { system, child, stdin, spawned, started, slow })
    }

    /// When it began to join: its runtime's start-up does not count, except for kcat, which does not report it.
    pub(crate) fn started(&self) -> Option<Micros> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && self.started.get().is_none() {
            sleep(Duration::from_millis(1));
        }
        self.started.get().copied()
    }

    /// Waits until it begins to revoke partitions, or (`done`) until it is done; returns when.
    pub(crate) fn revokes(&self, done: bool, patience: Duration) -> Option<Micros> {
        let deadline = Instant::now() + patience;
        let [begun, ended] = &*self.slow.0;
        let time = if done { ended } else { begun };
        while Instant::now() < deadline && time.get().is_none() {
            sleep(Duration::from_millis(10));
        }
        time.get().copied()
    }

    /// `kill -9`.
    pub(crate) fn die(&mut self) {
        self.child.kill().ok();
    }

    /// Asks it to leave the group and to end; returns when.
    pub(crate) fn leave(&mut self) -> Micros {
        let at = micros();
        self.stdin = None;
        if self.system.leaves_on_signal() {
            Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().ok();
        }
        at
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rfind(')').and_then(|end| stat.get(end + 2..)).unwrap_or_default();
        let ticks: u64 =
            fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("{:?} does not start: {error}", command.get_program()))
}

fn errors(logs: Option<&Path>, place: &Place<'_>) -> Result<Stdio, String> {
    let Some(folder) = logs else { return Ok(Stdio::null()) };
    let path = folder.join(format!("{}-{}.log", place.topic, place.client));
    let file = File::options().create(true).append(true).open(&path);
    file.map(Stdio::from).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(
    mut stdout: ChildStdout,
    member: usize,
    started: &OnceLock<Micros>,
    slow: &Slow,
    deliveries: &Deliveries,
) {
    let mut held = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = stdout.read(&mut buffer) {
        let at = micros();
        held.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = String::from_utf8_lossy(held.get(..whole).unwrap_or_default()).into_owned();
        held.drain(..whole);
        let mut those = Vec::new();
        for line in text.lines() {
            if line == "start" {
                started.set(at).ok();
            }
            slow.hear(at, line);
            those.extend(delivery(at, member, line));
        }
        deliveries.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut those);
    }
}

fn delivery(at: Micros, member: usize, line: &str) -> Option<Delivery> {
    let mut words = line.split(' ');
    Some(Delivery {
        at,
        member,
        partition: words.next()?.parse().ok()?,
        sequence: words.next()?.parse().ok()?,
        produced: words.next()?.parse().ok()?,
        said: words.next().and_then(|word| word.parse().ok()),
    })
}
