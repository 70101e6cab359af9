//! Tracks which records of one partition are finished, in any order and from any thread.
//!
//! The longest run of finished records, from the first one handed out, may be committed. Offsets without a
//! record (compacted away, a transaction's marker) are no holes in it: they count as finished when the
//! records around them are handed out. What is finished beyond the first hole is kept as intervals that
//! merge, so that a ledger grows with the number of unfinished records, never with that of finished ones.
//!
//! When the cluster moves the position back, the unfinished records before the cut are not delivered again:
//! the next ledger tracks them, and the old one forwards to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError},
};

use offtake_machine::Position;

use crate::atomics::{Mutex, MutexGuard};

/// The ledger of one partition, from an assignment, a seek or a move back by the cluster to the next.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug)]
enum Phase {
    Open,
    /// No more records can be finished.
    Closed(Refusal),
    /// The log was cut off at this offset: records before it are forwarded to the next ledger, all others are
    /// refused.
    CutOff {
        at: i64,
        next: Arc<Ledger>,
    },
}

/// Why a record cannot be finished any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The partition was revoked, or given up by the application.
    Revoked,
    /// The partition was lost, with the reason if known.
    Lost(Option<Arc<str>>),
    /// The application sought elsewhere, or the topic was created again.
    Sought,
    /// The cluster has lost the record.
    Truncated,
    /// The consumer was closed or dropped.
    ConsumerClosed,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// The offset at which it began.
    from: i64,
    /// All records below are finished.
    finished: i64,
    /// All records below were handed out, or passed over.
    handed: i64,
    /// Finished intervals beyond the first hole, from start to end. None is empty or touches another.
    islands: BTreeMap<i64, i64>,
    /// The end of each leader epoch, for everything unfinished.
    epochs: VecDeque<Position>,
    /// The first of the records whose tickets were dropped.
    dropped: BTreeSet<i64>,
}

/// How many dropped tickets are kept.
pub(crate) const MOST_DROPPED: usize = 64;

/// Records that were handed out and are not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// The first of them.
    pub(crate) first: i64,
    /// Their number; in batches that were not opened yet each offset counts.
    pub(crate) count: u64,
    /// The first whose ticket was dropped.
    pub(crate) dropped: Option<i64>,
}

