//! Whether a cooperative generation is followed by another at once: the leader gives nobody a partition that somebody
//! else still holds, and the member that has revoked it joins again, so that it can be given.
//!
//! The coordinator notices a dynamic member that dies before that, and lets the group rebalance. A static member comes
//! back to the assignment it had, without a rebalance, and knows nothing of what it was to revoke. So a leader that has
//! withheld a static member's partition [remembers](super::leader_marker) it, and joins again itself when there was no second
//! rebalance for as long as a listener may take. A live member joins again by itself, so nothing is forced before that: a
//! rebalance would park the whole group behind its listener.
//!
//! The leader knows of that for certain, as it made the assignment; a member that revokes joins again by itself. The
//! others can only ask, so they beat [quickly](BURST): with Kafka's default interval of 3 s a partition that moves would
//! else be nobody's for up to as long.

use std::{collections::BTreeSet, time::Duration};

use offtake_machine::{Cluster, TopicPartition};
use offtake_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::lead::Lead;
use crate::{
    assignor::{RebalanceProtocol, Strategy, decode_assignment},
    pacer::HeartbeatBurst,
};

/// For the while in which listeners usually end: heartbeats 100, 250, 475, 812, 1 318 and 2 078 ms after the SyncGroup.
/// That costs the coordinator six heartbeats per member and cooperative generation at the most; none of a leader that has
/// withheld nothing.
pub(super) const BURST: HeartbeatBurst = HeartbeatBurst {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    lasts: Duration::from_secs(2),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FollowUp {
    None,
    /// A follower is not told what others have to let go.
    Possible,
    /// As leader, we have withheld partitions.
    Certain(WithheldFrom),
}

/// Members that have to revoke what is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum WithheldFrom {
    /// All of them are dynamic: they join again, or the coordinator misses them.
    Dynamic,
    /// Some are static.
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

/// Whether some partition is given to nobody because a member still claims it and has to revoke it first, and what kind of
/// member. (An assignor of the application's own may leave partitions out for good; nobody waits for those.)
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
