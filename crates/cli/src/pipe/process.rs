//! A handler's process and all that it starts: a process group of its own, which never outlives the command.

use std::{
    io::{self, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::failure::Failure;

const SHELL: &str = "/bin/sh";

/// Kills the remaining process groups when the command is gone, for whatever reason.
///
/// It is a shell that reads the list of groups on its stdin. Its stdin ends when the command does: after a
/// second signal, which does not wait, and after SIGKILL, which cannot be caught.
pub(super) struct ProcessReaper {
    groups: Mutex<Option<std::process::ChildStdin>>,
    shell: Mutex<std::process::Child>,
}

const REAPER_SCRIPT: &str = r#"
trap '' INT TERM HUP
live=' '
while read -r op pid; do
  case $op in
    +) live="$live$pid " ;;
    -) live="${live%% $pid *} ${live#* $pid }" ;;
  esac
done
for pid in $live; do kill -9 "-$pid" 2>/dev/null; done
"#;

impl ProcessReaper {
    pub(super) fn start() -> Result<Arc<Self>, Failure> {
        let mut shell = std::process::Command::new(SHELL);
        shell.args(["-c", REAPER_SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = shell
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::failed(format!("cannot start {SHELL}: {error}")))?;
        Ok(Arc::new(Self { groups: Mutex::new(shell.stdin.take()), shell: Mutex::new(shell) }))
    }

    fn note(&self, what: char, group: Pid) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(groups) = groups.as_mut() {
            // A reaper that was killed has no effect; nothing depends on it while the command lives.
            let _ = groups.write_all(format!("{what} {}\n", group.as_raw_nonzero()).as_bytes());
        }
    }
}

impl Drop for ProcessReaper {
    fn drop(&mut self) {
        drop(self.groups.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// A process started as `/bin/sh -c 'exec CMD'`. If it is dropped, it is killed with its group.
pub(super) struct Process {
    child: tokio::process::Child,
    group: Pid,
    reaper: Arc<ProcessReaper>,
    is_over: bool,
}

impl Process {
    pub(super) fn spawn(
        command: &str,
        reaper: &Arc<ProcessReaper>,
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        let mut shell = Command::new(SHELL);
        shell.arg("-c").arg(format!("exec {command}"));
        shell.process_group(0).kill_on_drop(true).stdin(Stdio::piped());
        prepare(&mut shell);
        let child = shell.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let group = pid.ok_or_else(|| io::Error::other("it has no process id"))?;
        reaper.note('+', group);
        Ok(Self { child, group, reaper: Arc::clone(reaper), is_over: false })
    }

    pub(super) fn pid(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    pub(super) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end, and kills the rest of its group. Cancel-safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.over();
        status
    }

    /// Asks it to end, by SIGTERM.
    pub(super) fn terminate(&self) {
        if !self.is_over {
            let _ = kill_process_group(self.group, Signal::TERM); // it may be gone already
        }
    }

    /// Kills it. It is gone when this returns.
    pub(super) async fn kill(&mut self) {
        if !self.is_over {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.wait().await;
        }
    }

    fn over(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            // While any process of the group lives, its number is not reused.
            let _ = kill_process_group(self.group, Signal::KILL);
            self.reaper.note('-', self.group);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.over();
    }
}

/// The exit codes of a shell that cannot run a command.
const NOT_RUN: std::ops::RangeInclusive<i32> = 126..=127;

/// Why this command cannot be run, if it ended for that reason; follows the words "the handler".
pub(super) fn cannot_run(command: &str, status: &io::Result<ExitStatus>) -> Option<String> {
    let code = status.as_ref().ok()?.code()?;
    NOT_RUN
        .contains(&code)
        .then(|| format!("cannot be run: the shell ended with status {code} for `{command}`"))
}

/// How it ended; follows the words "the handler".
pub(super) fn ending(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}
