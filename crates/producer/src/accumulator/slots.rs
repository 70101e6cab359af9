//! A slot: the batches of one partition that wait to be sent.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use offtake_machine::TopicPartition;
use offtake_wire::records::{BatchWriter, BuildError, SealedBatch};

use super::batch::{Batch, BatchInfo, FilledBatch, OpenBatch, Serial};
use crate::{ProducerRecord, delivery::BatchPosition};

/// The number of a slot. Slots are never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(super) usize);

impl SlotId {
    /// The slot with this index.
    pub(crate) fn at(index: usize) -> Self {
        Self(index)
    }

    /// Its index in a list of all slots.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: TopicPartition,
    pub(super) open: Option<OpenBatch>,
    /// Batches that take no more records, oldest first.
    closed: VecDeque<Closed>,
    /// Whether the engine knows that there is something to take, or is about to learn it. It then comes back by itself until
    /// nothing is left.
    pub(super) engine_knows: bool,
    /// The compression ratio seen so far; 1 means no compression.
    ratio: f32,
    /// The size of the last batch, for which the next one reserves memory.
    last_size: usize,
    /// The deadline of the last batch. That of the next batch is not earlier.
    last_deadline: Option<Instant>,
}

#[derive(Debug)]
enum Closed {
    Filled(BatchInfo, BatchWriter),
    /// The task that filled the batch compresses it.
    Compressing(BatchInfo),
    Sealed(Batch),
    /// The batch cannot be sealed; the number is its size in bytes.
    Failed(BatchInfo, BuildError, usize),
}

/// A batch that the engine took.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The engine has to seal it first.
    Filled(BatchInfo, BatchWriter),
    Sealed(Batch),
    /// The batch cannot be sealed; the number was its size in bytes.
    Failed(BatchInfo, BuildError, usize),
}

impl Taken {
    /// The batch, and the bytes that it holds.
    pub(crate) fn held(self) -> (BatchInfo, usize) {
        match self {
            Self::Filled(info, writer) => (info, writer.size()),
            Self::Sealed(batch) => {
                let bytes = batch.held();
                (batch.info, bytes)
            }
            Self::Failed(info, _, bytes) => (info, bytes),
        }
    }
}

/// The most bytes of records in a batch before compression, however well they compress, because consumers have to decompress it.
fn most_unpacked(batch_size: usize) -> usize {
    const LEAST: usize = 1 << 20;
    const MOST: usize = 16 << 20;
    batch_size.saturating_mul(16).clamp(LEAST, MOST).max(batch_size)
}

impl Slot {
    pub(super) fn new(partition: TopicPartition) -> Self {
        Self {
            partition,
            open: None,
            closed: VecDeque::new(),
            engine_knows: false,
            ratio: 1.0,
            last_size: 0,
            last_deadline: None,
        }
    }

    /// Whether there is an open batch that is too full for this many more bytes.
    pub(super) fn has_no_room(&self, bytes: usize, batch_size: usize) -> bool {
        let Some(open) = &self.open else { return false };
        let packed = (open.writer.size() as f32 * self.ratio) as usize;
        packed.saturating_add(bytes.max(1)) > batch_size
            || open.writer.size().saturating_add(bytes) > most_unpacked(batch_size)
    }

    /// Opens a batch, and reserves memory for no more than `most`.
    pub(super) fn begin(&mut self, serial: Serial, due: Instant, deadline: Instant, most: usize) {
        let info = BatchInfo { serial, order: (serial, 0), outcome: Arc::default(), deadline };
        let writer = BatchWriter::with_capacity(self.last_size.min(most));
        self.last_deadline = Some(deadline);
        self.open = Some(OpenBatch { info, due, is_lingering: true, writer });
    }

    /// This deadline, or that of the last batch if it is later.
    pub(super) fn not_before(&self, deadline: Instant) -> Instant {
        self.last_deadline.map_or(deadline, |last| last.max(deadline))
    }

    /// Writes a record into the open batch. Returns its position and the bytes that it takes.
    pub(super) fn push(
        &mut self,
        record: &ProducerRecord<'_>,
        timestamp: i64,
    ) -> Result<(BatchPosition, usize), BuildError> {
        let open = self.open.as_mut().ok_or(BuildError::TooLarge)?;
        let (before, index) = (open.writer.size(), open.writer.count().unsigned_abs());
        open.writer.push(timestamp, record.key, record.value, record.headers.iter().copied())?;
        let position = BatchPosition { outcome: open.info.outcome.clone(), index, timestamp };
        Ok((position, open.writer.size().saturating_sub(before)))
    }

    /// Closes the open batch for further records. With `hands_out` the caller seals it.
    pub(super) fn close_open(&mut self, at: SlotId, hands_out: bool) -> Option<FilledBatch> {
        let OpenBatch { info, writer, .. } = self.open.take()?;
        self.last_size = writer.size();
        if !hands_out {
            self.closed.push_back(Closed::Filled(info, writer));
            return None;
        }
        let serial = info.serial;
        self.closed.push_back(Closed::Compressing(info));
        Some(FilledBatch { slot: at, serial, writer })
    }

