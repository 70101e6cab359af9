//! ListGroups: the groups that one broker coordinates. Version 4 has states (KIP-518), 5 types (KIP-848).

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 3..;

    /// The filters. An empty filter matches everything.
    pub struct ListGroupsRequest {
        states_filter: Vec<String> [4..],
        types_filter: Vec<String> [5..],
    }

    /// The groups.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode,
        groups: Vec<ListedGroup>,
    }

    /// One group.
    pub struct ListedGroup {
        group_id: String,
        protocol_type: String,
        group_state: String [ignorable 4..],
        group_type: String [ignorable 5..],
    }
}
