//! OffsetForLeaderEpoch: the end offset of an epoch, which shows whether the log was truncated below a client's position
//! (KIP-320).

use crate::{ErrorCode, message::message};

message! {
    2..=4, flexible 4..;

    /// One lookup per partition.
    pub struct OffsetForLeaderEpochRequest {
        /// -1: a consumer, the default here (Kafka's is -2, a debugging consumer).
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
        /// The known leader epoch; -1: do not check.
        current_leader_epoch: i32 = -1,
        /// The epoch whose end is requested.
        leader_epoch: i32,
    }

    /// One result per partition.
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
        /// The largest epoch not above the requested one; -1: none.
        leader_epoch: i32 = -1,
        /// -1: unknown.
        end_offset: i64 = -1,
    }
}
