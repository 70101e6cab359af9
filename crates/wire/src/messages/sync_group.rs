//! SyncGroup: the second half of a classic rebalance.

use bytes::Bytes;

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 4..;

    /// Requests the member's assignment. The leader's request contains the assignments of all members.
    pub struct SyncGroupRequest {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String> [3..],
        protocol_type: Option<String> [ignorable 5..],
        protocol_name: Option<String> [ignorable 5..],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// The leader's assignment for one member.
    pub struct SyncGroupRequestAssignment {
        member_id: String,
        assignment: Bytes,
    }

    /// The assignment of the member.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode,
        protocol_type: Option<String> [ignorable 5..],
        protocol_name: Option<String> [ignorable 5..],
        /// A [`ConsumerProtocolAssignment`](crate::ConsumerProtocolAssignment), for consumers; empty with an error.
        assignment: Bytes,
    }
}
