//! The offsets to commit, and the times to commit.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake::TopicPartition;

use super::{
    AssignmentId, CommittedOffset, FinishedBeyond, Machine,
    partition::{Partition, Phase},
    tracker::Tracker,
};
use crate::clock;

/// The minimum commit interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// The part of a commit that concerns one assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionCommit {
    pub(crate) id: AssignmentId,
    pub(crate) name: TopicPartition,
    pub(crate) what: ToCommit,
}

/// The contents of a commit for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToCommit {
    pub(crate) offset: i64,
    /// The leader epoch of the record before the offset, or of the one that covers it.
    pub(crate) epoch: Option<i32>,
    pub(crate) metadata: String,
}

/// The state of a partition's commits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Commits {
    /// Counts the changes to what is to be committed.
    pub(crate) changes: u64,
    /// The value of `changes` that the commit in flight covers.
    pub(crate) asked: u64,
    /// The value of `changes` that is committed.
    pub(crate) confirmed: u64,
    /// The committed offset.
    pub(crate) offset: Option<i64>,
    /// The committed offset, or where this assignment began: a transaction has something to commit if the position differs from
    /// it. `None` after the log was cut.
    pub(crate) base: Option<i64>,
    /// The value of `base` once the commit in flight is confirmed.
    pub(crate) next_base: Option<i64>,
    /// The commit found at the start of this assignment, as far as it was fetched: an offset, and the leader epoch that was
    /// committed with it. Or where the log was cut since, and the leader epoch that ends there.
    pub(crate) before: Option<(i64, Option<i32>)>,
    /// Whether nothing was ever committed. Then the start of this assignment is to be committed.
    pub(crate) is_first: bool,
}

impl<R> Partition<R> {
    /// Whether a transaction would commit something for it.
    pub(crate) fn has_progress(&self) -> bool {
        self.has_changed()
            && self
                .tracker
                .as_ref()
                .is_some_and(|tracker| self.advances_to(self.effects.cap(tracker.position())))
    }

    /// Whether its effects wait for an unfinished record before them.
    pub(super) fn has_effects_that_wait(&self) -> bool {
        let position = self.tracker.as_ref().map(Tracker::position);
        let cap = position.map(|position| self.effects.cap(position));
        self.effects.lowest().is_some_and(|lowest| cap.is_some_and(|cap| lowest >= cap))
    }

    /// Whether a commit would contain anything new.
    fn has_changed(&self) -> bool {
        self.commits.changes != self.commits.confirmed
    }

    /// Whether a commit of this offset would be new.
    fn advances_to(&self, offset: i64) -> bool {
        self.commits.is_first || Some(offset) != self.commits.base
    }

    /// The offset that may be committed with at most this many effects, and their number. The `first` partition of a transaction
    /// gets at least one effect, if it has any, together with those that can only be committed together with it.
    pub(crate) fn committable(&self, most: usize, is_first: bool) -> Option<(i64, usize)> {
        let position = self.tracker.as_ref()?.position();
        let offset = self.effects.cap_of(position, most);
        match self.effects.count_before(offset) {
            0 if is_first => {
                let offset = self.effects.least_cap(position);
                Some((offset, self.effects.count_before(offset)))
            }
            effects => Some((offset, effects)),
        }
    }

    /// The contents of a commit: this offset, the leader epoch of the record before it, and the records finished beyond it, as
    /// far as known.
    pub(crate) fn to_commit(&self, offset: i64, group: &str, metadata_bytes: usize) -> Option<ToCommit> {
        let tracker = self.tracker.as_ref()?;
        let metadata = match metadata_bytes {
            0 => String::new(),
            limit => {
                let committed_at = CommittedOffset { group, partition: &self.name, offset };
                self.finished_beyond(tracker).encode(&committed_at, limit)
            }
        };
        // Without the epoch, a truncation of the log before this offset would go unnoticed.
        let before = self.commits.before.filter(|(at, _)| *at == offset).and_then(|(_, epoch)| epoch);
        // The first record of this assignment may lie behind the offset that was committed, with a transaction marker between them,
        // say. Then it is not known what the epoch was before it, and its own serves as well: it covers this offset.
        let epoch = tracker.epoch_before(offset).or(before).or_else(|| tracker.epoch_from(offset));
        Some(ToCommit { offset, epoch, metadata })
    }

    fn finished_beyond(&self, tracker: &Tracker) -> FinishedBeyond {
        let mut ranges: Vec<_> = tracker.beyond().collect();
        let highest = ranges.last().map(|(_, to)| *to);
        let mut epoch = highest.and_then(|to| tracker.epoch_before(to));
        let mut newest = tracker.newest();
        // Records finished before this assignment that have not been read again yet.
        if let Some(before) = &self.before {
            let received = tracker.received();
            for (from, to) in &before.ranges {
                let from = *from.max(&received);
                if from >= *to {
                    continue;
                }
                match ranges.last_mut().filter(|(_, end)| *end == from) {
                    Some((_, end)) => *end = *to,
                    None => ranges.push((from, *to)),
                }
                (epoch, newest) = (epoch.max(before.epoch), newest.max(before.newest));
            }
        }
        FinishedBeyond { ranges, epoch, newest }
    }
}

