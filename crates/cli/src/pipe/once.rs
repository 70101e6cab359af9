//! `--mode value`: runs CMD for each record, with the value on its stdin.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use offtake::OwnedRecord;
use offtake_worker::Failure;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::process::{Process, ProcessReaper, cannot_run, ending};

/// `EX_DATAERR` of `sysexits.h`.
const POISON: i32 = 65;

/// Runs a command for a record; cheap to clone.
#[derive(Clone)]
pub(super) struct Once {
    pub(super) command: Arc<str>,
    pub(super) timeout: Duration,
    pub(super) reaper: Arc<ProcessReaper>,
    /// Whether the command was ever run to an end of its own.
    pub(super) has_run: Arc<AtomicBool>,
}

impl Once {
    /// Runs the command; it is killed if this is dropped.
    pub(super) async fn run(self, record: OwnedRecord, attempt: u32) -> Result<(), Failure> {
        let started = Process::spawn(&self.command, &self.reaper, |shell| describe(shell, &record, attempt));
        let mut process = started.map_err(|error| match error.kind() {
            io::ErrorKind::ArgumentListTooLong => {
                Failure::poison("its key is too long for an environment variable")
            }
            _ => Failure::retry(format!("the command cannot be started: {error}")),
        })?;
        let stdin = process.take_stdin();
        let write = async {
            if let (Some(mut stdin), Some(value)) = (stdin, record.value()) {
                let _ = stdin.write_all(value).await; // it need not read all of it
            }
        };
        let ended = timeout(self.timeout, async {
            let mut write = pin!(write);
            let mut is_written = false;
            loop {
                tokio::select! {
                    status = process.wait() => break status,
                    () = &mut write, if !is_written => is_written = true,
                }
            }
        });
        let Ok(status) = ended.await else {
            process.kill().await;
            return Err(Failure::retry(format!("the command did not end within {:?}", self.timeout)));
        };
        if !self.has_run.load(Ordering::Relaxed)
            && let Some(why) = cannot_run(&self.command, &status)
        {
            // This must not pass over any record.
            return Err(Failure::fatal(format!("the command {why}")));
        }
        self.has_run.store(true, Ordering::Relaxed);
        match status.as_ref().ok().and_then(std::process::ExitStatus::code) {
            Some(0) => Ok(()),
            Some(POISON) => Err(Failure::poison(format!("the command {}", ending(&status)))),
            _ => Err(Failure::retry(format!("the command {}", ending(&status)))),
        }
    }
}

fn describe(shell: &mut Command, record: &OwnedRecord, attempt: u32) {
    shell
        .env("OFFTAKE_TOPIC", record.topic())
        .env("OFFTAKE_PARTITION", record.partition().to_string())
        .env("OFFTAKE_OFFSET", record.offset().to_string())
        .env("OFFTAKE_ATTEMPT", attempt.to_string())
        .env_remove("OFFTAKE_KEY")
        .env_remove("OFFTAKE_KEY_BASE64");
    match record.key() {
        None => {}
        Some(key) if key.contains(&0) => {
            shell.env("OFFTAKE_KEY_BASE64", STANDARD.encode(key));
        }
        Some(key) => {
            shell.env("OFFTAKE_KEY", OsStr::from_bytes(key));
        }
    }
}
