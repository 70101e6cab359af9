//! [`Accumulator`]: records that wait to be sent, in batches by partition.
//!
//! The senders and the engine share only this, behind a lock that is held for as long as it takes to copy a record. The sending
//! task writes its record into the batch itself, because a message to the engine for each record would cost more than everything
//! else. It also compresses a batch that it has filled, without the lock.
//!
//! Records without a place in a batch wait in order, either for the metadata of their topic ([`TopicQueues::waiting`]) or for
//! memory (`waiting` here).

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
    /// The bytes of records that are not written yet.
    memory: usize,
    /// Records that found no memory, and the records behind them.
    waiting: VecDeque<Waiting>,
    /// The bytes of all waiting records, whether they wait for memory or for metadata.
    waiting_bytes: usize,
    /// The results for waiting records, delivered once the lock is released.
    completed: CompletedAppends,
    /// Open batches by age, with the time at which each is due. Some may have been filled since.
    lingering: VecDeque<(Instant, SlotId, Serial)>,
    /// Slots that have become ready since the engine last looked.
    ready: Vec<SlotId>,
    next_serial: Serial,
    /// Batches without an outcome, each preceded by the batch that it was split from, or by itself. A split batch ends with its
    /// parts.
    unfinished: BTreeSet<(Serial, Serial)>,
    /// The same batches by the end of their `delivery.timeout.ms`, until that was reported.
    deadlines: BTreeSet<(Instant, Serial, SlotId)>,
    /// Batches that expired while they, or a batch before them, were being compressed.
    overdue_later: Vec<(SlotId, Serial)>,
    /// While set, everything is ready at once: until the batches before this one have ended.
    flushing: Option<Serial>,
    next_waiting: u64,
    /// Whether something has happened for which the engine has no timer, and whether the engine was woken since it last looked.
    wants_engine: bool,
    is_engine_woken: bool,
    /// Why no more records are accepted.
    closed: Option<Error>,
    /// Why no more records are accepted for the open transaction, or that no transaction is open.
    shut: Option<Error>,
    /// Batches that are not sent for that reason.
    dropped: Vec<DroppedBatch>,
    /// Why the first refused record of the open transaction was refused.
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
