//! [`Accumulator`]: records that wait to be sent, in batches by partition.
//!
//! It is the one thing that senders and the engine share, behind a lock that is held for as long as it takes to copy a record. A record is
//! written into its batch by the task that sends it: a message to the engine for each would cost more than all the rest. What is full is
//! compressed by that task too, without the lock.
//!
//! What has no place waits in order: for what is known of its topic ([`TopicQueues::waiting`]), or for memory (`waiting` here).

mod append;
mod batch;
mod draining;
mod ending;
mod shared;
mod slots;
#[cfg(test)]
mod tests;
mod topics;
mod waiting;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_client::Error;
use offtake_wire::records::Compression;

use shared::CompletedAppends;
use slots::Slot;
use topics::Topics;
use waiting::Waiting;

pub(crate) use batch::{Batch, BatchInfo, Codec, FilledBatch, Serial, seal, seal_failed};
pub(crate) use draining::Overdue;
pub(crate) use ending::{DroppedBatch, FlushMark};
pub(crate) use shared::Shared;
pub(crate) use slots::{SlotId, Taken};
pub(crate) use topics::TopicState;

use crate::{Config, Partitioner};

/// Records that wait to be sent.
pub(crate) struct Accumulator {
    limits: Limits,
    partitioner: Option<Arc<dyn Partitioner>>,
    topics: Topics,
    slots: Vec<Slot>,
    /// Bytes of records that are not written yet.
    memory: usize,
    /// Records that found no memory, and those after them.
    waiting: VecDeque<Waiting>,
    /// The bytes of all that wait, for memory or for what is known of a topic.
    waiting_bytes: usize,
    /// What records are told once the lock is released.
    completed: CompletedAppends,
    /// Open batches by age: when each is due, though it may have been filled since.
    lingering: VecDeque<(Instant, SlotId, Serial)>,
    /// Slots that have become ready since the engine last looked.
    ready: Vec<SlotId>,
    next_serial: Serial,
    /// Batches whose outcome is not known. Before each stands the batch that it was cut from, or itself: that one ends with its parts.
    unfinished: BTreeSet<(Serial, Serial)>,
    /// The same by the end of their `delivery.timeout.ms`, until that was told of.
    deadlines: BTreeSet<(Instant, Serial, SlotId)>,
    /// Batches whose time was over while they, or one before them, were being compressed.
    overdue_later: Vec<(SlotId, Serial)>,
    /// Everything is ready at once until these have ended.
    flushing: Option<Serial>,
    next_waiting: u64,
    /// Whether something has happened that the engine does not sleep for, and whether it was told since it last looked.
    wants_engine: bool,
    is_engine_woken: bool,
    /// Why nothing more is taken.
    closed: Option<Error>,
    /// Why nothing more is taken for the transaction that is open, or that there is none.
    shut: Option<Error>,
    /// Batches that are not sent because of that.
    dropped: Vec<DroppedBatch>,
    /// Why a record of the open transaction was not taken, of the first.
    fault: Option<Error>,
}

#[derive(Clone, Debug)]
struct Limits {
    batch_size: usize,
    linger: Duration,
    buffer_memory: usize,
    max_block: Duration,
    max_request_size: usize,
    delivery_timeout: Duration,
    compression: Compression,
    compression_level: Option<i32>,
    ignore_keys: bool,
    adaptive: bool,
    is_transactional: bool,
}

impl Accumulator {
    pub(crate) fn new(config: &Config, partitioner: Option<Arc<dyn Partitioner>>, seed: u64) -> Self {
        let limits = Limits {
            batch_size: config.batch_size,
            linger: config.linger,
            buffer_memory: config.buffer_memory,
            max_block: config.max_block,
            max_request_size: config.max_request_size,
            delivery_timeout: config.total_timeout(),
            compression: config.compression,
            compression_level: config.compression_level(),
            ignore_keys: config.partitioner_ignore_keys,
            adaptive: config.partitioner_adaptive,
            is_transactional: config.transactional_id.is_some(),
        };
        Self {
            limits,
            partitioner,
            topics: Topics::new(seed),
            slots: Vec::new(),
            memory: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            completed: CompletedAppends::default(),
            lingering: VecDeque::new(),
            ready: Vec::new(),
            next_serial: Serial::FIRST,
            unfinished: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            overdue_later: Vec::new(),
            flushing: None,
            next_waiting: 0,
            wants_engine: false,
            is_engine_woken: false,
            closed: None,
            shut: None,
            dropped: Vec::new(),
            fault: None,
        }
    }
}
