//! FindCoordinator: finds the coordinator of a group or of a transactional id.

use crate::{ErrorCode, message::message};

message! {
    0..=6, flexible 3..;

    /// One key up to version 3, many keys from version 4 on (KIP-699).
    pub struct FindCoordinatorRequest {
        key: String [or coordinator_keys ..=3],
        /// 0: group, 1: transaction, 2: share group.
        key_type: i8 [1..],
        coordinator_keys: Vec<String> [or key 4..],
    }

    /// One result for each key.
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode [..=3],
        error_message: Option<String> [ignorable 1..=3],
        node_id: i32 [..=3],
        host: String [..=3],
        port: i32 [..=3],
        coordinators: Vec<Coordinator> [4..],
    }

    /// The coordinator of one key.
    pub struct Coordinator {
        key: String,
        node_id: i32,
        host: String,
        port: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
    }
}
