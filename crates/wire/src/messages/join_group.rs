//! JoinGroup: the first half of a classic rebalance.
//!
//! Version 4 has MEMBER_ID_REQUIRED (KIP-394), 5 static membership (KIP-345), 8 the reason (KIP-800), 9 a leader that may skip
//! the assignment (KIP-814).

use bytes::Bytes;

use crate::{ErrorCode, message::message};

message! {
    0..=9, flexible 6..;

    /// Joins a group.
    pub struct JoinGroupRequest {
        group_id: String,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [ignorable 1..] = -1,
        /// Empty for a new member.
        member_id: String,
        group_instance_id: Option<String> [5..],
        /// "consumer" for consumers.
        protocol_type: String,
        /// In order of preference.
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<String> [ignorable 8..],
    }

    /// An assignor that the member supports.
    pub struct JoinGroupRequestProtocol {
        name: String,
        /// A [`ConsumerProtocolSubscription`](crate::ConsumerProtocolSubscription), for consumers.
        metadata: Bytes,
    }

    /// The new generation.
    pub struct JoinGroupResponse {
        throttle_time_ms: i32 [ignorable 2..],
        error_code: ErrorCode,
        generation_id: i32 = -1,
        protocol_type: Option<String> [ignorable 7..],
        /// The assignor chosen by the coordinator, which all members support.
        protocol_name: Option<String> [null 7..] = Some(String::new()),
        leader: String,
        skip_assignment: bool [9..],
        member_id: String,
        /// All members in the response to the leader, none in the others.
        members: Vec<JoinGroupResponseMember>,
    }

    /// The leader's information about a member.
    pub struct JoinGroupResponseMember {
        member_id: String,
        group_instance_id: Option<String> [ignorable 5..],
        metadata: Bytes,
    }
}
