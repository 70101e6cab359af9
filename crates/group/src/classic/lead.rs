//! What the leader of a generation knows: everybody's subscription, and the partitions of everybody's topics.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{Cluster, Topic};
use offtake_wire::{
    ErrorCode,
    messages::{join_group::JoinGroupResponseMember, sync_group::SyncGroupRequestAssignment},
};

use crate::assignor::{Assignor, MemberSubscription, PartitionCounts, encode_assignment};

#[derive(Clone, Debug, Hash)]
pub(super) struct Lead {
    assignor: Assignor,
    members: BTreeMap<String, MemberSubscription>,
    topics: BTreeSet<Topic>,
    /// What the assignment was made for; `None` until it is made.
    counts: Option<PartitionCounts>,
}

impl Lead {
    /// Takes other clients' words with care: who cannot be understood gets nothing, who is listed twice is taken once
    /// (FAILURES D6, §3 row 50).
    pub(super) fn new(assignor: Assignor, told: Vec<JoinGroupResponseMember>) -> Self {
        let mut members = BTreeMap::new();
        for member in told {
            if members.contains_key(&member.member_id) {
                tracing::warn!(member = %member.member_id, "listed twice by the coordinator; the first counts");
                continue;
            }
            let instance = member.group_instance_id;
            let subscription = MemberSubscription::decode(assignor, instance, member.metadata)
                .inspect_err(
                    |error| tracing::warn!(member = %member.member_id, %error, "unreadable subscription"),
                )
                .unwrap_or_default();
            members.insert(member.member_id, subscription);
        }
        let topics = members.values().flat_map(|member| member.topics.iter().cloned()).collect();
        Self { assignor, members, topics, counts: None }
    }

    /// All topics of the group.
    pub(super) fn topics(&self) -> &BTreeSet<Topic> {
        &self.topics
    }

    /// How many partitions each topic has, and whether we know that of all of them. A topic that does not exist is
    /// known to have none; one whose metadata is in trouble keeps what it had.
    fn count(&self, cluster: &Cluster) -> (PartitionCounts, bool) {
        let mut counts = PartitionCounts::new();
        let mut complete = true;
        for topic in &self.topics {
            let count = match cluster.topics.get(topic) {
                // An index without a partition is one that the broker left out; it exists all the same (B5).
                Some(info) if info.error.is_ok() => {
                    info.partitions.last_key_value().map_or(0, |(last, _)| last.saturating_add(1))
                }
                Some(info)
                    if info.error == ErrorCode::UnknownTopicOrPartition || !info.error.is_retriable() =>
                {
                    0
                }
                _ => {
                    complete = false;
                    self.counts.as_ref().and_then(|counts| counts.get(topic)).copied().unwrap_or(0)
                }
            };
            if count > 0 {
                counts.insert(topic.clone(), count);
            }
        }
        (counts, complete)
    }

    /// Whether the assignment need not wait for metadata.
    pub(super) fn knows_enough(&self, cluster: &Cluster) -> bool {
        self.count(cluster).1
    }

    /// Everybody's assignment, from what is known now.
    pub(super) fn assign(&mut self, cluster: &Cluster) -> Vec<SyncGroupRequestAssignment> {
        let counts = self.counts.insert(self.count(cluster).0);
        let assignment = self.assignor.assign(counts, &self.members);
        tracing::debug!(assignor = %self.assignor, ?assignment, "assigned as leader");
        assignment
            .into_iter()
            // Topics came over the wire, so they fit it.
            .filter_map(|(member_id, partitions)| {
                let assignment = encode_assignment(&partitions).ok()?;
                Some(SyncGroupRequestAssignment { member_id, assignment })
            })
            .collect()
    }

    /// The coordinator keeps the assignment there is (KIP-814); from now on we watch the partitions (FAILURES G3).
    pub(super) fn keep(&mut self, cluster: &Cluster) {
        let (counts, complete) = self.count(cluster);
        if complete {
            self.counts = Some(counts);
        }
    }

    /// Whether the assignment no longer fits the partitions there are.
    pub(super) fn outdated_by(&mut self, cluster: &Cluster) -> bool {
        match &self.counts {
            Some(counts) => *counts != self.count(cluster).0,
            None => {
                self.keep(cluster);
                false
            }
        }
    }
}
