//! TCP that records when heartbeats are sent.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use offtake::dial::{ByteStream, Dial, DialFuture, Tcp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Heartbeat, and ConsumerGroupHeartbeat.
const KEYS: [i16; 2] = [12, 68];

/// When each was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeats(Arc<Mutex<Vec<Instant>>>);

impl Heartbeats {
    /// The longest time between two of them, or to either end, in milliseconds.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let within = all.iter().copied().filter(|at| (from..to).contains(at));
        let times: Vec<Instant> = [from].into_iter().chain(within).chain([to]).collect();
        let gap = times.iter().zip(times.iter().skip(1)).map(|(a, b)| *b - *a).max();
        u64::try_from(gap.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment of the last one before `at`.
    pub(crate) fn last_before(&self, at: Instant) -> Option<Instant> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().copied().filter(|each| *each <= at).max()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Watching {
    tcp: Tcp,
    pub(crate) heartbeats: Heartbeats,
}

impl Dial for Watching {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> DialFuture<'a, Vec<SocketAddr>> {
        self.tcp.resolve(host, port)
    }

    fn connect<'a>(&'a self, host: &'a str, address: SocketAddr) -> DialFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let stream = self.tcp.connect(host, address).await?;
            let watched = Watched { stream, heartbeats: self.heartbeats.clone(), head: Vec::new(), rest: 0 };
            Ok(Box::new(watched) as Box<dyn ByteStream>)
        })
    }
}

struct Watched {
    stream: Box<dyn ByteStream>,
    heartbeats: Heartbeats,
    /// The length and the key of the frame being written, as far as they were written.
    head: Vec<u8>,
    /// The remaining bytes of a frame whose head is complete.
    rest: usize,
}

impl Watched {
    fn written(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skip = self.rest.min(bytes.len());
            self.rest -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            let take = (6 - self.head.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(take);
            self.head.extend_from_slice(head);
            bytes = rest;
            if let [a, b, c, d, high, low] = *self.head {
                self.head.clear();
                self.rest = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(2);
                if KEYS.contains(&i16::from_be_bytes([high, low])) {
                    let mut all = self.heartbeats.0.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Instant::now());
                }
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.written(buf.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
