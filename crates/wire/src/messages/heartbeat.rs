//! Heartbeat of the classic protocol.

use crate::{ErrorCode, message::message};

message! {
    0..=4, flexible 4..;

    /// Tells the coordinator that the member is alive. The response tells the member whether to rejoin.
    pub struct HeartbeatRequest {
        group_id: String,
        generation_id: i32,
        member_id: String,
        group_instance_id: Option<String> [3..],
    }

    /// The error code is usually none, or REBALANCE_IN_PROGRESS.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32 [ignorable 1..],
        error_code: ErrorCode,
    }
}
