//! SIGINT, SIGTERM and SIGHUP: the first asks the command to finish its present work, the second ends it at once.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    clock::now,
    failure::{Failure, say},
};

/// One request often arrives as two signals: `timeout` signals its child and then the whole process group, and
/// a terminal does the same beside a wrapper that forwards signals. A signal within this time after the first
/// is not a second request.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// Whether a signal asked us to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: watch::Receiver<bool>,
}

impl Stop {
    /// Listens from now on, on a runtime thread that the command does not block.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let notice = || {
            if io::stderr().is_terminal() {
                // On a new line: the present one has ^C, and a progress line where records go elsewhere.
                let start = if io::stdout().is_terminal() { "\n" } else { "\r\x1b[2K" };
                say(format_args!("{start}offtake: stopping; once more to stop at once"));
            }
        };
        Self::listen_with(Signals::new, notice, || {})
    }

    /// The same without a message, for SIGINT and SIGTERM only: SIGHUP means something else.
    pub(crate) fn listen_without_hangup() -> Result<Self, Failure> {
        Self::listen_with(Signals::without_hangup, || {}, || {})
    }

    /// The same without a message; `on_exit` is called before the second signal ends the process.
    pub(crate) fn listen_with_exit_hook(on_exit: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        Self::listen_with(Signals::new, || {}, on_exit)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "signals come from outside every loop; ends with the process"
    )]
    fn listen_with(
        signals: fn() -> io::Result<Signals>,
        notice: impl FnOnce() + Send + 'static,
        on_exit: impl FnOnce() + Send + 'static,
    ) -> Result<Self, Failure> {
        let (ask, asked) = watch::channel(false);
        let mut signals =
            signals().map_err(|error| Failure::failed(format!("cannot catch signals: {error}")))?;
        tokio::spawn(async move {
            signals.next().await;
            let _ = ask.send(true);
            notice();
            let first = now();
            while now() - first < SAME_REQUEST {
                signals.next().await;
            }
            on_exit();
            std::process::exit(130);
        });
        Ok(Self { asked })
    }

    /// Resolves at the first signal.
    pub(crate) async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await; // no signal can arrive any more
        }
    }

    /// `work`, unless a signal arrives first.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = work => Some(done),
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// The terminal or the connection to it is gone. Not under `nohup`, which asks for this signal to be ignored.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if hangup_is_fatal() { Some(signal(SignalKind::hangup())?) } else { None };
        Ok(Self { hangup, ..Self::without_hangup()? })
    }

    fn without_hangup() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: None,
        })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether SIGHUP would end this process, as Linux reports. Where that is unknown, the signal is left alone.
#[cfg(unix)]
fn hangup_is_fatal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_signals(&status).is_some_and(|ignored| ignored & 1 == 0)
}

/// The signals that a process ignores, as a mask with SIGHUP in its lowest bit.
#[cfg(unix)]
fn ignored_signals(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    fn without_hangup() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_respected() {
        let status = |mask: &str| format!("Name:\tofftake\nSigBlk:\t0000000000000000\nSigIgn:\t{mask}\n");
        assert_eq!(ignored_signals(&status("0000000000000001")), Some(1));
        assert_eq!(ignored_signals(&status("0000000000001000")), Some(0x1000));
        assert_eq!(ignored_signals("Name:\tofftake\n"), None);
    }
}
