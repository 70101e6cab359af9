//! One connection, with limits on every resource that its client can use.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::route::{Served, route};

/// The timeout for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// The limit of a request's head and of a connection's buffers.
const BUFFER: usize = 16 << 10;
/// The most headers of a request.
const MOST_HEADERS: usize = 64;
/// The lifetime of a connection, after which it is closed when it is idle or has answered. A scraper connects again.
const LIFE: Duration = Duration::from_secs(60);
/// The additional time after which it is closed even while a client reads; a response takes less for a client that does read.
const LAST_ANSWER: Duration = Duration::from_secs(30);

/// Serves until the client closes the connection, its lifetime ends, or the server stops.
pub(super) async fn serve<S>(stream: S, served: Arc<Served>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let served = Arc::clone(&served);
        async move { Ok::<_, Infallible>(route(&served, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stop.wait_for(|stop| *stop) => None,
        () = over(LIFE) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a connection's life has an end")]
async fn over(time: Duration) {
    tokio::time::sleep(time).await;
}
