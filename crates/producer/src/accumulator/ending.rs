//! Flushes and the end: everything is sent at once, or nothing more is taken.

use offtake_client::{Error, ErrorKind};

use super::{
    Accumulator,
    batch::{BatchInfo, Serial},
    slots::Slot,
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
            self.placements.add(waiting.place, Err(why.clone()));
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
}
