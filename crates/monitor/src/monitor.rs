//! The monitor: rounds, the server and webhooks run in one task, except for the connections.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_lag::Report;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::{
    History, Settings,
    clock::now,
    http::{Served, Server},
    notify,
    view::View,
};

/// A round that exceeds this multiple of the interval, and at least the time below, is reported as a failure while it continues.
const SLOW: u32 = 6;
const SLOW_AT_LEAST: Duration = Duration::from_secs(60);

/// The most queries that read the history at once. Others wait.
const QUERIES: usize = 2;

/// The source of reports.
pub trait Source {
    /// Why there is no report.
    type Error: std::fmt::Display;

    /// Makes one round of requests. It is called again after each result, success or failure. [`Monitor::run`] is `Send` if this
    /// is.
    fn round(&mut self) -> impl Future<Output = Result<Report, Self::Error>>;
}

/// Why a monitor cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct Error {
    address: SocketAddr,
    source: io::Error,
}

/// A monitor that is listening and ready to run.
#[derive(Debug)]
pub struct Monitor {
    listener: TcpListener,
    history: History,
    address: SocketAddr,
}

impl Monitor {
    /// Listens on this address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The address cannot be used.
    pub async fn bind(address: SocketAddr, history: History) -> Result<Self, Error> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bound.await.map_err(|source| Error { address, source })?;
        Ok(Self { listener, history, address })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the source's reports until `stop` resolves; then it ends within half a second, whatever the source does. New
    /// settings apply from the next round and the next request. Neither invalid settings nor failures end it.
    pub async fn run<S: Source>(
        self,
        mut source: S,
        settings: watch::Receiver<Settings>,
        stop: impl Future<Output = ()>,
    ) {
        let views = watch::Sender::new(View::default());
        let history = Arc::new(Mutex::new(self.history));
        let served = Served {
            view: views.subscribe(),
            settings: settings.clone(),
            history: Arc::clone(&history),
            is_local: self.address.ip().is_loopback(),
            queries: Semaphore::new(QUERIES),
        };
        let mut server = Server::new(self.listener, Arc::new(served));
        let webhooks = notify::run(views.subscribe(), settings.clone(), notify::send);
        tokio::select! {
            () = stop => {}
            () = server.accept() => {}
            () = rounds(&mut source, &views, settings, &history) => {}
            () = async { webhooks.await; std::future::pending().await } => {}
        }
        server.stop().await;
    }
}

/// Makes one round after the other. Never ends.
async fn rounds<S: Source>(
    source: &mut S,
    views: &watch::Sender<View>,
    mut settings: watch::Receiver<Settings>,
    history: &Arc<Mutex<History>>,
) {
    loop {
        let (began, interval) = (now(), settings.borrow_and_update().interval);
        match timed(source, views, interval).await {
            Ok(report) => {
                let report = Arc::new(report);
                for failure in &report.failures {
                    tracing::debug!("{failure}");
                }
                views.send_modify(|view| view.on_report(Arc::clone(&report), began.elapsed().as_secs_f64()));
                let history = Arc::clone(history);
                let append = move || {
                    if let Ok(mut history) = history.lock() {
                        history.append(&report);
                    }
                };
                let _ = tokio::task::spawn_blocking(append).await;
            }
            Err(failure) => {
                if views.borrow().failure.is_none() {
                    tracing::warn!("no report: {failure}");
                }
                views.send_modify(|view| view.on_failure(failure));
            }
        }
        // A new interval counts from the beginning of this round, too.
        loop {
            let next = began.checked_add(settings.borrow().interval);
            tokio::select! {
                () = until(next) => break,
                changed = settings.changed() => if changed.is_err() {
                    until(next).await;
                    break;
                },
            }
        }
    }
}

async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await, // after the end of time
    }
}

/// Makes a round. A slow round is reported while it continues, because it is unknown whether it may be given up.
async fn timed<S: Source>(
    source: &mut S,
    views: &watch::Sender<View>,
    interval: Duration,
) -> Result<Report, String> {
    let mut round = std::pin::pin!(source.round());
    let limit = interval.saturating_mul(SLOW).max(SLOW_AT_LEAST);
    if let Ok(ended) = tokio::time::timeout(limit, round.as_mut()).await {
        return ended.map_err(|error| error.to_string());
    }
    let delay = format!("the round has not ended for {} s", limit.as_secs());
    tracing::warn!("{delay}");
    views.send_modify(|view| view.on_delay(delay));
    round.await.map_err(|error| error.to_string())
}
