//! SyncGroup: the second half of a classic rebalance.

use bytes::Bytes;

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 4..;

    /// What is mine? From the leader: this is everybody's.
    pub struct SyncGroupRequest {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String> [3..],
        protocol_type: Option<String> [ignorable 5..],
        protocol_name: Option<String> [ignorable 5..],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// What the leader gives to one member.
    pub struct SyncGroupRequestAssignment {
        member_id: String,
        assignment: Bytes,
    }

    /// What one member has been given.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode,
        protocol_type: Option<String> [ignorable 5..],
        protocol_name: Option<String> [ignorable 5..],
        /// A [`ConsumerProtocolAssignment`](crate::ConsumerProtocolAssignment), for consumers; empty with an
        /// error.
        assignment: Bytes,
    }
}
