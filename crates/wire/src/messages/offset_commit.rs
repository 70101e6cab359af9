//! OffsetCommit. Version 6 has leader epochs (KIP-320), 7 the instance id, 9 member epochs (KIP-848), 10 topic ids.

use crate::{ErrorCode, Uuid, message::message};

message! {
    2..=10, flexible 8..;

    /// The offsets of a group to commit.
    pub struct OffsetCommitRequest {
        group_id: String,
        /// The generation in the classic protocol, the epoch in KIP-848; -1 from outside the group.
        generation_id_or_member_epoch: i32 = -1,
        member_id: String,
        group_instance_id: Option<String> [7..],
        /// -1: the broker's retention applies.
        retention_time_ms: i64 [ignorable ..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// One topic, by name, or by id from version 10 on.
    pub struct OffsetCommitRequestTopic {
        name: String [ignorable ..=9],
        topic_id: Uuid [ignorable 10..],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// One partition.
    pub struct OffsetCommitRequestPartition {
        partition_index: i32,
        /// The next offset to consume.
        committed_offset: i64,
        /// The epoch of the last record consumed; -1: unknown.
        committed_leader_epoch: i32 [ignorable 6..] = -1,
        committed_metadata: Option<String>,
    }

    /// The result for each partition.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32 [ignorable 3..],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// One topic, by name, or by id from version 10 on.
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
