//! AddOffsetsToTxn: a transaction is about to commit offsets of this group (KIP-98). With KIP-890 TxnOffsetCommit says so itself.

use crate::{ErrorCode, message::message};

message! {
    0..=4, flexible 3..;

    /// The group whose offsets a transaction is about to commit.
    pub struct AddOffsetsToTxnRequest {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        group_id: String,
    }

    /// Whether it may.
    pub struct AddOffsetsToTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
    }
}
