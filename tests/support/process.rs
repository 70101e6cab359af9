//! One process of ours: ended by its id when dropped, signalled through the `kill` program.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::reaper;

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with the pipes it asks for.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        reaper::add(child.id());
        Self { child, ended: None }
    }

    /// Starts `command` with its output appended to the file at `log`.
    pub(crate) fn start_logging(command: &mut Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("a log file can be opened");
        let err = out.try_clone().expect("a file handle can be duplicated");
        Self::start(command.stdin(Stdio::null()).stdout(out).stderr(err))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        if self.ended.is_none() {
            signal(self.id(), name);
        }
    }

    /// The exit status, once it has ended. The process id is not reused until this has been read.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
            if self.ended.is_some() {
                reaper::remove(self.id());
            }
        }
        self.ended
    }

    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() > deadline {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill9(&mut self) {
        if self.ended.is_none() {
            self.child.kill().ok();
            reaper::remove(self.id());
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Sends the signal of this name (`TERM`, `STOP`, …) to one process. After `STOP` waits until none of its threads runs
/// any more, which on a busy machine is a moment later.
pub(crate) fn signal(pid: u32, name: &str) {
    let status =
        Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill(1) is there");
    assert!(status.success(), "signal {name} cannot be sent to process {pid}");
    let sent = Instant::now();
    while name == "STOP" && runs(pid) {
        assert!(sent.elapsed() < Duration::from_secs(30), "process {pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether any thread of a process is neither stopped nor dead. False if unknown.
fn runs(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rfind(')').and_then(|end| stat.get(end + 2..)?.chars().next());
        state.is_some_and(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
    })
}

/// User and system time of a process that has not been waited for, and whether it has ended.
pub(crate) fn cpu_time(pid: u32) -> Option<(Duration, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in parentheses and may contain anything; the rest is plain.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let dead = matches!(fields.next()?, "Z" | "X");
    let mut ticks = fields.skip(10);
    let user: u64 = ticks.next()?.parse().ok()?;
    let system: u64 = ticks.next()?.parse().ok()?;
    // Linux reports times in hundredths of a second on every architecture used here.
    Some((Duration::from_millis((user + system) * 10), dead))
}
