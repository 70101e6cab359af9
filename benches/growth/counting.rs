//! TCP with counters for its traffic.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use offtake::dial::{ByteStream, Dial, DialFuture, Tcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The counts of all connections together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// A request is one write, unless it is merged with waiting ones.
    pub(crate) writes: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Counting {
    tcp: Tcp,
    pub(crate) counts: Arc<Counts>,
}

impl Dial for Counting {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        self.tcp.resolve(host, port)
    }

    fn connect<'a>(&'a self, host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let stream = self.tcp.connect(host, address).await?;
            Ok(Box::new(Counted { stream, counts: Arc::clone(&self.counts) }) as Box<dyn ByteStream>)
        })
    }
}

struct Counted {
    stream: Box<dyn ByteStream>,
    counts: Arc<Counts>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.counts.bytes_in.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.counts.bytes_out.fetch_add(written as u64, Relaxed);
        self.counts.writes.fetch_add(1, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
