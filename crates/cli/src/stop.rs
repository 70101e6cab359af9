//! SIGINT and SIGTERM: the first asks the command to finish what is in hand, the second ends it there and then.

use tokio::sync::watch;

use crate::failure::Failure;

/// Whether somebody asked us to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: watch::Receiver<bool>,
}

impl Stop {
    /// Listens from now on, on a thread of the runtime that the command does not block.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::listen_and(|| {})
    }

    /// The same; `farewell` is called before the second signal ends the process.
    #[expect(
        clippy::disallowed_methods,
        reason = "signals come from outside every loop; ends with the process"
    )]
    pub(crate) fn listen_and(farewell: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        let (ask, asked) = watch::channel(false);
        let mut signals =
            Signals::new().map_err(|error| Failure::failed(format!("cannot catch signals: {error}")))?;
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("stopping; once more to stop at once");
            let _ = ask.send(true);
            signals.next().await;
            farewell();
            std::process::exit(130);
        });
        Ok(Self { asked })
    }

    /// Resolves when somebody asks.
    pub(crate) async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await; // nobody can ask any more
        }
    }

    /// `work`, unless somebody asks first.
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
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
