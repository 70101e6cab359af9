//! Whether a second rebalance follows a cooperative one. The leader assigns a partition to nobody while another member still
//! owns it. That member revokes it and joins again, and then it is assigned.
//!
//! If a dynamic member dies before that, its session expires and the group rebalances. A static member that restarts gets its old
//! assignment without a rebalance, and does not know what it had to revoke. So a leader that has withheld a static member's
//! partition [remembers](super::leader_marker) that, and joins again itself if there was no second rebalance for as long as a
//! listener may take. It does not do so earlier: a live member joins again by itself, and a forced rebalance would make the whole
//! group wait for its listener.
//!
//! The leader knows whether a second rebalance follows, as it made the assignment. The other members learn of it with a
//! heartbeat, so they send them [more often](BURST). Otherwise, with Kafka's default interval of 3 s, nobody would own a partition
//! that moves for up to that time.

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
    /// All of them are dynamic: they join again, or their sessions expire.
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

/// Whether some partition is assigned to nobody because a member still owns it and has to revoke it first, and what kind of
/// member that is. (A custom assignor may leave partitions unassigned for good; those do not count.)
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
