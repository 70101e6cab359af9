//! What is committed, and when.

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

/// No shorter interval is kept.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// What one commit says of one assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionCommit {
    pub(crate) id: AssignmentId,
    pub(crate) name: TopicPartition,
    pub(crate) what: ToCommit,
}

/// What a commit says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToCommit {
    pub(crate) offset: i64,
    pub(crate) epoch: Option<i32>,
    pub(crate) metadata: String,
}

/// What was committed of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Commits {
    /// Counts what changed of what is to be committed.
    pub(crate) changes: u64,
    /// What of it a commit that is on its way has.
    pub(crate) asked: u64,
    /// What of it is committed.
    pub(crate) confirmed: u64,
    /// The offset that is.
    pub(crate) offset: Option<i64>,
    /// That, or where this assignment began: a transaction has something to commit when the position is another. None, where the log was cut.
    pub(crate) base: Option<i64>,
    /// What that is once the commit on its way is confirmed.
    pub(crate) next_base: Option<i64>,
    /// What was committed before this assignment, as far as it was asked: an offset, and the leader epoch of the record before it.
    pub(crate) before: Option<(i64, Option<i32>)>,
    /// Nothing was committed before this assignment, nor is yet: where it begins is to be.
    pub(crate) is_first: bool,
}

impl<R> Partition<R> {
    /// Whether a transaction would commit something of it.
    pub(crate) fn has_progress(&self) -> bool {
        self.has_changed()
            && self
                .tracker
                .as_ref()
                .is_some_and(|tracker| self.advances_to(self.effects.cap(tracker.position())))
    }

    /// Whether a commit would say something that none has said.
    fn has_changed(&self) -> bool {
        self.commits.changes != self.commits.confirmed
    }

    /// Whether a commit of this offset says anything new.
    fn advances_to(&self, offset: i64) -> bool {
        self.commits.is_first || Some(offset) != self.commits.base
    }

    /// The offset that may be committed with so many effects at most, and how many that are. The `first` of a transaction has one at least, if there is any: with
    /// those that have to be committed together with it.
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

    /// What is to be committed: this offset, the leader epoch of the record before it, and what is finished beyond, as far as it is known.
    pub(crate) fn to_commit(&self, offset: i64, group: &str, metadata_bytes: usize) -> Option<ToCommit> {
        let tracker = self.tracker.as_ref()?;
        let metadata = match metadata_bytes {
            0 => String::new(),
            limit => {
                let committed_at = CommittedOffset { group, partition: &self.name, offset };
                self.finished_beyond(tracker).encode(&committed_at, limit)
            }
        };
        // Without the epoch, nobody would find out that the log was cut before this offset.
        let before = self.commits.before.filter(|(at, _)| *at == offset).and_then(|(_, epoch)| epoch);
        Some(ToCommit { offset, epoch: tracker.epoch_before(offset).or(before), metadata })
    }

    fn finished_beyond(&self, tracker: &Tracker) -> FinishedBeyond {
        let mut ranges: Vec<_> = tracker.beyond().collect();
        let highest = ranges.last().map(|(_, to)| *to);
        let mut epoch = highest.and_then(|to| tracker.epoch_before(to));
        let mut newest = tracker.newest();
        // What was finished before this assignment and has not come again yet.
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
            // What a transaction writes makes room.
            true => SHORTEST_INTERVAL,
            false => self.options.commit_interval.max(SHORTEST_INTERVAL),
        };
        Some(clock::later(self.last_commit, interval).max(self.commit_not_before))
    }

    /// A transaction is being prepared: what it commits is [taken](Self::take_commit) when it is known as whom. Whether there is something to commit.
    pub(crate) fn begin_transaction(&mut self, now: Instant) -> bool {
        self.is_committing = self.partitions.values().any(Partition::has_progress);
        if !self.is_committing {
            (self.last_commit, self.has_news) = (now, false);
        }
        self.is_committing
    }

    /// Whether another commit has something to say of these.
    pub(crate) fn has_uncommitted(&self, names: &[TopicPartition]) -> bool {
        let partitions = names.iter().filter_map(|name| self.partitions.get(self.by_name.get(name)?));
        let mut has_more = partitions.map(|partition| match self.is_transactional() {
            true => partition.has_progress(),
            false => partition.has_changed(),
        });
        has_more.any(|has_more| has_more)
    }

    /// Nobody can commit any more.
    pub(crate) fn commit_no_more(&mut self) {
        self.is_committing = true;
    }

    /// Until when no commit is made, after some that failed.
    pub(crate) fn commit_rests_until(&self, now: Instant) -> Option<Instant> {
        (self.commit_not_before > now).then_some(self.commit_not_before)
    }

    /// Whether it is time for a commit.
    pub(crate) fn is_commit_due(&self, now: Instant) -> bool {
        self.commit_timeout().is_some_and(|at| at <= now)
    }

    /// What is to be committed and no commit has yet; of these partitions alone, if they are named. It is told how the commit
    /// [ended](Self::commit_ended), and is not asked before that.
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
            // Then there is nothing beyond the offset that a commit could say.
            let says_no_more = is_transactional || self.options.metadata_bytes == 0;
            if says_no_more && !partition.advances_to(offset) {
                continue;
            }
            taken += effects;
            if let Some(what) = partition.to_commit(offset, &self.group, self.options.metadata_bytes) {
                // Where there is more that it could commit, not all that has changed is confirmed with it.
                partition.commits.asked = partition.commits.changes.saturating_sub(u64::from(!is_all));
                partition.commits.next_base = Some(what.offset);
                commits.push(PartitionCommit { id, name: partition.name.clone(), what });
            }
        }
        self.is_committing = !commits.is_empty();
        commits
    }

    /// Where a transaction cannot have all: what is to be handed over comes first, then what the last one left out.
    fn commit_order(&self) -> impl Iterator<Item = AssignmentId> + use<R> {
        let rank = |(id, partition): (&AssignmentId, &Partition<R>)| {
            (!matches!(partition.phase, Phase::Revoking), *id < self.commit_from, *id)
        };
        let mut ids: Vec<_> = self.partitions.iter().map(rank).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(.., id)| id)
    }

    /// How a commit ended: of each partition, whether it is committed.
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

    /// The brokers take no metadata of that length: less of it from here on. False if there was none.
    pub(crate) fn shorten_metadata(&mut self) -> bool {
        const LEAST: usize = 64;
        if self.options.metadata_bytes == 0 {
            return false;
        }
        let half = self.options.metadata_bytes / 2;
        self.options.metadata_bytes = if half < LEAST { 0 } else { half };
        tracing::warn!(
            bytes = self.options.metadata_bytes,
            "the brokers take shorter metadata (`offset.metadata.max.bytes`): less of what is finished beyond a gap is kept"
        );
        true
    }
}
