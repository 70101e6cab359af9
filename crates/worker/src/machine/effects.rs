//! The effects of finished records in a transaction: the records sent by their handlers, or their letters. An effect is kept
//! until a transaction that contains it is committed.
//!
//! A transaction contains the effects of the records before the offset that it commits, and no others. Effects of records after
//! an unfinished one wait for it, and count in the queue. An effect made of several records belongs to the last of them, and
//! holds the committable offset at the first: they are committed together.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use offtake::{ErrorKind, TopicPartition};

use super::{AssignmentId, DeadLetter, Machine, PartitionCommit, tracker::Tracker};
use crate::{StopReason, StoppedPartition, clock, output::Output};

/// The pause after an aborted transaction. It doubles with each further one in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The effect of one record.
#[derive(Debug)]
pub(crate) enum Effect<R> {
    Outputs(Vec<Output>),
    DeadLetter { record: R, letter: DeadLetter },
}

impl<R> Effect<R> {
    /// The lowest offset of the records that the effect is made of, if there are several.
    fn first(&self) -> Option<i64> {
        match self {
            Self::Outputs(outputs) => outputs.iter().filter_map(|output| output.first).min(),
            Self::DeadLetter { .. } => None,
        }
    }
}

/// The assignment and the offset of the record that an effect belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EffectId {
    pub(super) assignment: AssignmentId,
    pub(crate) offset: i64,
}

/// The partition and the offset of a written letter.
pub(crate) type Written = (TopicPartition, Option<i64>);

#[derive(Debug)]
struct Kept<R> {
    effect: Arc<Effect<R>>,
    bytes: usize,
    /// The lowest offset of the records that the effect is made of.
    first: i64,
    /// Whether the current transaction contains it.
    is_sent: bool,
}

/// The effects of one partition.
#[derive(Debug)]
pub(crate) struct Effects<R> {
    by_offset: BTreeMap<i64, Kept<R>>,
    /// Nothing from this offset on will be committed in this assignment, so that no effects are kept.
    none_from: i64,
}

impl<R> Effects<R> {
    pub(crate) fn new() -> Self {
        Self { by_offset: BTreeMap::new(), none_from: i64::MAX }
    }

    /// The lowest offset of a record with an effect.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.by_offset.first_key_value().map(|(offset, _)| *offset)
    }

    /// This offset, or the highest one before it at which a commit does not separate records that have to be committed together.
    pub(super) fn cap(&self, mut offset: i64) -> i64 {
        // Moving back may reach the last record of another effect, which is made of several too.
        loop {
            let lowest = self.by_offset.range(offset..).map(|(_, kept)| kept.first).min();
            match lowest.filter(|lowest| *lowest < offset) {
                Some(lowest) => offset = lowest,
                None => return offset,
            }
        }
    }

    /// The same, with at most this many effects before it.
    pub(super) fn cap_of(&self, to: i64, most: usize) -> i64 {
        let next = self.by_offset.range(..to).nth(most);
        self.cap(next.map_or(to, |(offset, _)| *offset))
    }

    /// The lowest offset up to this one with any effects before it.
    pub(super) fn least_cap(&self, to: i64) -> i64 {
        let mut behind = self.by_offset.range(..to).skip(1).map(|(offset, _)| *offset);
        behind.find(|offset| self.cap(*offset) == *offset).unwrap_or_else(|| self.cap(to))
    }

    /// The number of effects before this offset.
    pub(super) fn count_before(&self, offset: i64) -> usize {
        self.by_offset.range(..offset).count()
    }

    /// Removes and returns the effects of the transaction that was committed.
    fn take_sent(&mut self) -> Vec<(i64, Kept<R>)> {
        let (sent, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.by_offset).into_iter().partition(|(_, kept)| kept.is_sent);
        self.by_offset = rest.into_iter().collect();
        sent
    }
}

impl<R: Clone> Machine<R> {
    pub(super) fn is_transactional(&self) -> bool {
        self.options.transactions.is_some()
    }

