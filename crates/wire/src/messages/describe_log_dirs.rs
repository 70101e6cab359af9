//! DescribeLogDirs: the sizes of a broker's replicas (KIP-113; disk space: KIP-827).

use crate::{ErrorCode, message::message};

message! {
    1..=5, flexible 2..;

    /// A request for any broker, about its own replicas.
    pub struct DescribeLogDirsRequest {
        /// Null: all of them.
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    /// A topic.
    pub struct DescribableLogDirTopic {
        topic: String,
        partitions: Vec<i32>,
    }

    /// The result for each directory. A partition without a replica on the broker is in none.
    pub struct DescribeLogDirsResponse {
        throttle_time_ms: i32,
        /// Before version 3, a refusal is an empty list of directories.
        error_code: ErrorCode [ignorable 3..],
        results: Vec<DescribeLogDirsResult>,
    }

    /// One directory.
    pub struct DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: String,
        topics: Vec<DescribeLogDirsTopic>,
        /// The size of the disk; -1 if unknown.
        total_bytes: i64 [ignorable 4..] = -1,
        usable_bytes: i64 [ignorable 4..] = -1,
        /// Whether it accepts no new replicas (KIP-1066).
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
        /// The size of its segments, without their indexes.
        partition_size: i64,
        /// Its lag: behind the high watermark for a current replica, behind the current replica for a future one.
        offset_lag: i64,
        /// Whether it is a future replica, which will replace the current one (KIP-113).
        is_future_key: bool,
    }
}
