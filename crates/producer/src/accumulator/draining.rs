//! The engine's side: it takes batches that are ready or overdue, and reports what it learned about them and their topics.

use std::{collections::BTreeSet, mem, sync::Arc, time::Instant};

use offtake_machine::{Topic, TopicPartition, earliest};

use super::{
    Accumulator,
    batch::{Batch, BatchInfo, Codec, Serial},
    slots::{Slot, SlotId, Taken},
    topics::TopicState,
};

/// The state of a batch whose delivery timeout has ended.
pub(crate) enum Overdue {
    /// It was not sent; the caller gets it.
    Unsent(Taken),
    Compressing,
    Sent,
}

impl Accumulator {
    /// Called when the engine looks: whatever becomes ready from now on wakes it again.
    pub(crate) fn engine_is_awake(&mut self) {
        self.is_engine_woken = false;
    }

    /// The slots that have something to send. A slot may be listed more than once.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Vec<SlotId> {
        let all = self.sends_all();
        while let Some((due, slot, serial)) = self.lingering.front() {
            let open = self.slots.get_mut(slot.0).filter(|slot| slot.is_open(*serial));
            if open.is_some() && *due > now && !all {
                break;
            }
            if let Some(open) = open {
                open.engine_knows = true;
                open.stops_lingering();
                self.ready.push(*slot);
            }
            self.lingering.pop_front();
        }
        mem::take(&mut self.ready)
    }

    /// Takes the oldest batch of this slot. An open batch is closed.
    pub(crate) fn take(&mut self, at: SlotId) -> Option<Taken> {
        self.slots.get_mut(at.0)?.take()
    }

    /// Whether the oldest batch of this slot is to be taken now. If not, the engine is woken when one is.
    pub(crate) fn is_ready_now(&mut self, now: Instant, at: SlotId) -> bool {
        let all = self.sends_all();
        let Some(slot) = self.slots.get_mut(at.0) else { return false };
        slot.engine_knows = slot.is_ready(now, all);
        // While everything was to be sent, the engine looked at it before it was due.
        if !slot.engine_knows
            && let Some((due, serial)) = slot.lingers_again()
        {
            let place = self.lingering.partition_point(|(other, ..)| *other <= due);
            self.lingering.insert(place, (due, at, serial));
        }
        slot.engine_knows
    }

    /// An upper bound of the bytes that the slot's oldest batch takes in a request.
    pub(crate) fn size_of_next(&self, at: SlotId) -> usize {
        self.slots.get(at.0).map_or(0, Slot::size_of_next)
    }

    /// Whether open batches are sent even before they are due.
    pub(super) fn sends_all(&self) -> bool {
        self.flushing.is_some() || self.closed.is_some() || !self.waiting.is_empty()
    }

    /// The partition of this slot.
    pub(crate) fn partition(&self, at: SlotId) -> Option<&TopicPartition> {
        self.slots.get(at.0).map(|slot| &slot.partition)
    }

    /// How the batches that were taken are sealed.
    pub(crate) fn codec(&self) -> Codec {
        Codec {
            compression: self.limits.compression,
            level: self.limits.compression_level,
            is_transactional: self.limits.is_transactional,
        }
    }

    /// Notes that the outcome of a batch was reported.
    pub(crate) fn finished(&mut self, info: &BatchInfo, at: SlotId) {
        self.unfinished.remove(&(info.order.0, info.serial));
        self.deadlines.remove(&(info.deadline, info.serial, at));
    }

    /// Counts the bytes that a part of a split batch holds in addition.
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.memory = self.memory.saturating_add(bytes);
    }

    /// Frees the bytes of a batch. Records that waited for memory get their places.
    pub(crate) fn release(&mut self, now: Instant, bytes: usize) {
        self.memory = self.memory.saturating_sub(bytes);
        self.place_waiting(now);
    }

    /// Takes the next batch whose delivery timeout has ended. It is reported once.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Option<(SlotId, Serial)> {
        let (deadline, serial, at) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        Some((at, serial))
    }

    /// Takes a batch whose delivery timeout has ended, if it was not sent. A batch that is being compressed, or stands behind one
    /// that is, is reported again when the compression has ended.
    pub(crate) fn take_if(&mut self, at: SlotId, serial: Serial) -> Overdue {
        let Some(slot) = self.slots.get_mut(at.0).filter(|slot| slot.deadline_of(serial).is_some()) else {
            return Overdue::Sent;
        };
        if slot.oldest() == Some(serial)
            && let Some(taken) = slot.take()
        {
            return Overdue::Unsent(taken);
        }
        self.overdue_later.push((at, serial));
        Overdue::Compressing
    }

    /// Notes that a batch that the engine took was sealed.
    pub(crate) fn was_sealed(&mut self, now: Instant, at: SlotId, batch: &Batch) {
        if let Some(slot) = self.slots.get_mut(at.0) {
            slot.learn_ratio(batch.ratio());
        }
        self.memory = self.memory.saturating_sub(batch.freed());
        self.place_waiting(now);
    }

    /// Registers a part of a split batch, beginning at the record with this number in the whole.
    pub(crate) fn begin_part(&mut self, at: SlotId, whole: &BatchInfo, first: u32) -> BatchInfo {
        let deadline = whole.deadline;
        let order = (whole.order.0, whole.order.1.saturating_add(first));
        let serial = self.next_serial;
        self.next_serial = serial.next();
        self.unfinished.insert((order.0, serial));
        self.deadlines.insert((deadline, serial, at));
        BatchInfo { serial, order, outcome: Arc::default(), deadline }
    }

    /// Stores the metadata of a topic that records are sent to.
    pub(crate) fn learn_topic(&mut self, now: Instant, topic: &Topic, state: TopicState) {
        let Some(waiting) = self.topics.learn(topic, state) else { return };
        self.waiting.extend(waiting);
        // Records that wait for memory may be older than these.
        self.waiting.make_contiguous().sort_unstable_by_key(|waiting| waiting.number);
        self.place_waiting(now);
    }

    /// Stores which partitions of a topic have stalled leaders. The leaders of all others are not stalled.
    pub(crate) fn learn_stalls(&mut self, topic: &Topic, stalled: BTreeSet<i32>) {
        self.topics.learn_stalls(topic, stalled);
    }

    /// Notes that the metadata has no such topic. It may be created yet.
    pub(crate) fn topic_is_missing(&mut self, now: Instant, topic: &Topic) {
        self.topics.note_missing(topic);
        // Its records that wait for memory go before those that are sent from now on.
        self.place_waiting(now);
    }

    /// Takes the flag that topics are new, or that their metadata has to be fetched again.
    pub(crate) fn take_topic_news(&mut self) -> bool {
        self.topics.take_news()
    }

    /// The topics that records are sent to.
    pub(crate) fn topics(&self) -> BTreeSet<Topic> {
        self.topics.names()
    }

    /// Forgets topics that no record was sent to since the last call. `is_idle` says whether nothing of a slot is in flight.
    /// Returns whether any were forgotten.
    pub(crate) fn forget_idle_topics(&mut self, is_idle: impl Fn(SlotId) -> bool) -> bool {
        let slots = &self.slots;
        self.topics.forget_idle(|at| slots.get(at.0).is_none_or(Slot::is_empty) && is_idle(at))
    }

    /// When the next batch becomes ready, or the next record or batch expires.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        earliest([
            self.lingering.front().map(|(due, ..)| *due),
            self.deadlines.first().map(|(deadline, ..)| *deadline),
            self.waiting.front().map(|first| first.until),
            self.topics.poll_timeout(),
        ])
    }
}
