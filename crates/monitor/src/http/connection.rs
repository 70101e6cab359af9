//! One connection, with bounds on all that its client may take.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::route::{Served, route};

/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long a request's head may be, and a connection's buffers.
const BUFFER: usize = 16 << 10;
/// So many headers a request may have.
const MOST_HEADERS: usize = 64;
/// After this the connection is closed when it does nothing or has answered. A scraper connects again.
const LIFE: Duration = Duration::from_secs(60);
/// And so much later it is closed even while a client reads: no answer takes so long for one that does read.
const LAST_ANSWER: Duration = Duration::from_secs(30);

/// Until its client ends it, or its time is over, or the server stops.
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
