//! EndTxn: commits or aborts a transaction (KIP-98). From version 5 on, each transaction has its own epoch, and the response
//! contains that of the next one (KIP-890).

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 3..;

    /// The requested end of a transaction.
    pub struct EndTxnRequest {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        committed: bool,
    }

    /// Whether the transaction ended so.
    pub struct EndTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        /// The producer for the next transaction; -1: unchanged.
        producer_id: i64 [ignorable 5..] = -1,
        producer_epoch: i16 [ignorable 5..] = -1,
    }
}
