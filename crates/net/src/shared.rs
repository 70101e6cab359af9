//! What all connection tasks share with [`Net`](crate::Net): settings, and counters that only ever grow.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{buffers::Buffers, config::Config, dial::Dial};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) counters: Counters,
    pub(crate) buffers: Arc<Buffers>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dials: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) trailing: AtomicU64,
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that are open and have been greeted.
    pub connections: usize,
    /// Calls without an answer.
    pub in_flight: usize,
    /// Connections tried, since the beginning.
    pub dials: u64,
    /// Bytes received, since the beginning.
    pub bytes_in: u64,
    /// Bytes sent, since the beginning.
    pub bytes_out: u64,
    /// Answers with bytes left over behind what we know of them.
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

/// One more, or many.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Relaxed);
}
