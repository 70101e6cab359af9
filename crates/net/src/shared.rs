//! The state that all connection tasks share with [`Net`](crate::Net): the settings, the counters and the pool of buffers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{config::Config, dial::Dial, frame_pool::FramePool};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) counters: Counters,
    pub(crate) frame_pool: Arc<FramePool>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dials: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) trailing: AtomicU64,
}

/// Counters and gauges of all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that are open and have exchanged ApiVersions.
    pub connections: usize,
    /// Calls without a response.
    pub in_flight: usize,
    /// Attempts to connect, since the start.
    pub dials: u64,
    /// Bytes received, since the start.
    pub bytes_in: u64,
    /// Bytes sent, since the start.
    pub bytes_out: u64,
    /// Responses with bytes left over after the fields that this client knows.
    pub trailing: u64,
}

impl Counters {
    pub(crate) fn stats(&self, connections: usize, in_flight: usize) -> Stats {
        Stats {
            connections,
            in_flight,
            dials: self.dials.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            trailing: self.trailing.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Relaxed);
}
