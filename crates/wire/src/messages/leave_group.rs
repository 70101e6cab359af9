//! LeaveGroup: of oneself, or from version 3 on of others too (KIP-345).

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 4..;

    /// Count them out.
    pub struct LeaveGroupRequest {
        group_id: String,
        member_id: String [or members ..=2],
        members: Vec<MemberIdentity> [or member_id 3..],
    }

    /// One that leaves.
    pub struct MemberIdentity {
        member_id: String,
        group_instance_id: Option<String>,
        reason: Option<String> [ignorable 5..],
    }

    /// Who has left.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode,
        members: Vec<MemberResponse> [3..],
    }

    /// One that has left, or the reason why not.
    pub struct MemberResponse {
        member_id: String,
        group_instance_id: Option<String>,
        error_code: ErrorCode,
    }
}