    /// Stores the sealed form of the batch that was handed out. Returns how many bytes were freed.
    pub(super) fn sealed(
        &mut self,
        serial: Serial,
        sealed: Result<SealedBatch, (BuildError, usize)>,
    ) -> usize {
        let is_it =
            |closed: &&mut Closed| matches!(closed, Closed::Compressing(info) if info.serial == serial);
        let Some(closed) = self.closed.iter_mut().find(is_it) else { return 0 };
        let Closed::Compressing(info) = &*closed else { return 0 };
        let info = info.clone();
        let batch = match sealed {
            Ok(sealed) => Batch::new(info, sealed),
            Err((error, size)) => {
                *closed = Closed::Failed(info, error, size);
                return 0;
            }
        };
        let (freed, ratio) = (batch.freed(), batch.ratio());
        *closed = Closed::Sealed(batch);
        self.learn_ratio(ratio);
        freed
    }

    /// Updates the expected compression ratio. A worse ratio counts at once, a better one gradually: a batch that grows too large
    /// has to be split.
    pub(super) fn learn_ratio(&mut self, seen: f32) {
        self.ratio = if seen > self.ratio { seen.min(1.0) } else { self.ratio * 0.9 + seen * 0.1 };
    }

    /// Takes the oldest batch, if that is possible: no batch overtakes one that is being compressed.
    pub(super) fn take(&mut self) -> Option<Taken> {
        match self.closed.pop_front() {
            Some(Closed::Filled(info, writer)) => Some(Taken::Filled(info, writer)),
            Some(Closed::Sealed(batch)) => Some(Taken::Sealed(batch)),
            Some(Closed::Failed(info, error, size)) => Some(Taken::Failed(info, error, size)),
            Some(compressing @ Closed::Compressing(_)) => {
                self.closed.push_front(compressing);
                None
            }
            None => {
                let OpenBatch { info, writer, .. } = self.open.take()?;
                self.last_size = writer.size();
                Some(Taken::Filled(info, writer))
            }
        }
    }

    /// The deadline of a batch that is still in this slot.
    pub(super) fn deadline_of(&self, serial: Serial) -> Option<Instant> {
        let closed = self.closed.iter().map(|closed| match closed {
            Closed::Filled(info, _) | Closed::Compressing(info) | Closed::Failed(info, ..) => info,
            Closed::Sealed(batch) => &batch.info,
        });
        let mut all = closed.chain(self.open.as_ref().map(|open| &open.info));
        all.find(|info| info.serial == serial).map(|info| info.deadline)
    }

    /// The oldest batch.
    pub(super) fn oldest(&self) -> Option<Serial> {
        let closed = self.closed.front().map(|closed| match closed {
            Closed::Filled(info, _) | Closed::Compressing(info) | Closed::Failed(info, ..) => info.serial,
            Closed::Sealed(batch) => batch.info.serial,
        });
        closed.or_else(|| self.open.as_ref().map(|open| open.info.serial))
    }

    /// Whether the oldest batch is to be taken. An open batch is taken only when it is due, or with `all`.
    pub(super) fn is_ready(&self, now: Instant, all: bool) -> bool {
        match self.closed.front() {
            Some(closed) => !matches!(closed, Closed::Compressing(_)),
            None => self.open.as_ref().is_some_and(|open| all || open.due <= now),
        }
    }

    /// Takes out all batches.
    pub(super) fn take_all(&mut self) -> Vec<BatchInfo> {
        let closed = std::mem::take(&mut self.closed).into_iter().map(|closed| match closed {
            Closed::Filled(info, _) | Closed::Compressing(info) | Closed::Failed(info, ..) => info,
            Closed::Sealed(batch) => batch.info,
        });
        closed.chain(self.open.take().map(|open| open.info)).collect()
    }

    /// An upper bound of the bytes that the oldest batch takes in a request.
    pub(super) fn size_of_next(&self) -> usize {
        match self.closed.front() {
            Some(Closed::Filled(_, writer)) => writer.size(),
            Some(Closed::Sealed(batch)) => batch.sealed.size(),
            Some(Closed::Compressing(_) | Closed::Failed(..)) => 0,
            None => self.open.as_ref().map_or(0, |open| open.writer.size()),
        }
    }

    pub(super) fn is_open(&self, serial: Serial) -> bool {
        self.open.as_ref().is_some_and(|open| open.info.serial == serial)
    }

    /// Notes that the engine has looked at the open batch.
    pub(super) fn stops_lingering(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_lingering = false;
        }
    }

    /// When the open batch is due, if it is not in the engine's list yet; the caller now adds it.
    pub(super) fn lingers_again(&mut self) -> Option<(Instant, Serial)> {
        let open = self.open.as_mut().filter(|open| !open.is_lingering)?;
        open.is_lingering = true;
        Some((open.due, open.info.serial))
    }

    /// The number of waiting batches.
    pub(super) fn queue_length(&self) -> usize {
        self.closed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }
}
