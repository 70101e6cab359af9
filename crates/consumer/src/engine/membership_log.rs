//! What a service's log says on an ordinary day: one line for each join, assignment, revocation and loss, and one, not one a
//! partition, where reading starts without a committed offset.

use std::time::{Duration, Instant};

use offtake_machine::TopicPartition;
use offtake_offsets::ResetReason;

use super::Engine;
use crate::{config::GroupProtocol, partition_list::PartitionList};

/// How long the start of some partitions waits for that of the others, to share a line with them.
const GATHER: Duration = Duration::from_secs(1);
/// So many of them are shown with their offset.
const MOST_STARTS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct MembershipLog {
    /// The member and its generation, as the last line said.
    joined: Option<(String, i32)>,
    starts: Vec<FirstStart>,
    /// When the first of them was noted.
    since: Option<Instant>,
}

#[derive(Debug)]
struct FirstStart {
    partition: TopicPartition,
    at: i64,
    reason: ResetReason,
}

impl MembershipLog {
    /// The member, by the id that the last line named.
    pub(super) fn member(&self) -> Option<&str> {
        self.joined.as_ref().map(|(member, _)| member.as_str())
    }

    /// This partition had no position, and starts there.
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
    /// The group has assigned.
    pub(super) fn log_assigned(&mut self, added: &[TopicPartition], owned: usize, generation: i32) {
        let Some(member) = &self.member else { return };
        let id = member
            .identity()
            .map_or_else(|| self.log.member().unwrap_or_default().to_owned(), |identity| identity.member_id);
        let is_new =
            self.log.joined.as_ref().is_none_or(|joined| (joined.0.as_str(), joined.1) != (&id, generation));
        if is_new {
            let protocol = self.config.group_protocol;
            let assignor = member.assignor();
            match protocol {
                GroupProtocol::Classic => {
                    tracing::info!(member = id, generation, %protocol, assignor, "joined the group");
                }
                GroupProtocol::Consumer => {
                    tracing::info!(member = id, epoch = generation, %protocol, assignor, "joined the group");
                }
            }
        }
        tracing::info!(member = id, count = added.len(), partitions = %PartitionList(added), owned, "partitions assigned");
        self.log.joined = Some((id, generation));
    }

    pub(super) fn log_revoked(&self, partitions: &[TopicPartition], owned: usize) {
        let (member, count) = (self.log.member(), partitions.len());
        tracing::info!(member, count, partitions = %PartitionList(partitions), owned, "partitions revoked");
    }

    pub(super) fn log_lost(&self, partitions: &[TopicPartition], owned: usize) {
        let (member, count) = (self.log.member(), partitions.len());
        tracing::info!(member, count, partitions = %PartitionList(partitions), owned,
            "partitions lost: the group goes on without this member");
    }

    pub(super) fn log_left(&mut self) {
        if let Some((member, _)) = self.log.joined.take() {
            tracing::info!(member, "left the group");
        }
    }

    /// Where partitions start, once all are known or it has taken a while.
    pub(super) fn log_starts(&mut self, now: Instant) {
        let Some(until) = self.log.poll_timeout() else { return };
        if now >= until || !self.ownership.partitions().any(|partition| self.offsets.is_resolving(partition))
        {
            self.log.write_starts();
        }
    }
}
