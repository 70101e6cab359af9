//! DescribeGroups: classic groups and their members.

use bytes::Bytes;

use crate::{ErrorCode, message::message};

message! {
    0..=6, flexible 5..;

    /// Groups that the broker coordinates.
    pub struct DescribeGroupsRequest {
        groups: Vec<String>,
        include_authorized_operations: bool [3..],
    }

    /// The result for each group.
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32 [ignorable 1..],
        groups: Vec<DescribedGroup>,
    }

    /// One group.
    pub struct DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<String> [6..],
        group_id: String,
        group_state: String,
        protocol_type: String,
        /// The assignor.
        protocol_data: String,
        members: Vec<DescribedGroupMember>,
        /// i32::MIN: not requested.
        authorized_operations: i32 [3..] = i32::MIN,
    }

    /// One member.
    pub struct DescribedGroupMember {
        member_id: String,
        group_instance_id: Option<String> [ignorable 4..],
        client_id: String,
        client_host: String,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}
