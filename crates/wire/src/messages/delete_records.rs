//! DeleteRecords: the beginning of a log goes, up to an offset (KIP-107).

use crate::{ErrorCode, message::message};

message! {
    0..=2, flexible 2..;

    /// To the leaders of the partitions.
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    /// A topic.
    pub struct DeleteRecordsTopic {
        name: String,
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// One partition: what lies before the offset goes, and everything if that is -1.
    pub struct DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }

    /// Topic by topic.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// A topic.
    pub struct DeleteRecordsTopicResult {
        name: String,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// One partition, and where its log begins now.
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: ErrorCode,
    }
}
