//! OffsetCommit. Version 6 carries leader epochs (KIP-320), 7 the instance id, 9 a member epoch (KIP-848), 10
//! topic ids.

use crate::{ErrorCode, Uuid, message::message};

message! {
    2..=10, flexible 8..;

    /// How far a group has come.
    pub struct OffsetCommitRequest {
        group_id: String,
        /// The generation in the classic protocol, the epoch in KIP-848; -1 from outside the group.
        generation_id_or_member_epoch: i32 = -1,
        member_id: String,
        group_instance_id: Option<String> [7..],
        /// -1: as long as the broker likes.
        retention_time_ms: i64 [ignorable ..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// One topic, by name or from version 10 on by id.
    pub struct OffsetCommitRequestTopic {
        name: String [ignorable ..=9],
        topic_id: Uuid [ignorable 10..],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// One partition.
    pub struct OffsetCommitRequestPartition {
        partition_index: i32,
        /// The next one to read.
        committed_offset: i64,
        /// Of the last record read; -1: unknown.
        committed_leader_epoch: i32 [ignorable 6..] = -1,
        committed_metadata: Option<String>,
    }

    /// Partition by partition.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32 [ignorable 3..],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// One topic, by name or from version 10 on by id.
    pub struct OffsetCommitResponseTopic {
        name: String [ignorable ..=9],
        topic_id: Uuid [ignorable 10..],
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// One partition.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
