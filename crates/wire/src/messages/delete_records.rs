//! DeleteRecords: deletes the beginning of a log, up to an offset (KIP-107).

use crate::{ErrorCode, message::message};

message! {
    0..=2, flexible 2..;

    /// A request for the leaders of the partitions.
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    /// A topic.
    pub struct DeleteRecordsTopic {
        name: String,
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// One partition: records before the offset are deleted, and all records if it is -1.
    pub struct DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }

    /// The result for each topic.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// A topic.
    pub struct DeleteRecordsTopicResult {
        name: String,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// One partition, and its new log start offset.
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: ErrorCode,
    }
}
