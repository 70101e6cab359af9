//! A member's end of a connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Arrival, End, State, World, peek};
use crate::clock;

/// A member's end of a connection.
pub(super) struct Stream {
    pub(super) world: World,
    pub(super) member: usize,
    pub(super) line: u64,
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.world.is_frozen(self.member, cx) {
            return Poll::Pending;
        }
        let mut state = self.world.lock();
        let Some(line) = state.lines.get_mut(&self.line) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if !line.readable.is_empty() {
            let count = line.readable.len().min(buf.remaining());
            buf.put_slice(&line.readable.split_to(count));
            return Poll::Ready(Ok(()));
        }
        match line.end {
            Some(End::Closed) => Poll::Ready(Ok(())),
            Some(End::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                line.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.world.is_frozen(self.member, cx) {
            return Poll::Pending;
        }
        let mut state = self.world.lock();
        // Like a socket whose buffer is nearly full.
        let takes = match state.partial_writes && bytes.len() > 1 {
            true => 1 + state.random.below(bytes.len()),
            false => bytes.len(),
        };
        let bytes = &bytes[..takes];
        let Some(line) = state.lines.get_mut(&self.line) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if line.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        line.partial.extend_from_slice(bytes);
        while let Some(frame) = state.whole_frame(self.line) {
            let who = state.lines.get(&self.line).map(|line| line.who);
            if let Some(who) = who {
                peek::request(&state.log, who, &frame);
            }
            state.travel(clock::now(), Arrival::ToBroker { line: self.line, frame });
        }
        drop(state);
        self.world.stir.notify_one();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        state.disconnected(self.line);
        state.travel(clock::now(), Arrival::CloseAtBroker { line: self.line });
        drop(state);
        self.world.stir.notify_one();
    }
}

impl State {
    /// The next complete frame of a member's writes, without its length.
    fn whole_frame(&mut self, line: u64) -> Option<Bytes> {
        let partial = &mut self.lines.get_mut(&line)?.partial;
        let length = usize::try_from(i32::from_be_bytes(partial.get(..4)?.try_into().ok()?)).ok()?;
        if partial.len() < 4 + length {
            return None;
        }
        partial.advance(4);
        Some(partial.split_to(length).freeze())
    }
}
