//! Groups of the consumer protocol (KIP-848): the coordinator computes the target assignment, and moves each member to it.
//!
//! There are three epochs. The group's grows with every change of subscription, membership or topics. The target's is
//! the group epoch that the target assignment was computed for. A member's is that of the target that it has reached. A
//! member's epoch changes only in its own heartbeats ([`reconcile`]). A partition has at most one owner at any time; a
//! member that still has to revoke it is its owner.
//!
//! A heartbeat and a classic join ([`classic`]) work on a copy of the group, which replaces the group if nothing
//! failed. So a refused request leaves no trace, as in Kafka, where it writes no records.

mod assign;
mod classic;
#[cfg(test)]
mod classic_tests;
mod describe;
mod embedded;
mod heartbeat;
#[cfg(test)]
mod history_tests;
mod leave;
mod member;
pub(crate) mod migrate;
mod reconcile;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

pub(crate) use member::Member;
pub(crate) use migrate::{MigratingMember, Migration};

use crate::{config::Config, topics::Topics};

/// Partitions by topic.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// Partitions by topic, each with the member epoch in which it was assigned (KIP-1251).
pub(crate) type Assigned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// The member epoch of a static member that is away for a while.
const STATIC_LEAVE_EPOCH: i32 = -2;

/// The members of a group of the consumer protocol.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    epoch: i32,
    /// The group epoch of `target`.
    target_epoch: i32,
    /// When `target` was computed, for `group.consumer.assignment.interval.ms`.
    target_since: Option<Instant>,
    target: BTreeMap<String, Partitions>,
    members: BTreeMap<String, Member>,
    /// The subscribed topics that exist, each with its id and its number of partitions, when last checked.
    topics: BTreeMap<String, (Uuid, i32)>,
    /// The topics that match each pattern to which members subscribe.
    patterns: BTreeMap<String, BTreeSet<String>>,
}

impl Default for Consumer {
    /// A group without members. Kafka starts both epochs at 1 since 4.3 (KIP-1263), so that a member that waits for its
    /// first assignment has an epoch other than 0.
    fn default() -> Self {
        Self {
            epoch: 1,
            target_epoch: 1,
            target_since: None,
            target: BTreeMap::new(),
            members: BTreeMap::new(),
            topics: BTreeMap::new(),
            patterns: BTreeMap::new(),
        }
    }
}

impl Consumer {
    /// The state, by Kafka's name.
    pub(crate) fn state(&self) -> &'static str {
        let there = |member: &Member| member.is_at(self.target_epoch);
        match () {
            () if self.members.is_empty() => "Empty",
            () if self.epoch > self.target_epoch => "Assigning",
            () if self.members.values().all(there) => "Stable",
            () => "Reconciling",
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a member reads this topic, by name or by pattern.
    pub(crate) fn subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.names.contains(topic))
            || self.patterns.values().any(|matched| matched.contains(topic))
    }

    /// When the next session or rebalance expires.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.members.values().filter_map(Member::next_timeout).min()
    }

    /// Restarts running sessions at `from`, when the coordinator will have loaded the group. Members of the classic
    /// protocol have their own timeout.
    pub(crate) fn sessions_begin_at(&mut self, from: Instant, timeout: Duration) {
        for member in self.members.values_mut() {
            let timeout = member.classic.as_ref().map_or(timeout, |classic| classic.session_timeout);
            member.session = member.session.map(|at| at.max(from + timeout));
        }
    }

    // ---- offsets -------------------------------------------------------------------------------------------------

    /// Whether a member may commit anything at all in this epoch. An epoch behind the member's own passes here, and is
    /// checked partition by partition in [`check_commit_of`](Self::check_commit_of) (KIP-1251); one refused partition
    /// refuses the whole commit.
    ///
    /// A transactional commit without member, instance and epoch is not checked here, and `version` is that of
    /// OffsetCommit; a transactional one passes [`i16::MAX`].
    pub(crate) fn check_commit(
        &self,
        member_id: &str,
        epoch: i32,
        version: i16,
    ) -> Result<(), ResponseError> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(ResponseError::UnknownMemberId)?;
        if member.classic.is_none() && version < 9 {
            return Err(ResponseError::UnsupportedVersion);
        }
        if epoch > member.epoch { Err(member.stale()) } else { Ok(()) }
    }

    /// Whether a member may commit this partition in this epoch: its own, or an earlier one in which it already held
    /// the partition (KIP-1251). Call [`check_commit`](Self::check_commit) first.
    pub(crate) fn check_commit_of(
        &self,
        member_id: &str,
        epoch: i32,
        topic: Uuid,
        partition: i32,
    ) -> Result<(), ResponseError> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(ResponseError::UnknownMemberId)?;
        let since = [&member.assigned, &member.revoking]
            .into_iter()
            .find_map(|held| held.get(&topic)?.get(&partition).copied());
        if epoch == member.epoch || (epoch < member.epoch && since.is_some_and(|since| since <= epoch)) {
            Ok(())
        } else {
            Err(member.stale())
        }
    }

    /// Whether a member may read the group's offsets in this epoch; a client that names neither may.
    pub(crate) fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ResponseError> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member_id.and_then(|id| self.members.get(id)).ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(member.stale()) }
    }

    // ---- members -------------------------------------------------------------------------------------------------

    fn static_member(&self, instance: &str) -> Option<&Member> {
        self.members.values().find(|member| member.instance.as_deref() == Some(instance))
    }

    /// Whether some member owns this partition, or has not yet revoked it.
    fn is_held(&self, topic: Uuid, partition: i32) -> bool {
        let holds = |held: &Assigned| held.get(&topic).is_some_and(|held| held.contains_key(&partition));
        self.members.values().any(|member| holds(&member.assigned) || holds(&member.revoking))
    }
}

