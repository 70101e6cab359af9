//! Which records of one partition are finished, in whatever order and from whatever thread that is said.
//!
//! What may be committed is the longest run, from the first record handed out, of which every one is finished. Offsets
//! at which there is no record (compacted away, a transaction's marker) are no holes in it: they are known as finished
//! when what lies around them is handed out. What is finished beyond the first hole is kept as intervals that merge, so
//! that a ledger grows with the records that are not finished, never with those that are.
//!
//! When the cluster moves the position back, the records before the cut that are not finished yet do not come again: the
//! ledger that follows keeps account of them, and the old one hands on what is said of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError},
};

use offtake_machine::Position;

use crate::atomics::{Mutex, MutexGuard};

/// One partition's, from an assignment, a seek or a move back by the cluster to the next.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug)]
enum Life {
    Open,
    /// Nothing counts any more.
    Closed(Refusal),
    /// The log was cut off at this offset: what lies before it counts in the ledger that follows, and nothing else does.
    CutOff {
        at: i64,
        next: Arc<Ledger>,
    },
}

/// Why it does not count that a record is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The partition was revoked, or given up by the application.
    Revoked,
    /// The partition was lost; why, if that is known.
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
    life: Life,
    /// Where it began.
    from: i64,
    /// All below is finished.
    finished: i64,
    /// All below was handed out, or passed over.
    handed: i64,
    /// Finished beyond the first hole: from where to where. Neither empty nor touching one another.
    islands: BTreeMap<i64, i64>,
    /// Up to where each leader epoch reaches, for all that is not finished.
    epochs: VecDeque<Position>,
    /// The first of the records whose tickets were dropped.
    dropped: BTreeSet<i64>,
}

/// So many dropped tickets are kept in mind.
pub(crate) const MOST_DROPPED: usize = 64;

/// Records that were handed out and are not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// The first of them.
    pub(crate) first: i64,
    /// How many; of batches that were not opened yet each offset counts.
    pub(crate) count: u64,
    /// The first of which the ticket was dropped.
    pub(crate) dropped: Option<i64>,
}

impl Ledger {
    /// The first record may be at `offset`.
    pub(crate) fn starting_at(offset: i64) -> Self {
        Self(Mutex::new(State {
            life: Life::Open,
            from: offset,
            finished: offset,
            handed: offset,
            islands: BTreeMap::new(),
            epochs: VecDeque::new(),
            dropped: BTreeSet::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All below was handed out, or passed over.
    pub(crate) fn handed(&self) -> i64 {
        self.lock().handed
    }

    /// These offsets are handed out, and reading goes on at `next`; in all that lies between and before them there is no
    /// record.
    pub(crate) fn hand_out(&self, offsets: impl IntoIterator<Item = i64>, next: Position) {
        let mut state = self.lock();
        let empty = holes(state.handed, offsets, next.offset);
        state.reach(next);
        for (from, to) in empty {
            state.finish(from, to);
        }
    }

    /// All from `from` up to `next` is handed out, unopened: which offsets have a record will be known when it is. Before
    /// `from` there is none that was not handed out.
    pub(crate) fn hand_out_unopened(&self, from: i64, next: Position) {
        let mut state = self.lock();
        let handed = state.handed;
        state.reach(next);
        state.finish(handed, from);
    }

    /// What was handed out unopened has these records from one offset up to the other: where there is none, all is finished.
    pub(crate) fn skip_holes(&self, from: i64, offsets: impl IntoIterator<Item = i64>, to: i64) {
        for (from, to) in holes(from, offsets, to) {
            self.finish(from, to);
        }
    }

    /// Reading went on from one position to the other without a record.
    pub(crate) fn pass(&self, from: i64, to: Position) {
        let mut state = self.lock();
        let from = from.min(state.handed);
        state.reach(to);
        state.finish(from, to.offset);
    }

    /// The records from one offset up to the other are finished. False, and nothing changes, if that counts no more.
    pub(crate) fn finish(&self, from: i64, to: i64) -> bool {
        let mut state = self.lock();
        match &state.life {
            Life::Open => {
                let to = to.min(state.handed);
                state.finish(from, to);
                true
            }
            Life::Closed(_) => false,
            Life::CutOff { at, .. } if from >= *at => false,
            Life::CutOff { at, next } => next.finish(from, to.min(*at)),
        }
    }

    /// Why it does not count that the record of this offset is finished; `None` if it does.
    pub(crate) fn refusal(&self, offset: i64) -> Option<Refusal> {
        match &self.lock().life {
            Life::Open => None,
            Life::Closed(refusal) => Some(refusal.clone()),
            Life::CutOff { at, .. } if offset >= *at => Some(Refusal::Truncated),
            Life::CutOff { next, .. } => next.refusal(offset),
        }
    }

    /// The cluster has moved the position back to this offset: what was handed out from there on is of a log that is gone,
    /// and comes again. What lies before it is still to be finished, in the ledger that follows.
    pub(crate) fn cut_off(&self, at: i64) -> Arc<Self> {
        let mut state = self.lock();
        let next = Arc::new(Self(Mutex::new(state.before(at))));
        state.islands.clear();
        state.life = Life::CutOff { at, next: next.clone() };
        next
    }

    /// Up to where all is finished, if anything is.
    pub(crate) fn finished(&self) -> Option<Position> {
        self.lock().position()
    }

    /// Nobody can finish the record of this offset by its ticket any more.
    pub(crate) fn ticket_dropped(&self, offset: i64) {
        let mut state = self.lock();
        match &state.life {
            Life::Open if !state.is_finished(offset) => {
                state.dropped.insert(offset);
                if state.dropped.len() > MOST_DROPPED {
                    state.dropped.pop_last();
                }
            }
            Life::CutOff { at, next } if offset < *at => next.ticket_dropped(offset),
            Life::Open | Life::CutOff { .. } | Life::Closed(_) => {}
        }
    }

    /// What was handed out and is not finished, if anything is.
    pub(crate) fn open(&self) -> Option<Open> {
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.dropped);
        state.dropped = dropped.into_iter().filter(|offset| !state.is_finished(*offset)).collect();
        let finished: u64 = state.islands.iter().map(|(from, to)| between(*from, *to)).sum();
        let count = between(state.finished, state.handed).saturating_sub(finished);
        (count > 0).then(|| Open { first: state.finished, count, dropped: state.dropped.first().copied() })
    }

    /// What is finished and cannot be committed, as the record before it is not finished: that record's offset, and how many
    /// there are behind it.
    pub(crate) fn held_back(&self) -> Option<(i64, u64)> {
        let state = self.lock();
        let count = state.islands.iter().map(|(from, to)| between(*from, *to)).sum();
        (count > 0).then_some((state.finished, count))
    }

    /// How many dropped tickets it keeps in mind.
    #[cfg(test)]
    pub(crate) fn dropped_tickets(&self) -> usize {
        self.lock().dropped.len()
    }

    /// How many intervals it keeps.
    #[cfg(test)]
    pub(crate) fn islands(&self) -> usize {
        self.lock().islands.len()
    }

    /// Nothing counts from here on, for this reason; up to where all was finished. Every `finish` that was told true is in it.
    pub(crate) fn close(&self, refusal: Refusal) -> Option<Position> {
        let mut state = self.lock();
        state.life = Life::Closed(refusal);
        state.islands.clear();
        state.position()
    }
}

fn between(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// What lies between these offsets, from one up to the other.
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
    /// What is left of it when the log is cut off.
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
            life: Life::Open,
            // Of what the cluster took back nothing is to be told.
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
