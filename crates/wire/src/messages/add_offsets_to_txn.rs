//! AddOffsetsToTxn: announces that a transaction will commit offsets of a group (KIP-98). With KIP-890, TxnOffsetCommit does this
//! itself.

use crate::{ErrorCode, message::message};

message! {
    0..=4, flexible 3..;

    /// The group whose offsets a transaction will commit.
    pub struct AddOffsetsToTxnRequest {
        transactional_id: String,
        producer_id: i64,
        producer_epoch: i16,
        group_id: String,
    }

    /// Whether the transaction may commit them.
    pub struct AddOffsetsToTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
    }
}
