//! The server: few connections, small requests, short connections. HTTP/1 by hyper, HTTPS by rustls.

mod access;
mod connection;
mod respond;
mod route;
#[cfg(feature = "tls")]
mod tls;

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

pub use access::Access;
pub(crate) use route::Served;
#[cfg(feature = "tls")]
pub use tls::ServerTls;

/// The most connections. Further ones are closed as soon as they are accepted.
pub const MOST_CONNECTIONS: usize = 256;

/// How long connections may take to finish when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_millis(400);

/// Accepts connections until it is dropped or stopped, and serves each in a task of its own.
pub(crate) struct Server {
    listener: TcpListener,
    served: Arc<Served>,
    slots: Arc<Semaphore>,
    connections: JoinSet<()>,
    /// Becomes true when connections have to end.
    stop: watch::Sender<bool>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, served: Arc<Served>) -> Self {
        Self {
            listener,
            served,
            slots: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            connections: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Never ends. May be dropped at any await.
    pub(crate) async fn accept(&mut self) {
        loop {
            tokio::select! {
                Some(_) = self.connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.begin(stream),
                    Err(error) => {
                        // Usually there are no free descriptors; an immediate retry would fail as well.
                        tracing::warn!("cannot accept a connection: {error}");
                        pause(Duration::from_millis(200)).await;
                    }
                },
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            tracing::debug!("{MOST_CONNECTIONS} connections are open: one more is refused");
            return;
        };
        let (served, stop) = (Arc::clone(&self.served), self.stop.subscribe());
        self.connections.spawn(serve(stream, served, stop, slot));
    }

    /// Ends all connections: idle ones at once, others after their response, and all after 0.4 s.
    pub(crate) async fn stop(mut self) {
        drop(self.listener);
        self.stop.send_replace(true);
        let ends = async { while self.connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_TIMEOUT, ends).await;
        self.connections.shutdown().await;
    }
}

async fn serve(
    stream: TcpStream,
    served: Arc<Served>,
    stop: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    #[cfg(feature = "tls")]
    {
        let tls = served.settings.borrow().tls.clone();
        if let Some(tls) = tls {
            match tls.accept(stream).await {
                Ok(stream) => connection::serve(stream, served, stop).await,
                Err(error) => tracing::debug!("a TLS handshake failed: {error}"),
            }
            return;
        }
    }
    connection::serve(stream, served, stop).await;
}

#[expect(clippy::disallowed_methods, reason = "the server's loop waits for descriptors to become free")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
