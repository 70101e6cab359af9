//! What a static leader writes into its own assignment, for itself: when it restarts, the coordinator gives it that
//! assignment back and asks for no other (KIP-814), and nothing else tells what it was made for. Nobody but the leader
//! reads it, and brokers do not look into assignments.

use bytes::{BufMut, Bytes, BytesMut};
use offtake_wire::{ConsumerProtocolAssignment, messages::sync_group::SyncGroupRequestAssignment};

/// Ours, in its first form.
const NAME: &[u8] = b"offtake\x01";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Some partition is given to nobody because its owner has to let it go first.
    pub(super) withholds: bool,
    /// Of the partitions that the assignment was made for ([`Lead::print`](super::lead::Lead::print)).
    pub(super) print: u64,
}

impl Stamp {
    /// Into the assignment of `leader`, unless its assignor has something to say there itself.
    pub(super) fn write(self, assignments: &mut [SyncGroupRequestAssignment], leader: &str) {
        let Some(own) = assignments.iter_mut().find(|given| given.member_id == leader) else { return };
        let Ok(mut assignment) = ConsumerProtocolAssignment::decode_versioned(own.assignment.clone()) else {
            return;
        };
        if assignment.user_data.is_some() {
            return;
        }
        let mut bytes = BytesMut::from(NAME);
        bytes.put_u8(u8::from(self.withholds));
        bytes.put_u64(self.print);
        assignment.user_data = Some(bytes.freeze());
        if let Ok(bytes) = assignment.encode_versioned(0) {
            own.assignment = bytes;
        }
    }

    pub(super) fn read(assignment: &Bytes) -> Option<Self> {
        let assignment = ConsumerProtocolAssignment::decode_versioned(assignment.clone()).ok()?;
        let user_data = assignment.user_data?;
        let (withholds, print) = user_data.strip_prefix(NAME)?.split_first()?;
        Some(Self { withholds: *withholds == 1, print: u64::from_be_bytes(print.try_into().ok()?) })
    }
}