    /// Keeps the effect of a finished record.
    pub(super) fn keep(&mut self, id: AssignmentId, offset: i64, bytes: usize, effect: Effect<R>) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let first = effect.first().unwrap_or(offset).min(offset);
        if offset >= partition.effects.none_from {
            return self.commit_none_from(id, first);
        }
        let kept = Kept { effect: Arc::new(effect), bytes, first, is_sent: false };
        partition.effects.by_offset.insert(offset, kept);
        self.kept += 1;
        self.enter_queue(id, 1, bytes);
    }

    /// Commits nothing of a partition from this record on, because a record there will not be finished. Effects made of records
    /// there are dropped, and their other records are not finished either.
    pub(super) fn commit_none_from(&mut self, id: AssignmentId, from: i64) {
        let is_transactional = self.is_transactional();
        let Some(partition) = self.partitions.get_mut(&id).filter(|_| is_transactional) else { return };
        let from = partition.effects.cap(from.min(partition.effects.none_from));
        partition.effects.none_from = from;
        partition.take_back_from(from);
        self.forget_effects(id, from);
    }

    /// Drops the effects that belong to the record at this offset of a partition, and to all records after it.
    pub(super) fn forget_effects(&mut self, id: AssignmentId, from: i64) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let gone = partition.effects.by_offset.split_off(&from);
        self.kept = self.kept.saturating_sub(gone.len());
        self.leave_queue(id, gone.len(), gone.values().map(|kept| kept.bytes).sum());
    }

    /// The effects in a transaction with these commits, in the order of the logs. Its result must be
    /// [reported](Self::transaction_ended).
    pub(crate) fn send_effects(&mut self, commits: &[PartitionCommit]) -> Vec<(EffectId, Arc<Effect<R>>)> {
        let mut sent = Vec::new();
        for commit in commits {
            let Some(partition) = self.partitions.get_mut(&commit.id) else { continue };
            for (offset, kept) in partition.effects.by_offset.range_mut(..commit.what.offset) {
                kept.is_sent = true;
                sent.push((EffectId { assignment: commit.id, offset: *offset }, Arc::clone(&kept.effect)));
            }
        }
        sent
    }

    /// Notes that a transaction with these commits would be too large: the next one [contains](Self::take_commit) less, at most
    /// this many effects if that is possible.
    pub(crate) fn take_less(&mut self, commits: &[PartitionCommit], most: usize) {
        self.keep_sent(commits);
        self.effects_at_once = most.max(1);
    }

    /// Keeps the effects of a transaction with these commits for another one.
    fn keep_sent(&mut self, commits: &[PartitionCommit]) {
        for commit in commits {
            let Some(partition) = self.partitions.get_mut(&commit.id) else { continue };
            partition.effects.by_offset.values_mut().for_each(|kept| kept.is_sent = false);
        }
    }

    /// Notes the result of a transaction, with the places of its letters. Effects that were not committed are kept for the next
    /// one.
    pub(crate) fn transaction_ended(
        &mut self,
        now: Instant,
        commits: &[PartitionCommit],
        is_committed: bool,
        letters: &BTreeMap<EffectId, Written>,
    ) {
        match (is_committed, commits.is_empty()) {
            // The transaction was not even begun.
            (false, true) => {
                self.is_committing = false;
                self.metrics.failed_commits += 1;
            }
            _ => self.commit_ended(commits, |_| is_committed),
        }
        self.has_news |= !is_committed || self.is_divided();
        if is_committed {
            self.effects_at_once = self.effects_at_once.saturating_mul(2);
        }
        self.aborted_in_a_row = if is_committed { 0 } else { self.aborted_in_a_row.saturating_add(1) };
        let pause = self.aborted_in_a_row.checked_sub(1).map_or(Duration::ZERO, |doublings| {
            FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
        });
        self.commit_not_before = clock::later(now, pause);
        if !is_committed {
            return self.keep_sent(commits);
        }
        if let Some(from) = self.left_out {
            self.commit_from = from;
        }
        for PartitionCommit { id, name, .. } in commits {
            let Some(partition) = self.partitions.get_mut(id) else { continue };
            for (offset, kept) in partition.effects.take_sent() {
                self.kept = self.kept.saturating_sub(1);
                self.leave_queue(*id, 1, kept.bytes);
                if let Effect::DeadLetter { letter, .. } = &*kept.effect {
                    let written = letters.get(&EffectId { assignment: *id, offset }).cloned();
                    self.letter_written(name.clone(), letter.clone(), written);
                }
            }
        }
    }

    /// Handles effects that the brokers refused, out of this many in a transaction. Brokers refuse whole batches, most of whose
    /// records may be valid. If there are several suspects of that kind, the next transactions are smaller, until only one record
    /// can be at fault.
    pub(crate) fn effects_refused(&mut self, refused: Vec<(EffectId, offtake::Error)>, sent: usize) {
        let is_of_batch = |(_, error): &(EffectId, offtake::Error)| {
            matches!(error.kind(), ErrorKind::Refused | ErrorKind::Corrupt)
        };
        let (suspects, certain): (Vec<_>, Vec<_>) = refused.into_iter().partition(is_of_batch);
        certain.into_iter().for_each(|(id, error)| self.effect_refused(id, error));
        let is_least = suspects.len() == 1 || self.effects_at_once == 1;
        match suspects.into_iter().next() {
            Some((id, error)) if is_least => self.effect_refused(id, error),
            Some(_) => self.effects_at_once = (sent.min(self.effects_at_once) / 2).max(1),
            None => {}
        }
    }

    /// Whether transactions are smaller than possible, because brokers refused something in an earlier one.
    pub(crate) fn is_divided(&self) -> bool {
        self.effects_at_once < usize::MAX
    }

    /// Handles a partition whose offset the group does not accept: the partition stops at its committed offset, and the next
    /// transactions do without it.
    pub(crate) fn offset_refused(&mut self, id: AssignmentId, error: offtake::Error) {
        self.cancel_jobs(id);
        let Some(partition) = self.partitions.get(&id) else { return };
        let Some(position) = partition.tracker.as_ref().map(Tracker::position) else { return };
        let name = partition.name.clone();
        let from = partition.commits.base.unwrap_or(position);
        self.commit_none_from(id, from);
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.commits.base = partition.tracker.as_ref().map(Tracker::position);
            partition.commits.is_first = false;
        }
        self.has_news = true;
        let why = StopReason::OffsetRefused { error };
        self.stop_partition(StoppedPartition { partition: name, offset: Some(from), why });
        self.drop_what_is_over(id);
    }

    /// Handles a record whose effect the brokers do not accept: its partition stops before it, and the next transaction does
    /// without it.
    pub(crate) fn effect_refused(&mut self, id: EffectId, error: offtake::Error) {
        let EffectId { assignment, offset } = id;
        let Some(partition) = self.partitions.get_mut(&assignment) else { return };
        let Some(kept) = partition.effects.by_offset.get(&offset) else { return };
        let why = match &*kept.effect {
            Effect::DeadLetter { letter, .. } => {
                StopReason::DeadLetterFailed { error, reason: letter.reason.clone() }
            }
            Effect::Outputs(_) => StopReason::ResultFailed { error },
        };
        let partition = partition.name.clone();
        self.has_news = true;
        self.commit_none_from(assignment, offset);
        self.stop_partition(StoppedPartition { partition, offset: Some(offset), why });
    }
}
