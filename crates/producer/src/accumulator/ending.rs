//! Flush and close: everything is sent at once, or no more records are accepted.

use std::mem;

use offtake_client::{Error, ErrorKind};

use super::{
    Accumulator,
    batch::{BatchInfo, Serial},
    slots::{Slot, SlotId},
    waiting::Waiting,
};

/// A mark behind everything that was given to a producer before some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    /// Records with smaller numbers waited for a place in a batch when the mark was set.
    waiting_before: u64,
    /// The first batch that does not count, once all those records have their places.
    batches_before: Option<Serial>,
}

/// A batch that is not sent, and the bytes that it holds.
pub(crate) type DroppedBatch = (SlotId, BatchInfo, usize);

impl Accumulator {
    /// Makes everything ready that was given so far. [`is_flushed`](Self::is_flushed) says when it has ended.
    pub(crate) fn flush(&mut self) -> FlushMark {
        self.flushing = self.flushing.max(Some(self.next_serial));
        FlushMark { waiting_before: self.next_waiting, batches_before: None }
    }

    /// Whether everything before the mark has ended. As long as records before it wait for a place, their batches are not known.
    pub(crate) fn is_flushed(&mut self, mark: &mut FlushMark) -> bool {
        let is_before = |waiting: &Waiting| waiting.number < mark.waiting_before;
        if self.waiting.front().is_some_and(is_before) || self.topics.first_waiting().any(is_before) {
            return false;
        }
        let before = *mark.batches_before.get_or_insert(self.next_serial);
        self.flushing = self.flushing.max(Some(before));
        self.unfinished.first().is_none_or(|(first, _)| *first >= before)
    }

    /// Notes that no flush is pending any more.
    pub(crate) fn no_flush_is_left(&mut self) {
        self.flushing = None;
    }

    /// Whether no record is waiting and no batch lacks an outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.waiting.is_empty() && self.topics.first_waiting().next().is_none()
    }

    /// Accepts no more records, for this reason, and refuses the records that wait for a place.
    pub(crate) fn close(&mut self, why: Error) {
        let why = self.closed.get_or_insert(why).clone();
        for waiting in self.waiting.drain(..).chain(self.topics.take_waiting()) {
            self.completed.add(waiting.pending, Err(why.clone()));
        }
        self.waiting_bytes = 0;
    }

    /// Accepts no more records. Records that wait for a place still get one.
    pub(crate) fn close_for_good(&mut self) {
        self.closed.get_or_insert_with(|| Error::new(ErrorKind::Closed, "the producer is closed"));
    }

    /// Notes that a record was refused: its transaction cannot be committed without it.
    pub(crate) fn note_fault(&mut self, error: &Error) {
        // This applies to a producer that is being closed, too: its last transaction may be about to end.
        if self.limits.is_transactional && self.shut.is_none() && self.fault.is_none() {
            self.fault = Some(error.clone());
            self.wants_engine = true;
        }
    }

    /// Takes the reason why a record of the open transaction was refused, once.
    pub(crate) fn take_fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// Accepts records for a transaction that was begun.
    pub(crate) fn open_transaction(&mut self) {
        self.shut = None;
        self.fault = None;
    }

    /// Accepts no more records for the transaction, for this reason, and [drops](Self::take_dropped) the unsent batches. A batch
    /// that is being compressed is dropped when that has ended.
    pub(crate) fn shut(&mut self, why: Error) {
        let why = self.shut.get_or_insert(why).clone();
        for waiting in self.waiting.drain(..).chain(self.topics.take_waiting()) {
            self.completed.add(waiting.pending, Err(why.clone()));
        }
        self.waiting_bytes = 0;
        for at in 0..self.slots.len() {
            self.drop_unsent(SlotId::at(at));
        }
    }

    /// Drops the unsent batches of a transaction that was shut.
    pub(super) fn drop_unsent(&mut self, at: SlotId) {
        let Some(slot) = self.slots.get_mut(at.index()) else { return };
        while let Some(taken) = slot.take() {
            let (info, bytes) = taken.held();
            self.dropped.push((at, info, bytes));
        }
        slot.engine_knows = false;
    }

    /// Takes the reason why the transaction was shut, and its unsent batches with the bytes that they hold.
    pub(crate) fn take_dropped(&mut self) -> Option<(Error, Vec<DroppedBatch>)> {
        let why = self.shut.clone().filter(|_| !self.dropped.is_empty())?;
        Some((why, mem::take(&mut self.dropped)))
    }

    /// Takes out all unsent batches.
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
}
