//! [`Accumulator`]: records that wait to be sent, in batches by partition.
//!
//! It is the one thing that senders and the engine share, behind a lock that is held for as long as it takes to copy a record. A record is
//! written into its batch by the task that sends it: a message to the engine for each would cost more than all the rest. What is full is
//! compressed by that task too, without the lock.
//!
//! What has no place waits in order: for what is known of its topic ([`TopicQueues::waiting`]), or for memory (`waiting` here).

mod batch;
mod slots;
mod topics;

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind, Result};
use offtake_machine::{Topic, TopicPartition, after, earliest};
use offtake_wire::records::{BatchWriter, BuildError, Compression, SealedBatch};

use slots::Slot;
use topics::{Topics, Waiting};

pub(crate) use batch::{Batch, BatchInfo, Codec, FilledBatch, Serial, seal, seal_failed};
pub(crate) use slots::{SlotId, Taken};
pub(crate) use topics::TopicState;

use crate::{
    Config, Partitioner, ProducerRecord,
    delivery::{Delivery, Place, Seat},
    record::OwnedRecord,
};

/// What a batch costs beside its records.
const BATCH_OVERHEAD: usize = 61;

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
    /// Of all that wait, for memory or for what is known of a topic.
    waiting_bytes: usize,
    /// Open batches by age: when each is due, though it may have been filled since.
    lingering: VecDeque<(Instant, SlotId, Serial)>,
    /// Slots that have become ready since the engine last looked.
    ready: Vec<SlotId>,
    next_serial: Serial,
    /// Batches whose outcome is not known, and by the end of their `delivery.timeout.ms`.
    /// With the batch that a part was cut from first: it ends with that one.
    unfinished: BTreeSet<(Serial, Serial)>,
    deadlines: BTreeSet<(Instant, Serial, SlotId)>,
    /// Batches whose time was over while they were being compressed.
    overdue_later: Vec<(SlotId, Serial)>,
    /// Everything is ready at once until these have ended.
    flushing: Option<Serial>,
    next_waiting: u64,
    /// Whether something has happened that the engine does not sleep for, and whether it was told since it last looked.
    wants_engine: bool,
    is_engine_woken: bool,
    /// Why nothing more is taken.
    closed: Option<Error>,
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
}

/// What became of a record that was given to the accumulator.
pub(crate) struct Appended {
    pub(crate) delivery: Delivery,
    /// Whether the engine is to be told.
    pub(crate) wakes_engine: bool,
    /// A batch that was filled by it, to be compressed.
    pub(crate) filled: Option<FilledBatch>,
}