impl Ledger {
    /// A ledger whose first record may be at `offset`.
    pub(crate) fn starting_at(offset: i64) -> Self {
        Self(Mutex::new(State {
            phase: Phase::Open,
            from: offset,
            finished: offset,
            handed: offset,
            islands: BTreeMap::new(),
            epochs: VecDeque::new(),
            dropped: BTreeSet::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All offsets below were handed out, or passed over.
    pub(crate) fn handed(&self) -> i64 {
        self.lock().handed
    }

    /// Notes that these offsets are handed out, and that reading continues at `next`; there is no record
    /// before or between them.
    pub(crate) fn hand_out(&self, offsets: impl IntoIterator<Item = i64>, next: Position) {
        let mut state = self.lock();
        let empty = holes(state.handed, offsets, next.offset);
        state.reach(next);
        for (from, to) in empty {
            state.finish(from, to);
        }
    }

    /// Notes that everything from `from` up to `next` is handed out unopened: which offsets have a record is
    /// known once it is opened. There is no record before `from` that was not handed out.
    pub(crate) fn hand_out_unopened(&self, from: i64, next: Position) {
        let mut state = self.lock();
        let handed = state.handed;
        state.reach(next);
        state.finish(handed, from);
    }

    /// A batch handed out unopened has these records between the two offsets: all other offsets count as
    /// finished.
    pub(crate) fn skip_holes(&self, from: i64, offsets: impl IntoIterator<Item = i64>, to: i64) {
        for (from, to) in holes(from, offsets, to) {
            self.finish(from, to);
        }
    }

    /// Reading continued from one position to the other without a record.
    pub(crate) fn pass(&self, from: i64, to: Position) {
        let mut state = self.lock();
        let from = from.min(state.handed);
        state.reach(to);
        state.finish(from, to.offset);
    }

    /// Marks the records from one offset up to the other as finished. Returns false, and changes nothing, if
    /// that is no longer possible.
    pub(crate) fn finish(&self, from: i64, to: i64) -> bool {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open => {
                let to = to.min(state.handed);
                state.finish(from, to);
                true
            }
            Phase::Closed(_) => false,
            Phase::CutOff { at, .. } if from >= *at => false,
            Phase::CutOff { at, next } => next.finish(from, to.min(*at)),
        }
    }

    /// Why the record at this offset cannot be finished; `None` if it can.
    pub(crate) fn refusal(&self, offset: i64) -> Option<Refusal> {
        match &self.lock().phase {
            Phase::Open => None,
            Phase::Closed(refusal) => Some(refusal.clone()),
            Phase::CutOff { at, .. } if offset >= *at => Some(Refusal::Truncated),
            Phase::CutOff { next, .. } => next.refusal(offset),
        }
    }

    /// The cluster has moved the position back to this offset: what was handed out from there on belongs to a
    /// log that is gone, and is delivered again. Records before it are still to be finished, in the returned
    /// ledger.
    pub(crate) fn cut_off(&self, at: i64) -> Arc<Self> {
        let mut state = self.lock();
        let next = Arc::new(Self(Mutex::new(state.before(at))));
        state.islands.clear();
        state.phase = Phase::CutOff { at, next: next.clone() };
        next
    }

    /// The position up to which everything is finished, if anything is.
    pub(crate) fn finished(&self) -> Option<Position> {
        self.lock().position()
    }

    /// The record's ticket was dropped, so it cannot be finished by it any more.
    pub(crate) fn ticket_dropped(&self, offset: i64) {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open if !state.is_finished(offset) => {
                state.dropped.insert(offset);
                if state.dropped.len() > MOST_DROPPED {
                    state.dropped.pop_last();
                }
            }
            Phase::CutOff { at, next } if offset < *at => next.ticket_dropped(offset),
            Phase::Open | Phase::CutOff { .. } | Phase::Closed(_) => {}
        }
    }

    /// The records that were handed out and are not finished, if any.
    pub(crate) fn open(&self) -> Option<Open> {
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.dropped);
        state.dropped = dropped.into_iter().filter(|offset| !state.is_finished(*offset)).collect();
        let finished: u64 = state.islands.iter().map(|(from, to)| between(*from, *to)).sum();
        let count = between(state.finished, state.handed).saturating_sub(finished);
        (count > 0).then(|| Open { first: state.finished, count, dropped: state.dropped.first().copied() })
    }

    /// Records that are finished and cannot be committed, because the record before them is not: that
    /// record's offset, and the number of records after it.
    pub(crate) fn held_back(&self) -> Option<(i64, u64)> {
        let state = self.lock();
        let count = state.islands.iter().map(|(from, to)| between(*from, *to)).sum();
        (count > 0).then_some((state.finished, count))
    }

    /// How many dropped tickets it keeps.
    #[cfg(test)]
    pub(crate) fn dropped_tickets(&self) -> usize {
        self.lock().dropped.len()
    }

    /// How many intervals it keeps.
    #[cfg(test)]
    pub(crate) fn islands(&self) -> usize {
        self.lock().islands.len()
    }

    /// Closes the ledger for this reason. Returns the position up to which everything was finished, which
    /// includes every `finish` that returned true.
    pub(crate) fn close(&self, refusal: Refusal) -> Option<Position> {
        let mut state = self.lock();
        state.phase = Phase::Closed(refusal);
        state.islands.clear();
        state.position()
    }
}

fn between(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// The intervals without any of these offsets, between the two ends.
fn holes(from: i64, offsets: impl IntoIterator<Item = i64>, to: i64) -> Vec<(i64, i64)> {
    let mut holes = Vec::new();
    let mut expected = from;
    for offset in offsets {
        if offset > expected {
            holes.push((expected, offset));
        }
        expected = offset.saturating_add(1);
    }
    if to > expected {
        holes.push((expected, to));
    }
    holes
}

impl State {
    /// What remains of it when the log is cut off.
    fn before(&self, at: i64) -> Self {
        let finished = self.finished.min(at);
        let islands = self.islands.range(..at).map(|(from, to)| (*from, *to.min(&at)));
        let mut epochs: VecDeque<Position> = VecDeque::new();
        for reach in self.epochs.iter().filter(|reach| reach.offset > finished) {
            epochs.push_back(Position { offset: reach.offset.min(at), epoch: reach.epoch });
            if reach.offset >= at {
                break;
            }
        }
        Self {
            phase: Phase::Open,
            // Records that the cluster has removed need no report.
            from: if self.finished < at { self.from } else { at },
            finished,
            handed: self.handed.min(at),
            islands: islands.collect(),
            epochs: if finished < at { epochs } else { VecDeque::new() },
            dropped: self.dropped.range(..at).copied().collect(),
        }
    }

    fn is_finished(&self, offset: i64) -> bool {
        let island = self.islands.range(..=offset).next_back();
        offset < self.finished || island.is_some_and(|(_, to)| offset < *to)
    }

    fn reach(&mut self, to: Position) {
        if to.offset <= self.handed {
            return;
        }
        self.handed = to.offset;
        match self.epochs.back_mut() {
            Some(last) if last.epoch == to.epoch => *last = to,
            _ => self.epochs.push_back(to),
        }
    }

    fn finish(&mut self, from: i64, to: i64) {
        let (mut from, mut to) = (from.max(self.finished), to);
        if from >= to {
            return;
        }
        if let Some((&before, &end)) = self.islands.range(..from).next_back()
            && end >= from
        {
            (from, to) = (before, end.max(to));
        }
        while let Some((&inside, &end)) = self.islands.range(from..=to).next() {
            self.islands.remove(&inside);
            to = end.max(to);
        }
        if from > self.finished {
            self.islands.insert(from, to);
            return;
        }
        self.finished = to;
        while self.epochs.front().is_some_and(|reach| reach.offset < to) {
            self.epochs.pop_front();
        }
    }

    fn position(&self) -> Option<Position> {
        let epoch = self.epochs.front().and_then(|reach| reach.epoch);
        (self.finished > self.from).then_some(Position { offset: self.finished, epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j3_holes_are_what_lies_between_records_and_nothing_where_they_follow_one_another() {
        assert_eq!(holes(5, [5, 6, 9], 12), [(7, 9), (10, 12)]);
        assert_eq!(holes(5, [7], 8), [(5, 7)]);
        assert_eq!(holes(5, [5, 6, 7], 8), []);
        assert_eq!((holes(5, [], 5), holes(5, [], 6)), (vec![], vec![(5, 6)]));
    }
}
