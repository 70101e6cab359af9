//! The senders' side: a record goes into a batch of its partition, or waits for its place.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use offtake_client::{Error, ErrorKind, Result};
use offtake_machine::{TopicPartition, after};
use offtake_wire::records::{BatchWriter, BuildError, Compression, SealedBatch};

use super::{
    Accumulator, Limits,
    batch::{FilledBatch, Serial},
    slots::{Slot, SlotId},
    topics::TopicId,
};
use crate::{
    ProducerRecord,
    delivery::{BatchPosition, Delivery},
};

/// The overhead of a batch without its records, in bytes.
const BATCH_OVERHEAD: usize = 61;

/// The result of giving a record to the accumulator.
pub(crate) struct Appended {
    pub(crate) delivery: Delivery,
    /// Whether the caller must wake the engine.
    pub(crate) wakes_engine: bool,
    /// The batch that the record filled, for the caller to compress.
    pub(crate) filled: Option<FilledBatch>,
}

/// The place for a record at this moment.
pub(super) enum Found {
    Slot(SlotId),
    /// The metadata does not know the topic yet, or the partition that the record names.
    UnknownTopic,
    NoMemory,
}

impl Accumulator {
    /// Accepts a record, and writes it into a batch if there is a place for it.
    pub(crate) fn append(
        &mut self,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        now: impl FnOnce() -> Instant,
    ) -> Appended {
        let mut filled = None;
        let delivery = self.try_append(record, timestamp, now, &mut filled).unwrap_or_else(|error| {
            self.note_fault(&error);
            Delivery::refused(error)
        });
        self.wants_engine |= self.topics.has_news();
        Appended { delivery, wakes_engine: self.wakes_engine(), filled }
    }

    /// Whether the engine must be woken now.
    fn wakes_engine(&mut self) -> bool {
        mem::take(&mut self.wants_engine) && !mem::replace(&mut self.is_engine_woken, true)
    }

    fn try_append(
        &mut self,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        now: impl FnOnce() -> Instant,
        filled: &mut Option<FilledBatch>,
    ) -> Result<Delivery> {
        if let Some(why) = self.closed.as_ref().or(self.shut.as_ref()) {
            return Err(why.clone());
        }
        let bytes = self.size_of(record)?;
        let topic = self.topics.note_use(record.topic)?;
        match self.find(topic, record, bytes)? {
            Found::UnknownTopic => self.wait(now(), topic, record, timestamp, bytes, true),
            // No record overtakes those that wait for memory.
            Found::Slot(slot) if self.waiting.is_empty() => {
                let (position, full) = self.put(now, topic, slot, record, timestamp, bytes, true)?;
                *filled = full;
                Ok(Delivery::in_batch(position))
            }
            Found::NoMemory | Found::Slot(_) => self.wait(now(), topic, record, timestamp, bytes, false),
        }
    }

    /// An upper bound of the bytes that a record takes in a batch.
    fn size_of(&self, record: &ProducerRecord<'_>) -> Result<usize> {
        let bytes = BatchWriter::max_record_size(record.key, record.value, record.headers.iter().copied());
        let bytes = bytes.map(|bytes| bytes.saturating_add(BATCH_OVERHEAD)).unwrap_or(usize::MAX);
        let limits = [
            ("max.request.size", self.limits.max_request_size),
            ("buffer.memory", self.limits.buffer_memory),
        ];
        for (name, limit) in limits {
            if bytes > limit {
                let text = format!("the record has {bytes} bytes, more than `{name}` ({limit}): raise that");
                return Err(Error::new(ErrorKind::TooLarge, text));
            }
        }
        Ok(bytes)
    }

    pub(super) fn find(
        &mut self,
        topic: TopicId,
        record: &ProducerRecord<'_>,
        bytes: usize,
    ) -> Result<Found> {
        let Some(partitions) = self.topics.partitions(topic)? else { return Ok(Found::UnknownTopic) };
        let partition = match self.chosen(record, partitions)? {
            Some(partition) => partition,
            None => {
                let slots = &self.slots;
                let adaptive = self.limits.adaptive;
                let length =
                    |slot: SlotId| if adaptive { slots.get(slot.0).map_or(0, Slot::queue_length) } else { 0 };
                match self.topics.sticky_partition(topic, length) {
                    Some(partition) => partition,
                    None => return Ok(Found::UnknownTopic),
                }
            }
        };
        if u32::try_from(partition).map_or(true, |partition| partition >= partitions) {
            return Ok(Found::UnknownTopic);
        }
        if self.memory > 0 && self.memory.saturating_add(bytes) > self.limits.buffer_memory {
            return Ok(Found::NoMemory);
        }
        let slots = &mut self.slots;
        let slot = self.topics.slot(topic, partition, |topic| {
            slots.push(Slot::new(TopicPartition::new(topic, partition)));
            SlotId(slots.len().saturating_sub(1))
        });
        Ok(slot.map_or(Found::UnknownTopic, Found::Slot))
    }

