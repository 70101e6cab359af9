//! LeaveGroup: removes the caller from a group; from version 3 on also others (KIP-345).

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 4..;

    /// Removes members.
    pub struct LeaveGroupRequest {
        group_id: String,
        member_id: String [or members ..=2],
        members: Vec<MemberIdentity> [or member_id 3..],
    }

    /// A member to remove.
    pub struct MemberIdentity {
        member_id: String,
        group_instance_id: Option<String>,
        reason: Option<String> [ignorable 5..],
    }

    /// The result for each member.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode,
        members: Vec<MemberResponse> [3..],
    }

    /// The result for a member.
    pub struct MemberResponse {
        member_id: String,
        group_instance_id: Option<String>,
        error_code: ErrorCode,
    }
}