/// The view of the cluster that a request may use beside its group.
#[derive(Clone, Debug)]
struct ClusterView {
    now: Instant,
    /// Every topic's id and number of partitions.
    topics: BTreeMap<String, (Uuid, i32)>,
    assignment_interval: Duration,
    max_size: usize,
}

impl ClusterView {
    fn new(now: Instant, topics: &Topics, config: &Config) -> Self {
        let size = |topic: &crate::topics::Topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Self {
            now,
            topics: topics.all.iter().map(|(name, topic)| (name.clone(), (topic.id, size(topic)))).collect(),
            assignment_interval: config.consumer_assignment_interval,
            max_size: config.group_max_size,
        }
    }

    fn partitions_of(&self, id: Uuid) -> Option<i32> {
        self.topics.values().find(|(known, _)| *known == id).map(|(_, partitions)| *partitions)
    }

    fn name_of(&self, id: Uuid) -> Option<&str> {
        self.topics.iter().find(|(_, (known, _))| *known == id).map(|(name, _)| name.as_str())
    }
}

/// The refusal of a request, with Kafka's message.
#[derive(Debug)]
struct Refusal {
    error: ResponseError,
    message: String,
}

impl Refusal {
    fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }

    fn invalid(message: &str) -> Self {
        Self::new(ResponseError::InvalidRequest, message)
    }

    fn unknown_member(group: &str, member: &str) -> Self {
        let message = format!("Member {member} is not a member of group {group}.");
        Self::new(ResponseError::UnknownMemberId, message)
    }

    fn unknown_instance(instance: &str) -> Self {
        Self::new(ResponseError::UnknownMemberId, format!("Instance id {instance} is unknown."))
    }

    fn fenced_instance(member: &str, instance: &str, owner: &str) -> Self {
        let message =
            format!("Static member {member} with instance id {instance} was fenced by member {owner}.");
        Self::new(ResponseError::FencedInstanceId, message)
    }

    /// Whether a correct client, in a world where nothing breaks, would never get this.
    fn is_client_error(&self) -> bool {
        matches!(
            self.error,
            ResponseError::InvalidRequest
                | ResponseError::UnknownMemberId
                | ResponseError::FencedMemberEpoch
                | ResponseError::FencedInstanceId
                | ResponseError::GroupIdNotFound
                | ResponseError::IllegalGeneration
                | ResponseError::InconsistentGroupProtocol
        )
    }
}
