//! DescribeLogDirs: how large the replicas of a broker are (KIP-113; space of disks: KIP-827).

use crate::{ErrorCode, message::message};

message! {
    1..=5, flexible 2..;

    /// To any broker, about its own replicas.
    pub struct DescribeLogDirsRequest {
        /// Null: all of them.
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    /// A topic.
    pub struct DescribableLogDirTopic {
        topic: String,
        partitions: Vec<i32>,
    }

    /// By directory. A partition that the broker has no replica of is in none.
    pub struct DescribeLogDirsResponse {
        throttle_time_ms: i32,
        /// Before version 3 a refusal is an empty list of directories.
        error_code: ErrorCode [ignorable 3..],
        results: Vec<DescribeLogDirsResult>,
    }

    /// One directory.
    pub struct DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: String,
        topics: Vec<DescribeLogDirsTopic>,
        /// Of the disk; -1 if it is not known.
        total_bytes: i64 [ignorable 4..] = -1,
        usable_bytes: i64 [ignorable 4..] = -1,
        /// Whether it takes no new replicas (KIP-1066).
        is_cordoned: bool [ignorable 5..],
    }

    /// A topic.
    pub struct DescribeLogDirsTopic {
        name: String,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// One replica.
    pub struct DescribeLogDirsPartition {
        partition_index: i32,
        /// Of its segments, without their indexes.
        partition_size: i64,
        /// How far it is behind: the high watermark for a replica in use, the current replica for a future one.
        offset_lag: i64,
        /// Whether it is being made, to take the place of the one in use (KIP-113).
        is_future_key: bool,
    }
}
