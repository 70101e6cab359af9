//! What the engine does: it takes the batches that are ready or overdue, and says what was heard of them and of their topics.

use std::{collections::BTreeSet, mem, sync::Arc, time::Instant};

use offtake_machine::{Topic, TopicPartition, earliest};

use super::{
    Accumulator,
    batch::{Batch, BatchInfo, Codec, Serial},
    slots::{Slot, SlotId, Taken},
    topics::TopicState,
};

/// Where a batch is whose time is over.
pub(crate) enum Overdue {
    /// It was not sent, and here it is.
    Unsent(Taken),
    Compressing,
    Sent,
}

impl Accumulator {
    /// The engine looks: what becomes ready from now on wakes it again.
    pub(crate) fn engine_is_awake(&mut self) {
        self.is_engine_woken = false;
    }

    /// The slots that have something to send, each perhaps more than once.
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

    /// The oldest batch of this slot. One that is open is closed.
    pub(crate) fn take(&mut self, at: SlotId) -> Option<Taken> {
        self.slots.get_mut(at.0)?.take()
    }

    /// Whether the oldest batch of this slot is to be taken now. If not, the engine is told when one is.
    pub(crate) fn is_ready_now(&mut self, now: Instant, at: SlotId) -> bool {
        let all = self.sends_all();
        let Some(slot) = self.slots.get_mut(at.0) else { return false };
        slot.engine_knows = slot.is_ready(now, all);
        // It was looked at before its time, when everything was to be sent.
        if !slot.engine_knows
            && let Some((due, serial)) = slot.lingers_again()
        {
            self.lingering.push_front((due, at, serial));
        }
        slot.engine_knows
    }

    /// The most bytes that the oldest batch of this slot takes in a request.
    pub(crate) fn size_of_next(&self, at: SlotId) -> usize {
        self.slots.get(at.0).map_or(0, Slot::size_of_next)
    }

    /// Whether what is open is sent, too, though it is not due.
    pub(super) fn sends_all(&self) -> bool {
        self.flushing.is_some() || self.closed.is_some() || !self.waiting.is_empty()
    }

    /// The partition of this slot.
    pub(crate) fn partition(&self, at: SlotId) -> Option<&TopicPartition> {
        self.slots.get(at.0).map(|slot| &slot.partition)
    }

    /// How a batch that was taken is sealed.
    pub(crate) fn codec(&self) -> Codec {
        Codec {
            compression: self.limits.compression,
            level: self.limits.compression_level,
            is_transactional: self.limits.is_transactional,
        }
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

    /// Takes a batch whose time is over, if it was not sent. One that is being compressed, or stands behind one that is, is told of again when
    /// that is over.
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

    /// The leaders of these partitions of a topic take nothing at present, and those of the others do.
    pub(crate) fn learn_stalls(&mut self, topic: &Topic, stalled: BTreeSet<i32>) {
        self.topics.learn_stalls(topic, stalled);
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
