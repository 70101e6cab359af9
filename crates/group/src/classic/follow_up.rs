//! Whether a second rebalance follows a cooperative one. The leader leaves a partition unassigned while
//! another member still owns it. That member revokes it and rejoins, and then it is assigned.
//!
//! If a dynamic member dies before that, its session expires and the group rebalances. A static member that
//! restarts gets its old assignment without a rebalance, and does not know what it had to revoke. So a leader
//! that has withheld a static member's partition [remembers](super::leader_marker) that, and rejoins by
//! itself if there was no second rebalance for as long as a listener may take. It does not do so earlier: a
//! live member rejoins by itself, and a forced rebalance would make the whole group wait for its listener.
//!
//! The leader knows whether a second rebalance follows, as it made the assignment. The other members learn of
//! it with a heartbeat, so they send them [more often](BURST). Otherwise, with Kafka's default interval of 3
//! s, a partition that moves would have no owner for up to that time.

use std::{collections::BTreeSet, time::Duration};

use offtake_machine::{Cluster, TopicPartition};
use offtake_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::lead::Lead;
use crate::{
    assignor::{RebalanceProtocol, Strategy, decode_assignment},
    pacer::HeartbeatBurst,
};

/// Covers the time in which listeners usually end: heartbeats 100, 250, 475, 812, 1 318 and 2 078 ms after the SyncGroup. That
/// adds at most six heartbeats per member and cooperative generation, and none for a leader that has withheld nothing.
pub(super) const BURST: HeartbeatBurst = HeartbeatBurst {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    lasts: Duration::from_secs(2),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FollowUp {
    None,
    /// A follower does not know what others have to revoke.
    Possible,
    /// This member is the leader and has withheld partitions.
    Certain(WithheldFrom),
}

/// The kind of members that have to revoke partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum WithheldFrom {
    /// All of them are dynamic: they rejoin, or their sessions expire.
    Dynamic,
    /// Some of them are static.
    Static,
}

impl FollowUp {
    pub(super) fn of_follower(assignor: &Strategy) -> Self {
        match assignor.protocol() {
            RebalanceProtocol::Eager => Self::None,
            RebalanceProtocol::Cooperative => Self::Possible,
        }
    }
}

/// Whether some partition is unassigned because a member still owns it and has to revoke it first, and what
/// kind of member that is. (A custom assignor may leave partitions unassigned for good; those do not count.)
pub(super) fn withheld(
    lead: &Lead,
    cluster: &Cluster,
    assigned: &[SyncGroupRequestAssignment],
) -> Option<WithheldFrom> {
    let read = |given: &SyncGroupRequestAssignment| decode_assignment(given.assignment.clone()).ok();
    let given: BTreeSet<TopicPartition> =
        assigned.iter().filter_map(read).flat_map(|assignment| assignment.partitions).collect();
    let exists = |claimed: &TopicPartition| {
        let topic = cluster.topics.get(&claimed.topic).filter(|info| info.error.is_ok());
        topic.is_some_and(|info| info.partitions.contains_key(&claimed.partition))
    };
    let withheld = lead.claims().filter(|(claimed, _)| !given.contains(claimed) && exists(claimed));
    withheld.map(|(_, from)| from).max()
}

#[cfg(test)]
mod tests {
    use offtake_machine::{PartitionInfo, TopicInfo};
    use offtake_wire::{
        ConsumerProtocolSubscription, ErrorCode, TopicPartition as OfTopic, Uuid,
        messages::join_group::JoinGroupResponseMember,
    };

    use super::*;
    use crate::assignor::{BuiltIn, encode_assignment};

    fn cluster(partitions: i32) -> Cluster {
        let info = PartitionInfo::new(None, None);
        let partitions = (0..partitions).map(|index| (index, info.clone())).collect();
        let topic = TopicInfo { id: Uuid::ZERO, error: ErrorCode::None, internal: false, partitions };
        Cluster { topics: [("t".into(), topic)].into(), ..Cluster::default() }
    }

    /// A dynamic member that claims partition 0, and a static one that claims partitions 1 and 2.
    fn lead() -> Lead {
        let member = |id: &str, instance_id: Option<&str>, partitions: Vec<i32>| {
            let owned = OfTopic { topic: "t".into(), partitions };
            let subscription = ConsumerProtocolSubscription {
                topics: vec!["t".into()],
                owned_partitions: vec![owned],
                generation_id: 1,
                ..Default::default()
            };
            JoinGroupResponseMember {
                member_id: id.to_owned(),
                group_instance_id: instance_id.map(str::to_owned),
                metadata: subscription.encode_versioned(3).unwrap(),
            }
        };
        let members = vec![member("m0", None, vec![0]), member("m1", Some("i1"), vec![1, 2])];
        Lead::new(BuiltIn::CooperativeSticky.into(), members)
    }

    #[test]
    fn a_claimed_partition_that_nobody_is_given_is_withheld_from_its_owner() {
        let given = |partitions: &[i32]| {
            let partitions: Vec<_> =
                partitions.iter().map(|index| TopicPartition::new("t", *index)).collect();
            let assignment = encode_assignment(&partitions, None).unwrap();
            vec![SyncGroupRequestAssignment { member_id: "m2".to_owned(), assignment }]
        };
        let withheld = |partitions: &[i32], exist| withheld(&lead(), &cluster(exist), &given(partitions));
        assert_eq!(withheld(&[0, 1, 2], 3), None);
        assert_eq!(withheld(&[1, 2], 3), Some(WithheldFrom::Dynamic));
        assert_eq!(withheld(&[0, 2], 3), Some(WithheldFrom::Static));
        assert_eq!(withheld(&[], 3), Some(WithheldFrom::Static), "of one of them");
        assert_eq!(withheld(&[0, 1], 2), None, "partition 2 is gone");
    }
}
