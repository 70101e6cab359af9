//! ListOffsets: the first and last offsets of partitions, and the first at or after a time.

use crate::{ErrorCode, message::message};

message! {
    1..=11, flexible 6..;

    /// One lookup per partition.
    pub struct ListOffsetsRequest {
        /// -1: a consumer, the default here.
        replica_id: i32 = -1,
        /// 0: read uncommitted, 1: read committed (latest is then the last stable offset).
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic>,
        /// The timeout for offsets that the broker has to look up in remote storage.
        timeout_ms: i32 [ignorable 10..],
    }

    /// One topic.
    pub struct ListOffsetsTopic {
        name: String,
        partitions: Vec<ListOffsetsPartition>,
    }

    /// One partition.
    pub struct ListOffsetsPartition {
        partition_index: i32,
        /// -1: unknown, do not check.
        current_leader_epoch: i32 [ignorable 4..] = -1,
        /// Milliseconds, or a special value: -1 latest, -2 earliest, -3 the record with the greatest timestamp (version 7), -4
        /// earliest on the broker's disk (8), -5 latest in remote storage (9), -6 earliest not yet in it (11).
        timestamp: i64,
    }

    /// One result per partition.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32 [ignorable 2..],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// One topic.
    pub struct ListOffsetsTopicResponse {
        name: String,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// One partition.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        /// The timestamp of the record found; -1: none.
        timestamp: i64 = -1,
        /// -1: none.
        offset: i64 = -1,
        /// -1: unknown.
        leader_epoch: i32 [4..] = -1,
    }
}
