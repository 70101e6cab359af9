//! DeleteGroups: groups without members, with all that they have committed (KIP-229).

use crate::{ErrorCode, message::message};

message! {
    0..=2, flexible 2..;

    /// Groups that the broker coordinates, each for itself.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<String>,
    }

    /// Group by group.
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
