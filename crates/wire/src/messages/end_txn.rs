//! EndTxn: a transaction is committed or aborted (KIP-98). From version 5 on each transaction has an epoch of its own, and the answer has
//! that of the next one (KIP-890).

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 3..;

    /// How a transaction ends.
    pub struct EndTxnRequest {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        committed: bool,
    }

    /// Whether it does.
    pub struct EndTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        /// For the next transaction; -1: the same.
        producer_id: i64 [ignorable 5..] = -1,
        producer_epoch: i16 [ignorable 5..] = -1,
    }
}
