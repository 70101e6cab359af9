//! InitProducerId: obtains a producer id for idempotent and transactional producers (KIP-98, KIP-360, KIP-939).

use crate::{ErrorCode, message::message};

message! {
    0..=6, flexible 2..;

    /// Requests a new producer id, or the next epoch of one.
    pub struct InitProducerIdRequest {
        transactional_id: Option<String>,
        transaction_timeout_ms: i32,
        /// -1: a new producer id.
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
        enable2_pc: bool [6..],
        keep_prepared_txn: bool [6..],
    }

    /// The producer id and epoch.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64 = -1,
        producer_epoch: i16,
        /// -1: no transaction is open.
        ongoing_txn_producer_id: i64 [6..] = -1,
        ongoing_txn_producer_epoch: i16 [6..] = -1,
    }
}