impl<R: Clone> Machine<R> {
    pub(super) fn commit_timeout(&self) -> Option<Instant> {
        if !self.has_news || self.is_committing {
            return None;
        }
        let interval = match self.room.is_scarce() && self.kept > 0 {
            // A transaction frees room in the queue.
            true => SHORTEST_INTERVAL,
            false => self.options.commit_interval.max(SHORTEST_INTERVAL),
        };
        Some(clock::later(self.last_commit, interval).max(self.commit_not_before))
    }

    /// Prepares a transaction, whose contents are [taken](Self::take_commit) once the group metadata is known. Returns whether
    /// there is something to commit.
    pub(crate) fn begin_transaction(&mut self, now: Instant) -> bool {
        self.look_at_what_has_no_room();
        self.is_committing = self.partitions.values().any(Partition::has_progress);
        if !self.is_committing {
            (self.last_commit, self.has_news) = (now, false);
        }
        self.is_committing
    }

    /// Whether another commit would contain anything for these partitions.
    pub(crate) fn has_uncommitted(&self, names: &[TopicPartition]) -> bool {
        let partitions = names.iter().filter_map(|name| self.partitions.get(self.by_name.get(name)?));
        let mut has_more = partitions.map(|partition| match self.is_transactional() {
            true => partition.has_progress(),
            false => partition.has_changed(),
        });
        has_more.any(|has_more| has_more)
    }

    /// Notes that commits are no longer possible.
    pub(crate) fn commit_no_more(&mut self) {
        self.is_committing = true;
    }

    /// When the pause after failed commits ends, if there is one.
    pub(crate) fn commit_rests_until(&self, now: Instant) -> Option<Instant> {
        (self.commit_not_before > now).then_some(self.commit_not_before)
    }

    /// Whether a commit is due.
    pub(crate) fn is_commit_due(&self, now: Instant) -> bool {
        self.commit_timeout().is_some_and(|at| at <= now)
    }

    /// Takes everything to be committed that no commit contains yet, limited to these partitions if they are given. The result
    /// must be reported to [`commit_ended`](Self::commit_ended) before the next call.
    pub(crate) fn take_commit(
        &mut self,
        now: Instant,
        only: Option<&[TopicPartition]>,
    ) -> Vec<PartitionCommit> {
        let only: Option<BTreeSet<_>> = only.map(|names| names.iter().collect());
        if only.is_none() {
            (self.last_commit, self.has_news) = (now, false);
        }
        let is_transactional = self.is_transactional();
        let mut commits = Vec::new();
        let (mut taken, most) = (0, self.effects_at_once);
        self.left_out = None;
        for id in self.commit_order() {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            let is_meant = only.as_ref().is_none_or(|only| only.contains(&partition.name));
            if !is_meant || !partition.has_changed() {
                continue;
            }
            let Some((offset, effects)) = partition.committable(most.saturating_sub(taken), taken == 0)
            else {
                continue;
            };
            let is_all = partition.committable(usize::MAX, true).is_some_and(|(all, _)| all == offset);
            if !is_all {
                self.left_out.get_or_insert(id);
            }
            // Then a commit can contain nothing beyond the offset.
            let says_no_more = is_transactional || self.options.metadata_bytes == 0;
            if says_no_more && !partition.advances_to(offset) {
                continue;
            }
            taken += effects;
            if let Some(what) = partition.to_commit(offset, &self.group, self.options.metadata_bytes) {
                // If the partition could commit more, this commit does not confirm all changes.
                partition.commits.asked = partition.commits.changes.saturating_sub(u64::from(!is_all));
                partition.commits.next_base = Some(what.offset);
                commits.push(PartitionCommit { id, name: partition.name.clone(), what });
            }
        }
        self.is_committing = !commits.is_empty();
        commits
    }

    /// The order of partitions if a transaction cannot hold everything: those being handed over first, then those that the last
    /// one left out.
    fn commit_order(&self) -> impl Iterator<Item = AssignmentId> + use<R> {
        let rank = |(id, partition): (&AssignmentId, &Partition<R>)| {
            (!matches!(partition.phase, Phase::Revoking), *id < self.commit_from, *id)
        };
        let mut ids: Vec<_> = self.partitions.iter().map(rank).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(.., id)| id)
    }

    /// Notes the result of a commit: for each partition, whether it is committed.
    pub(crate) fn commit_ended(
        &mut self,
        commits: &[PartitionCommit],
        is_committed: impl Fn(&TopicPartition) -> bool,
    ) {
        self.is_committing = false;
        let mut has_failed = false;
        for PartitionCommit { id, name, what } in commits {
            let Some(partition) = self.partitions.get_mut(id) else { continue };
            if is_committed(name) {
                partition.commits.confirmed = partition.commits.asked;
                partition.commits.offset = Some(what.offset);
                partition.commits.base = partition.commits.next_base;
                partition.commits.is_first = false;
            } else {
                has_failed = true;
            }
        }
        self.has_news |= has_failed;
        match has_failed {
            true => self.metrics.failed_commits += 1,
            false => self.metrics.commits += 1,
        }
    }

    /// Reduces the size of metadata, because the brokers do not accept its length. Returns false if there was none.
    pub(crate) fn shorten_metadata(&mut self) -> bool {
        const LEAST: usize = 64;
        if self.options.metadata_bytes == 0 {
            return false;
        }
        let half = self.options.metadata_bytes / 2;
        self.options.metadata_bytes = if half < LEAST { 0 } else { half };
        tracing::warn!(
            bytes = self.options.metadata_bytes,
            "the brokers accept less metadata (`offset.metadata.max.bytes`): fewer of the records finished beyond a gap are remembered"
        );
        true
    }
}