/// Where a record could go, at this moment.
enum Found {
    Slot(SlotId),
    /// Its topic, or the partition that it names, is not known yet.
    UnknownTopic,
    NoMemory,
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
        };
        Self {
            limits,
            partitioner,
            topics: Topics::new(seed),
            slots: Vec::new(),
            memory: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
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
        }
    }

    /// Takes a record, into a batch if there is a place for it.
    pub(crate) fn append(&mut self, now: Instant, record: &ProducerRecord<'_>, timestamp: i64) -> Appended {
        let mut filled = None;
        let delivery = self.try_append(now, record, timestamp, &mut filled).unwrap_or_else(Delivery::refused);
        self.wants_engine |= self.topics.has_news();
        Appended { delivery, wakes_engine: self.wakes_engine(), filled }
    }

    /// Whether the engine is to be told, now, that there is something to do.
    fn wakes_engine(&mut self) -> bool {
        mem::take(&mut self.wants_engine) && !mem::replace(&mut self.is_engine_woken, true)
    }

    fn try_append(
        &mut self,
        now: Instant,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        filled: &mut Option<FilledBatch>,
    ) -> Result<Delivery> {
        if let Some(why) = &self.closed {
            return Err(why.clone());
        }
        let bytes = self.size_of(record)?;
        self.topics.note_use(record.topic)?;
        match self.find(record, bytes)? {
            Found::UnknownTopic => self.wait(now, record, timestamp, bytes, true),
            // Nothing overtakes what waits for memory.
            Found::Slot(slot) if self.waiting.is_empty() => {
                let (seat, full) = self.put(now, slot, record, timestamp, bytes, true)?;
                *filled = full;
                Ok(Delivery::in_batch(seat))
            }
            Found::NoMemory | Found::Slot(_) => self.wait(now, record, timestamp, bytes, false),
        }
    }

    /// The most that a record takes in a batch.
    fn size_of(&self, record: &ProducerRecord<'_>) -> Result<usize> {
        let bytes = BatchWriter::most_bytes(record.key, record.value, record.headers.iter().copied());
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

    fn find(&mut self, record: &ProducerRecord<'_>, bytes: usize) -> Result<Found> {
        let Some(partitions) = self.topics.partitions(record.topic)? else { return Ok(Found::UnknownTopic) };
        let partition = match self.chosen(record, partitions)? {
            Some(partition) => partition,
            None => {
                let slots = &self.slots;
                let adaptive = self.limits.adaptive;
                let length =
                    |slot: SlotId| if adaptive { slots.get(slot.0).map_or(0, Slot::queue_length) } else { 0 };
                match self.topics.sticky_partition(record.topic, length) {
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
        let slot = self.topics.slot(record.topic, partition, |topic| {
            slots.push(Slot::new(TopicPartition::new(topic, partition)));
            SlotId(slots.len().saturating_sub(1))
        });
        Ok(slot.map_or(Found::UnknownTopic, Found::Slot))
    }

    /// The partition that the record itself, a partitioner or its key says.
    fn chosen(&self, record: &ProducerRecord<'_>, partitions: u32) -> Result<Option<i32>> {
        if let Some(partition) = record.partition {
            if partition < 0 {
                let text = format!("partition {partition} of {}: it cannot be negative", record.topic);
                return Err(Error::misuse(text));
            }
            return Ok(Some(partition));
        }
        if let Some(own) = &self.partitioner
            && let Some(partition) = own.partition(record, partitions)
        {
            return Ok(Some(partition));
        }
        let key = record.key.filter(|_| !self.limits.ignore_keys);
        Ok(key.map(|key| crate::partitioner::partition_of_key(key, partitions)))
    }

    /// Writes a record into the slot's open batch, or into a new one. With `seals` the caller seals what has become full.
    fn put(
        &mut self,
        now: Instant,
        at: SlotId,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        bytes: usize,
        seals: bool,
    ) -> Result<(Seat, Option<FilledBatch>)> {
        let Limits { batch_size, linger, delivery_timeout, compression, .. } = self.limits;
        let seals = seals && compression != Compression::None;
        let too_large = || Error::new(ErrorKind::TooLarge, "the record is larger than a batch can say");
        let slot = self.slots.get_mut(at.0).ok_or_else(too_large)?;
        let was_full = slot.has_no_room(bytes, batch_size);
        let mut filled = if was_full { slot.close_open(at, seals) } else { None };
        if slot.open.is_none() {
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
        let (seat, added) = slot.push(record, timestamp).map_err(|_| too_large())?;
        self.memory = self.memory.saturating_add(added);
        // A batch that one record has filled has nothing to wait for; but one batch is sealed at a time.
        let is_full = filled.is_none() && slot.has_no_room(0, batch_size);
        if is_full {
            filled = slot.close_open(at, seals);
        }
        if (was_full || is_full) && !seals || self.flushing.is_some() || linger.is_zero() {
            self.is_ready(at);
        }
        if record.partition.is_none() && (record.key.is_none() || self.limits.ignore_keys) {
            self.topics.appended(record.topic, added, batch_size, was_full || is_full);
        }
        Ok((seat, filled))
    }

    /// There is something in this slot for the engine to take.
    fn is_ready(&mut self, at: SlotId) {
        if self.ready.last() != Some(&at) {
            self.ready.push(at);
        }
        self.wants_engine = true;
    }

    /// Keeps a record that has no place yet.
    fn wait(
        &mut self,
        now: Instant,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        bytes: usize,
        for_topic: bool,
    ) -> Result<Delivery> {
        if self.waiting_bytes.saturating_add(bytes) > self.limits.buffer_memory && self.waiting_bytes > 0 {
            let text = format!(
                "`buffer.memory` ({} bytes) is full, and as much waits for it already: await what was sent before sending more",
                self.limits.buffer_memory
            );
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        if self.limits.max_block.is_zero() {
            return Err(self.blocked(record.topic, for_topic));
        }
        let place = Arc::new(Place::default());
        let number = self.next_waiting;
        self.next_waiting = number.saturating_add(1);
        let waiting = Waiting {
            number,
            bytes,
            until: after(now, self.limits.max_block),
            topic: self.topics.name(record.topic),
            record: OwnedRecord::new(record, timestamp),
            place: place.clone(),
        };
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        // For the time when it has waited too long; and what is open now is sent, to make room.
        self.wants_engine = true;
        if for_topic {
            self.topics.wait(waiting);
        } else {
            self.waiting.push_back(waiting);
        }
        Ok(Delivery::waiting(place))
    }

    fn blocked(&self, topic: &str, for_topic: bool) -> Error {
        let waited = self.limits.max_block.as_millis();
        let (kind, text) = if !for_topic {
            let limit = self.limits.buffer_memory;
            let text = format!(
                "`buffer.memory` ({limit} bytes) stayed full: records come faster than they are written"
            );
            (ErrorKind::Timeout, text)
        } else if let Ok(Some(partitions)) = self.topics.partitions(topic) {
            let text =
                format!("topic {topic} has {partitions} partitions, and not the one that the record names");
            (ErrorKind::UnknownTopic, text)
        } else if self.topics.is_missing(topic) {
            (
                ErrorKind::UnknownTopic,
                format!("topic {topic} does not exist, and the brokers did not make it"),
            )
        } else {
            let text =
                format!("no broker told about topic {topic}: see whether `bootstrap.servers` can be reached");
            (ErrorKind::Timeout, text)
        };
        Error::new(kind, format!("{text} ({waited} ms, `max.block.ms`)"))
    }

    /// A batch that was handed out full is sealed, or cannot be. Whether the engine is to be told.
    pub(crate) fn sealed(
        &mut self,
        at: SlotId,
        serial: Serial,
        sealed: Result<SealedBatch, (BuildError, usize)>,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(at.0) else { return false };
        if let Some(overdue) = self.overdue_later.iter().position(|later| *later == (at, serial)) {
            self.overdue_later.swap_remove(overdue);
            if let Some(deadline) = slot.deadline_of(serial) {
                self.deadlines.insert((deadline, serial, at));
            }
        }
        let freed = slot.sealed(serial, sealed);
        self.memory = self.memory.saturating_sub(freed);
        self.is_ready(at);
        self.wakes_engine()
    }
}

/// What the engine does.
impl Accumulator {
    /// The engine looks: what becomes ready from now on wakes it again.
    pub(crate) fn engine_is_awake(&mut self) {
        self.is_engine_woken = false;
    }

    /// The slots that have something to send, each perhaps more than once.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Vec<SlotId> {
        let all = self.sends_all();
        while let Some((due, slot, serial)) = self.lingering.front() {
            let is_open = self.slots.get(slot.0).is_some_and(|slot| slot.is_open(*serial));
            if is_open && *due > now && !all {
                break;
            }
            if is_open {
                self.ready.push(*slot);
            }
            self.lingering.pop_front();
        }
        mem::take(&mut self.ready)
    }

    /// The oldest batch of this slot. One that is open is closed.
    pub(crate) fn take(&mut self, at: SlotId) -> Option<Taken> {
        self.slots.get_mut(at.0)?.take()
    }

    /// Whether the oldest batch of this slot is to be taken now.
    pub(crate) fn is_ready_now(&self, now: Instant, at: SlotId) -> bool {
        self.slots.get(at.0).is_some_and(|slot| slot.is_ready(now, self.sends_all()))
    }

    /// The most bytes that the oldest batch of this slot takes in a request.
    pub(crate) fn size_of_next(&self, at: SlotId) -> usize {
        self.slots.get(at.0).map_or(0, Slot::size_of_next)
    }

    /// Whether what is open is sent, too, though it is not due.
    fn sends_all(&self) -> bool {
        self.flushing.is_some() || self.closed.is_some() || !self.waiting.is_empty()
    }

    /// The partition of this slot.
    pub(crate) fn partition(&self, at: SlotId) -> Option<&TopicPartition> {
        self.slots.get(at.0).map(|slot| &slot.partition)
    }

    /// How a batch that was taken is sealed.
    pub(crate) fn codec(&self) -> Codec {
        (self.limits.compression, self.limits.compression_level)
    }

    /// The outcome of a batch was told.
    pub(crate) fn finished(&mut self, info: &BatchInfo, at: SlotId) {
        self.unfinished.remove(&(info.order.0, info.serial));
        self.deadlines.remove(&(info.deadline, info.serial, at));
    }

    /// So many bytes more are held, for a part of a batch.
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.memory = self.memory.saturating_add(bytes);
    }

    /// The bytes of a batch are free. Records that waited for them get their places.
    pub(crate) fn release(&mut self, now: Instant, bytes: usize) {
        self.memory = self.memory.saturating_sub(bytes);
        self.place_waiting(now);
    }

    /// A batch whose time is over. It is not told of again.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Option<(SlotId, Serial)> {
        let (deadline, serial, at) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        Some((at, serial))
    }

    /// Takes a batch whose time is over, if it was not sent. One that is being compressed is told of again when it was.
    pub(crate) fn take_if(&mut self, at: SlotId, serial: Serial) -> Overdue {
        let Some(slot) = self.slots.get_mut(at.0).filter(|slot| slot.oldest() == Some(serial)) else {
            return Overdue::Sent;
        };
        match slot.take() {
            Some(taken) => Overdue::Unsent(taken),
            None => {
                self.overdue_later.push((at, serial));
                Overdue::Compressing
            }
        }
    }

    /// A batch that the engine took was sealed.
    pub(crate) fn was_sealed(&mut self, now: Instant, at: SlotId, batch: &Batch) {
        if let Some(slot) = self.slots.get_mut(at.0) {
            slot.learn_ratio(batch.ratio());
        }
        self.memory = self.memory.saturating_sub(batch.freed());
        self.place_waiting(now);
    }

    /// A batch for a part of another one: from the record with this number in that on.
    pub(crate) fn begin_part(&mut self, at: SlotId, whole: &BatchInfo, first: u32) -> BatchInfo {
        let deadline = whole.deadline;
        let order = (whole.order.0, whole.order.1.saturating_add(first));
        let serial = self.next_serial;
        self.next_serial = serial.next();
        self.unfinished.insert((order.0, serial));
        self.deadlines.insert((deadline, serial, at));
        BatchInfo { serial, order, outcome: Arc::default(), deadline }
    }

    /// What the metadata says of a topic that records are sent to.
    pub(crate) fn learn_topic(&mut self, now: Instant, topic: &Topic, state: TopicState) {
        let Some(waiting) = self.topics.learn(topic, state) else { return };
        self.waiting.extend(waiting);
        // Those for which there is no memory may have come later.
        self.waiting.make_contiguous().sort_unstable_by_key(|waiting| waiting.number);
        self.place_waiting(now);
    }

    /// The metadata says that a topic does not exist. It may be made yet.
    pub(crate) fn topic_is_missing(&mut self, topic: &Topic) {
        self.topics.note_missing(topic);
    }

    /// Topics that are new, or that the metadata has to be asked about again.
    pub(crate) fn take_topic_news(&mut self) -> bool {
        self.topics.take_news()
    }

    /// The topics that records are sent to.
    pub(crate) fn topics(&self) -> BTreeSet<Topic> {
        self.topics.names()
    }

    /// Forgets topics that nothing was sent to since the last call; `is_idle`: whether nothing of a slot is on its way. Whether there were any.
    pub(crate) fn forget_idle_topics(&mut self, is_idle: impl Fn(SlotId) -> bool) -> bool {
        let slots = &self.slots;
        self.topics.forget_idle(|at| slots.get(at.0).is_none_or(Slot::is_empty) && is_idle(at))
    }

    fn place_waiting(&mut self, now: Instant) {
        while let Some(first) = self.waiting.pop_front() {
            let record = first.record.borrow(first.topic.as_str());
            let found = self.find(&record, first.bytes);
            let seat = match found {
                Ok(Found::NoMemory) => {
                    drop(record);
                    self.waiting.push_front(first);
                    return;
                }
                Ok(Found::UnknownTopic) => {
                    drop(record);
                    self.topics.wait(first);
                    continue;
                }
                Ok(Found::Slot(slot)) => self
                    .put(now, slot, &record, first.record.timestamp, first.bytes, false)
                    .map(|(seat, _)| seat),
                Err(error) => Err(error),
            };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(first.bytes);
            first.place.give(seat);
        }
    }

    /// Records that have waited for `max.block.ms` are told so.
    pub(crate) fn expire_waiting(&mut self, now: Instant) {
        let mut expired = self.topics.take_expired(now);
        let for_topic = expired.len();
        while self.waiting.front().is_some_and(|first| first.until <= now) {
            expired.extend(self.waiting.pop_front());
        }
        for (at, waiting) in expired.into_iter().enumerate() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
            waiting.place.give(Err(self.blocked(waiting.topic.as_str(), at < for_topic)));
        }
    }

    /// Nothing more is taken, for this reason; what waits for a place is refused.
    pub(crate) fn close(&mut self, why: Error) {
        let why = self.closed.get_or_insert(why).clone();
        for waiting in self.waiting.drain(..).chain(self.topics.take_waiting()) {
            waiting.place.give(Err(why.clone()));
        }
        self.waiting_bytes = 0;
    }

    /// Nothing more is taken; what waits for a place still gets one.
    pub(crate) fn close_for_good(&mut self) {
        self.closed.get_or_insert_with(|| Error::new(ErrorKind::Closed, "the producer is closed"));
    }

    /// Takes out all that was not sent.
    pub(crate) fn take_all(&mut self) -> Vec<BatchInfo> {
        self.close_for_good();
        if let Some(why) = self.closed.clone() {
            self.close(why);
        }
        self.unfinished.clear();
        self.deadlines.clear();
        self.lingering.clear();
        self.ready.clear();
        self.memory = 0;
        self.slots.iter_mut().flat_map(Slot::take_all).collect()
    }

    /// Everything that was given so far is ready at once. [`is_flushed`](Self::is_flushed) says when it has ended.
    pub(crate) fn flush(&mut self) -> FlushMark {
        self.flushing = self.flushing.max(Some(self.next_serial));
        FlushMark { waiting_before: self.next_waiting, batches_before: None }
    }

    /// Whether all that was given before the mark has ended. While records of before it wait for a place, their batches are not known.
    pub(crate) fn is_flushed(&mut self, mark: &mut FlushMark) -> bool {
        let is_before = |waiting: &Waiting| waiting.number < mark.waiting_before;
        if self.waiting.front().is_some_and(is_before) || self.topics.first_waiting().any(is_before) {
            return false;
        }
        let before = *mark.batches_before.get_or_insert(self.next_serial);
        self.flushing = self.flushing.max(Some(before));
        self.unfinished.first().is_none_or(|(first, _)| *first >= before)
    }

    /// Nobody waits for a flush any more.
    pub(crate) fn no_flush_is_left(&mut self) {
        self.flushing = None;
    }

    /// Whether nothing is left to be sent or heard of.
    pub(crate) fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.waiting.is_empty() && self.topics.first_waiting().next().is_none()
    }

    /// When something becomes ready, or has waited too long.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        earliest([
            self.lingering.front().map(|(due, ..)| *due),
            self.deadlines.first().map(|(deadline, ..)| *deadline),
            self.waiting.front().map(|first| first.until),
            self.topics.poll_timeout(),
        ])
    }
}

/// Where a batch is whose time is over.
pub(crate) enum Overdue {
    /// It was not sent, and here it is.
    Unsent(Taken),
    Compressing,
    Sent,
}

/// All that was given to a producer until some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    /// Records with numbers below this wait for a place in a batch, or did.
    waiting_before: u64,
    /// The first batch that is of no account, once all those have their places.
    batches_before: Option<Serial>,
}

/// The accumulator, as the senders and the engine share it.
pub(crate) struct Shared(Mutex<Accumulator>);

impl Shared {
    pub(crate) fn new(accumulator: Accumulator) -> Self {
        Self(Mutex::new(accumulator))
    }

    /// A panic of a partitioner leaves it whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Accumulator> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
