//! What is committed, and when.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake::TopicPartition;

use super::{AssignmentId, Machine, partition::ToCommit};
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
        self.is_committing = self
            .partitions
            .values()
            .any(|it| it.commits.changes != it.commits.confirmed && it.has_progress());
        if !self.is_committing {
            (self.last_commit, self.has_news) = (now, false);
        }
        self.is_committing
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
        for (id, partition) in &mut self.partitions {
            let is_meant = only.as_ref().is_none_or(|only| only.contains(&partition.name));
            if !is_meant || partition.commits.changes == partition.commits.confirmed {
                continue;
            }
            let Some((offset, effects)) = partition.committable(most.saturating_sub(taken), taken == 0)
            else {
                continue;
            };
            if is_transactional && Some(offset) == partition.commits.base {
                continue;
            }
            taken += effects;
            if let Some(what) = partition.to_commit(offset, &self.group, self.options.metadata_bytes) {
                // Where there is more that it could commit, not all that has changed is confirmed with it.
                let is_all = partition.committable(usize::MAX, true).is_some_and(|(all, _)| all == offset);
                partition.commits.asked = partition.commits.changes.saturating_sub(u64::from(!is_all));
                partition.commits.next_base = Some(what.offset);
                commits.push(PartitionCommit { id: *id, name: partition.name.clone(), what });
            }
        }
        self.is_committing = !commits.is_empty();
        commits
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