    /// The partition chosen by the record itself, the partitioner, or the key.
    fn chosen(&self, record: &ProducerRecord<'_>, partitions: u32) -> Result<Option<i32>> {
        if let Some(partition) = record.partition {
            if partition < 0 {
                let text = format!("partition {partition} of {}: it cannot be negative", record.topic);
                return Err(Error::misuse(text));
            }
            return Ok(Some(partition));
        }
        if let Some(own) = &self.partitioner {
            // The engine calls the partitioner too, for records that have waited. A panic must not end the engine.
            let chosen = catch_unwind(AssertUnwindSafe(|| own.partition(record, partitions)));
            let panicked = |_| Error::misuse("the partitioner panicked");
            if let Some(partition) = chosen.map_err(panicked)? {
                return Ok(Some(partition));
            }
        }
        let key = record.key.filter(|_| !self.limits.ignore_keys);
        Ok(key.map(|key| crate::partitioner::partition_of_key(key, partitions)))
    }

    /// Writes a record into the slot's open batch, or into a new one. With `seals` the caller seals the batch that became full.
    /// The clock is read only for a new batch.
    #[expect(
        clippy::too_many_arguments,
        reason = "what was found of a record on the way here is not looked for again"
    )]
    pub(super) fn put(
        &mut self,
        now: impl FnOnce() -> Instant,
        topic: TopicId,
        at: SlotId,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        bytes: usize,
        seals: bool,
    ) -> Result<(BatchPosition, Option<FilledBatch>)> {
        let Limits { batch_size, linger, delivery_timeout, compression, .. } = self.limits;
        let seals = seals && compression != Compression::None;
        let too_large = || Error::new(ErrorKind::TooLarge, "the record is too large for a batch");
        let slot = self.slots.get_mut(at.0).ok_or_else(too_large)?;
        let was_full = slot.has_no_room(bytes, batch_size);
        let mut filled = if was_full { slot.close_open(at, seals) } else { None };
        if slot.open.is_none() {
            let now = now();
            let serial = self.next_serial;
            self.next_serial = serial.next();
            let deadline = slot.not_before(after(now, delivery_timeout));
            self.unfinished.insert((serial, serial));
            self.deadlines.insert((deadline, serial, at));
            let due = after(now, linger);
            slot.begin(serial, due, deadline, bytes.max(batch_size));
            self.wants_engine |= self.lingering.is_empty();
            self.lingering.push_back((due, at, serial));
            self.memory = self.memory.saturating_add(BATCH_OVERHEAD);
        }
        let (position, added) = slot.push(record, timestamp).map_err(|_| too_large())?;
        self.memory = self.memory.saturating_add(added);
        // A batch that one record fills need not wait for more. But only one batch is sealed per call.
        let is_full = filled.is_none() && slot.has_no_room(0, batch_size);
        if is_full {
            filled = slot.close_open(at, seals);
        }
        if (was_full || is_full) && !seals || self.flushing.is_some() || linger.is_zero() {
            self.is_ready(at);
        }
        if record.partition.is_none() && (record.key.is_none() || self.limits.ignore_keys) {
            self.topics.appended(topic, added, batch_size, was_full || is_full);
        }
        Ok((position, filled))
    }

    /// Marks the slot as having something for the engine to take.
    pub(super) fn is_ready(&mut self, at: SlotId) {
        if let Some(slot) = self.slots.get_mut(at.0)
            && !mem::replace(&mut slot.engine_knows, true)
        {
            self.ready.push(at);
            self.wants_engine = true;
        }
    }

    /// Stores the result of sealing a full batch that was handed out. Returns whether the engine must be woken.
    pub(crate) fn sealed(
        &mut self,
        at: SlotId,
        serial: Serial,
        sealed: Result<SealedBatch, (BuildError, usize)>,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(at.0) else { return false };
        for (_, overdue) in self.overdue_later.extract_if(.., |(slot, _)| *slot == at) {
            if let Some(deadline) = slot.deadline_of(overdue) {
                self.deadlines.insert((deadline, overdue, at));
            }
        }
        let freed = slot.sealed(serial, sealed);
        self.memory = self.memory.saturating_sub(freed);
        if self.shut.is_some() {
            self.drop_unsent(at);
            self.wants_engine = true;
        }
        self.is_ready(at);
        self.wakes_engine()
    }
}
