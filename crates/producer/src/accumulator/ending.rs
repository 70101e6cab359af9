//! Flushes and the end: everything is sent at once, or nothing more is taken.

use std::mem;

use offtake_client::{Error, ErrorKind};

use super::{
    Accumulator,
    batch::{BatchInfo, Serial},
    slots::{Slot, SlotId},
    waiting::Waiting,
};

/// All that was given to a producer until some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    /// Records with numbers below this wait for a place in a batch, or did.
    waiting_before: u64,
    /// The first batch that is of no account, once all those have their places.
    batches_before: Option<Serial>,
}

/// A batch that is not sent, and the bytes that it holds.
pub(crate) type DroppedBatch = (SlotId, BatchInfo, usize);

impl Accumulator {
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

    /// Nothing more is taken, for this reason; what waits for a place is refused.
    pub(crate) fn close(&mut self, why: Error) {
        let why = self.closed.get_or_insert(why).clone();
        for waiting in self.waiting.drain(..).chain(self.topics.take_waiting()) {
            self.completed.add(waiting.pending, Err(why.clone()));
        }
        self.waiting_bytes = 0;
    }

    /// Nothing more is taken; what waits for a place still gets one.
    pub(crate) fn close_for_good(&mut self) {
        self.closed.get_or_insert_with(|| Error::new(ErrorKind::Closed, "the producer is closed"));
    }

    /// A record was not taken: the transaction that it belongs to cannot be committed without it.
    pub(crate) fn note_fault(&mut self, error: &Error) {
        // Also of a producer that is being closed: its last transaction may be on the way to its end.
        if self.limits.is_transactional && self.shut.is_none() && self.fault.is_none() {
            self.fault = Some(error.clone());
            self.wants_engine = true;
        }
    }

    /// Why a record of the open transaction was not taken, once.
    pub(crate) fn take_fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// A transaction is open: records are taken.
    pub(crate) fn open_transaction(&mut self) {
        self.shut = None;
        self.fault = None;
    }

    /// Nothing more is taken of the transaction, for this reason, and what was not sent is [dropped](Self::take_dropped): of what is being
    /// compressed, when that has ended.
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

    /// What is left of a transaction that was shut.
    pub(super) fn drop_unsent(&mut self, at: SlotId) {
        let Some(slot) = self.slots.get_mut(at.index()) else { return };
        while let Some(taken) = slot.take() {
            let (info, bytes) = taken.held();
            self.dropped.push((at, info, bytes));
        }
        slot.engine_knows = false;
    }

    /// Why the transaction was shut, and batches of it that are not sent, with the bytes that they hold.
    pub(crate) fn take_dropped(&mut self) -> Option<(Error, Vec<DroppedBatch>)> {
        let why = self.shut.clone().filter(|_| !self.dropped.is_empty())?;
        Some((why, mem::take(&mut self.dropped)))
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
}
