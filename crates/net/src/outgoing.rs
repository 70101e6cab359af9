//! [`Outgoing`]: frames to be written.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::Poll,
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// The most parts of frames in one write.
const PARTS_PER_WRITE: usize = 32;

/// Frames to be written, in parts; the first part may be partly written. The stream may buffer what is written (TLS, a proxy), so
/// that the last write is followed by a flush.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    parts: VecDeque<Bytes>,
    /// Whether something was written and not flushed.
    unflushed: bool,
}

impl Outgoing {
    /// Adds a frame. None of its parts may be empty.
    pub(crate) fn push(&mut self, parts: Vec<Bytes>) {
        self.parts.extend(parts);
    }

    /// Whether nothing is left to write or to flush.
    pub(crate) fn is_done(&self) -> bool {
        self.parts.is_empty() && !self.unflushed
    }

    /// Writes as much as the stream accepts at once, or flushes if everything is written. Returns the number of bytes written.
    /// Cancel-safe.
    pub(crate) async fn write<W: AsyncWrite + Unpin>(&mut self, to: &mut W) -> io::Result<usize> {
        if self.parts.is_empty() {
            to.flush().await?;
            self.unflushed = false;
            return Ok(0);
        }
        let written = self.write_parts(to).await?;
        self.unflushed = true;
        if self.parts.is_empty() {
            self.flush_at_once(to).await?;
        }
        Ok(written)
    }

    async fn write_parts<W: AsyncWrite + Unpin>(&mut self, to: &mut W) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PARTS_PER_WRITE];
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(self.parts.iter()) {
            *slice = IoSlice::new(part);
            used += 1;
        }
        let written = to.write_vectored(slices.get(..used).unwrap_or_default()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut left = written;
        while let Some(part) = self.parts.front_mut() {
            if left < part.len() {
                part.advance(left);
                break;
            }
            left -= part.len();
            self.parts.pop_front();
        }
        Ok(written)
    }

    /// Flushes without waiting, because most streams have nothing to flush. If the stream has to wait, the next
    /// [`write`](Self::write) flushes it, so that this one can still return what it has written.
    async fn flush_at_once<W: AsyncWrite + Unpin>(&mut self, to: &mut W) -> io::Result<()> {
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *to).poll_flush(cx))).await {
            Poll::Ready(flushed) => {
                self.unflushed = false;
                flushed
            }
            Poll::Pending => Ok(()),
        }
    }
}
