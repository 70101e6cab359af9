//! TxnOffsetCommit: commits a group's offsets with a transaction (KIP-98). Version 2 has leader epochs (KIP-320), 3 the identity
//! of the member (KIP-447); 5 adds the offsets to the transaction by itself (KIP-890).

use crate::{ErrorCode, message::message};

message! {
    0..=5, flexible 3..;

    /// The offsets of a group to commit.
    pub struct TxnOffsetCommitRequest {
        transactional_id: String,
        group_id: String,
        producer_id: i64,
        producer_epoch: i16,
        /// The generation in the classic protocol, the epoch in KIP-848; -1 from outside the group.
        generation_id: i32 [3..] = -1,
        member_id: String [3..],
        group_instance_id: Option<String> [3..],
        topics: Vec<TxnOffsetCommitRequestTopic>,
    }

    /// One topic.
    pub struct TxnOffsetCommitRequestTopic {
        name: String,
        partitions: Vec<TxnOffsetCommitRequestPartition>,
    }

    /// One partition.
    pub struct TxnOffsetCommitRequestPartition {
        partition_index: i32,
        /// The next offset to consume.
        committed_offset: i64,
        /// The epoch of the last record consumed; -1: unknown.
        committed_leader_epoch: i32 [ignorable 2..] = -1,
        committed_metadata: Option<String>,
    }

    /// The result for each partition.
    pub struct TxnOffsetCommitResponse {
        throttle_time_ms: i32,
        topics: Vec<TxnOffsetCommitResponseTopic>,
    }

    /// One topic.
    pub struct TxnOffsetCommitResponseTopic {
        name: String,
        partitions: Vec<TxnOffsetCommitResponsePartition>,
    }

    /// One partition.
    pub struct TxnOffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
