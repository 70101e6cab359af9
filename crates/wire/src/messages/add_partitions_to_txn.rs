//! AddPartitionsToTxn: announces that a transaction will write to partitions (KIP-98). Version 4 and later are used between
//! brokers (KIP-890).

use crate::{ErrorCode, message::message};

message! {
    0..=3, flexible 3..;

    /// The partitions that a transaction will write to.
    pub struct AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: String,
        v3_and_below_producer_id: i64,
        v3_and_below_producer_epoch: i16,
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic>,
    }

    /// One topic.
    pub struct AddPartitionsToTxnTopic {
        name: String,
        partitions: Vec<i32>,
    }

    /// The result for each partition.
    pub struct AddPartitionsToTxnResponse {
        throttle_time_ms: i32,
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>,
    }

    /// One topic.
    pub struct AddPartitionsToTxnTopicResult {
        name: String,
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
    }

    /// One partition.
    pub struct AddPartitionsToTxnPartitionResult {
        partition_index: i32,
        partition_error_code: ErrorCode,
    }
}
