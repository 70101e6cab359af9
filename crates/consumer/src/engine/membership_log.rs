//! Logs membership for the operators of a service: a line for each join, assignment, revocation and loss. One
//! line lists all partitions that start without a committed offset.

use std::time::{Duration, Instant};

use offtake_machine::TopicPartition;
use offtake_offsets::ResetReason;

use super::Engine;
use crate::{config::GroupProtocol, partition_list::PartitionList};

/// How long the start of some partitions waits for that of the others, to share a line with them.
const GATHER: Duration = Duration::from_secs(1);
/// How many of them are shown with their offset.
const MOST_STARTS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct MembershipLog {
    /// The member as last logged.
    joined: Option<Joined>,
    starts: Vec<FirstStart>,
    /// When the first of them was noted.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Joined {
    member: String,
    /// With KIP-848, the member epoch.
    generation: i32,
    /// The member has lost its partitions, and rejoins.
    is_out: bool,
}

#[derive(Debug)]
struct FirstStart {
    partition: TopicPartition,
    at: i64,
    reason: ResetReason,
}

impl MembershipLog {
    /// The member, by the id last logged.
    pub(super) fn member(&self) -> Option<&str> {
        self.joined.as_ref().map(|joined| joined.member.as_str())
    }

    /// Notes that this partition had no position, and starts there.
    pub(super) fn note_start(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        at: i64,
        reason: ResetReason,
    ) {
        self.since.get_or_insert(now);
        self.starts.push(FirstStart { partition, at, reason });
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.since?.checked_add(GATHER)
    }

    fn write_starts(&mut self) {
        self.since = None;
        while let Some(reason) = self.starts.first().map(|start| start.reason) {
            let alike: Vec<_> = self.starts.extract_if(.., |start| start.reason == reason).collect();
            let shown =
                alike.iter().take(MOST_STARTS).map(|start| format!("{} at {}", start.partition, start.at));
            let mut at = shown.collect::<Vec<_>>().join(", ");
            if let left @ 1.. = alike.len().saturating_sub(MOST_STARTS) {
                at = format!("{at} and {left} more");
            }
            tracing::info!(partitions = alike.len(), %reason, "reading starts where auto.offset.reset says: {at}");
        }
    }
}

impl Engine {
    /// Logs an assignment by the group.
    pub(super) fn log_assigned(&mut self, added: &[TopicPartition], owned: usize, generation: i32) {
        let Some(member) = &self.member else { return };
        let id = member
            .identity()
            .map_or_else(|| self.log.member().unwrap_or_default().to_owned(), |identity| identity.member_id);
        let same_member = self.log.joined.as_ref().filter(|joined| joined.member == id && !joined.is_out);
        let (is_new, is_changed) =
            (same_member.is_none(), same_member.is_none_or(|joined| joined.generation != generation));
        let protocol = self.config.group_protocol;
        let assignor = member.assignor();
        match protocol {
            // Every generation begins with a join.
            GroupProtocol::Classic if is_changed => {
                tracing::info!(member = id, generation, %protocol, assignor, "joined the group");
            }
            GroupProtocol::Consumer if is_new => {
                tracing::info!(member = id, epoch = generation, %protocol, assignor, "joined the group");
            }
            GroupProtocol::Consumer if is_changed => {
                tracing::debug!(member = id, epoch = generation, "the member has a new epoch");
            }
            _ => {}
        }
        if added.is_empty() {
            tracing::debug!(member = id, owned, "assignment unchanged");
        } else {
            tracing::info!(member = id, count = added.len(), partitions = %PartitionList(added), owned, "partitions assigned");
        }
        self.log.joined = Some(Joined { member: id, generation, is_out: false });
    }

    pub(super) fn log_revoked(&self, partitions: &[TopicPartition], owned: usize) {
        let (member, count) = (self.log.member(), partitions.len());
        tracing::info!(member, count, partitions = %PartitionList(partitions), owned, "partitions revoked");
    }

    pub(super) fn log_lost(&mut self, partitions: &[TopicPartition], owned: usize) {
        let (member, count) = (self.log.member(), partitions.len());
        tracing::warn!(member, count, partitions = %PartitionList(partitions), owned,
            "partitions lost: the group goes on without this member");
        if let Some(joined) = &mut self.log.joined {
            joined.is_out = true;
        }
    }

    pub(super) fn log_left(&mut self) {
        if let Some(Joined { member, .. }) = self.log.joined.take() {
            tracing::info!(member, "left the group");
        }
    }

    /// Logs where partitions start, once all starts are known or some time has passed.
    pub(super) fn log_starts(&mut self, now: Instant) {
        let Some(until) = self.log.poll_timeout() else { return };
        if now >= until || !self.ownership.partitions().any(|partition| self.offsets.is_resolving(partition))
        {
            self.log.write_starts();
        }
    }
}
