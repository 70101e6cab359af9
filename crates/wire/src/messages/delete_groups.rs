//! DeleteGroups: deletes groups without members, with all of their committed offsets (KIP-229).

use crate::{ErrorCode, message::message};

message! {
    0..=2, flexible 2..;

    /// Groups that the broker coordinates, each independent of the others.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<String>,
    }

    /// The result for each group.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    /// One group.
    pub struct DeletableGroupResult {
        group_id: String,
        error_code: ErrorCode,
    }
}
