//! OffsetForLeaderEpoch: where an epoch ends, and so whether the log was truncated under us (KIP-320).

use crate::{ErrorCode, message::message};

message! {
    2..=4, flexible 4..;

    /// One question per partition.
    pub struct OffsetForLeaderEpochRequest {
        /// -1: a consumer, which is our default (Kafka's is -2, a debugging one).
        replica_id: i32 [ignorable 3..] = -1,
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// One topic.
    pub struct OffsetForLeaderTopic {
        topic: String,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// One partition.
    pub struct OffsetForLeaderPartition {
        partition: i32,
        /// The leader we know of; -1: do not check.
        current_leader_epoch: i32 = -1,
        /// The epoch whose end is wanted.
        leader_epoch: i32,
    }

    /// One answer per partition.
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// One topic.
    pub struct OffsetForLeaderTopicResult {
        topic: String,
        partitions: Vec<EpochEndOffset>,
    }

    /// One partition.
    pub struct EpochEndOffset {
        error_code: ErrorCode,
        partition: i32,
        /// The largest epoch that is not above the one asked for; -1: none.
        leader_epoch: i32 = -1,
        /// -1: unknown.
        end_offset: i64 = -1,
    }
}
