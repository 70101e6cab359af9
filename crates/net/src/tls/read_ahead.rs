//! [`ReadAhead`]: reads more from a stream at once than was requested.
//!
//! rustls requests 4 KiB at a time. Between it and a socket, this saves three system calls out of four, and more once the buffer
//! has grown: it begins small, because most connections carry little, and grows when a read fills it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const FIRST: usize = 16 * 1024;
/// The largest buffer, which still fits into the cache of a core.
const LARGEST: usize = 64 * 1024;

/// Reads more from a stream at once than was requested. Writes are passed straight through.
#[derive(Debug)]
pub(super) struct ReadAhead<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// The start of the bytes in the buffer that were read and not yet requested.
    from: usize,
    to: usize,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Box::new([]), from: 0, to: 0 }
    }

    fn grow(&mut self) {
        let full = self.to == self.buffer.len();
        if full && self.to < LARGEST {
            let size = (2 * self.to).clamp(FIRST, LARGEST);
            self.buffer = vec![0; size].into();
        }
        (self.from, self.to) = (0, 0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.from == this.to {
            this.grow();
            let mut read = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            this.to = read.filled().len();
        }
        let take = buf.remaining().min(this.to - this.from);
        buf.put_slice(this.buffer.get(this.from..this.from + take).unwrap_or_default());
        this.from += take;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_read_ahead_are_returned_in_order_and_the_buffer_grows_while_it_is_filled() {
        let (mut near, far) = duplex(1 << 20);
        let sent: Vec<u8> = (0..500_000_u32).map(|at| (at % 251) as u8).collect();
        near.write_all(&sent).await.unwrap();
        drop(near);
        let mut ahead = ReadAhead::new(far);
        assert_eq!(ahead.buffer.len(), 0, "nothing is allocated before it is read");
        let mut received = vec![0; 1];
        ahead.read_exact(&mut received).await.unwrap();
        assert_eq!((ahead.buffer.len(), ahead.to), (FIRST, FIRST));
        ahead.read_to_end(&mut received).await.unwrap();
        assert!(sent == received);
        assert_eq!(ahead.buffer.len(), LARGEST);
    }
}
