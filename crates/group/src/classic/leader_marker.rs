//! A marker that a static leader appends to its own assignment. When the leader restarts, the coordinator
//! returns that assignment to it and does not ask for a new one (KIP-814); the marker records the partitions
//! for which the assignment was made. Only the leader reads it. It follows the last field, where every client
//! ignores it. User data is no place for it: that belongs to the assignor, and a coordinator that finds any
//! does not let KIP-848 members join (FAILURES F12).

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use offtake_machine::Topic;
use offtake_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::{
    PARTITIONS_CHANGED,
    follow_up::{FollowUp, WithheldFrom},
    lead::Lead,
    state::Membership,
};

/// Our marker, version 1.
const NAME: &[u8] = b"offtake\x01";
/// The name, the flag and the hash.
const LEN: usize = NAME.len() + 1 + 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaderMarker {
    /// Some partition is unassigned because a static member has to revoke it first.
    pub(super) withholds: bool,
    /// The [`topology_hash`](super::lead::Lead::topology_hash) of the partitions that the assignment was made for.
    pub(super) topology_hash: u64,
}

impl LeaderMarker {
    /// Appends the marker to the assignment of `leader`.
    pub(super) fn write(self, assignments: &mut [SyncGroupRequestAssignment], leader: &str) {
        let Some(own) = assignments.iter_mut().find(|given| given.member_id == leader) else { return };
        let mut bytes = BytesMut::from(own.assignment.as_ref());
        bytes.put_slice(NAME);
        bytes.put_u8(u8::from(self.withholds));
        bytes.put_u64(self.topology_hash);
        own.assignment = bytes.freeze();
    }

    pub(super) fn read(assignment: &Bytes) -> Option<Self> {
        let marker = assignment.get(assignment.len().checked_sub(LEN)?..)?;
        let (withholds, topology_hash) = marker.strip_prefix(NAME)?.split_first()?;
        Some(Self {
            withholds: *withholds == 1,
            topology_hash: u64::from_be_bytes(topology_hash.try_into().ok()?),
        })
    }
}

impl Membership {
    /// This member made the assignment, or its process before a restart did. Brokers before KIP-814 do not
    /// tell a static leader that it leads when it returns. No other member would watch the partitions then,
    /// so this member does, whatever the broker answers (FAILURES G3).
    pub(super) fn restore_leader_state(&mut self, marker: LeaderMarker, subscription: &BTreeSet<Topic>) {
        let predecessor = || Lead::for_restarted_static_leader(self.assignor.clone(), subscription);
        let mut lead = self.lead.take().unwrap_or_else(predecessor);
        lead.set_assigned_topology(marker.topology_hash);
        if lead.is_outdated() {
            self.rejoin_reason = Some(PARTITIONS_CHANGED);
        }
        if marker.withholds {
            self.follow_up = FollowUp::Certain(WithheldFrom::Static);
        }
        self.lead = Some(lead);
    }
}

#[cfg(test)]
mod tests {
    use offtake_machine::TopicPartition;

    use super::*;
    use crate::assignor::{decode_assignment, encode_assignment};

    #[test]
    fn f12_a_leader_marker_is_seen_by_nobody_else() {
        for user_data in [None, Some(Bytes::from_static(b"an assignor's"))] {
            let partitions = [TopicPartition::new("orders", 0), TopicPartition::new("orders", 2)];
            let plain = encode_assignment(&partitions, user_data.as_ref()).unwrap();
            let given =
                |id: &str| SyncGroupRequestAssignment { member_id: id.into(), assignment: plain.clone() };
            let mut assignments = [given("other"), given("me")];
            let marker = LeaderMarker { withholds: true, topology_hash: 0x0123_4567_89AB_CDEF };
            marker.write(&mut assignments, "me");
            let [other, me] = assignments.map(|given| given.assignment);
            assert_eq!((LeaderMarker::read(&other), other), (None, plain.clone()));
            assert_eq!(LeaderMarker::read(&me), Some(marker));
            assert_eq!(decode_assignment(me).unwrap(), decode_assignment(plain).unwrap());
        }
        assert_eq!(LeaderMarker::read(&Bytes::new()), None);
    }
}
