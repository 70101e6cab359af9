//! OffsetFetch: a group's committed offsets. Version 7 waits for open transactions (KIP-447), 8 has many groups in one request
//! (KIP-709), 9 has member epochs (KIP-848), 10 topic ids.

use crate::{ErrorCode, Uuid, message::message};

message! {
    1..=10, flexible 6..;

    /// One group up to version 7, many groups from version 8 on.
    pub struct OffsetFetchRequest {
        group_id: String [or groups ..=7],
        /// Null: all offsets of the group.
        topics: Option<Vec<OffsetFetchRequestTopic>> [or groups ..=7, null 2..] = Some(Vec::new()),
        groups: Vec<OffsetFetchRequestGroup> [or group_id 8..],
        require_stable: bool [optional 7..],
    }

    /// One topic, up to version 7.
    pub struct OffsetFetchRequestTopic {
        name: String,
        partition_indexes: Vec<i32>,
    }

    /// One group, from version 8 on.
    pub struct OffsetFetchRequestGroup {
        group_id: String,
        member_id: Option<String> [ignorable 9..],
        member_epoch: i32 [ignorable 9..] = -1,
        /// Null: all offsets of the group.
        topics: Option<Vec<OffsetFetchRequestTopics>> = Some(Vec::new()),
    }

    /// One topic, by name, or by id from version 10 on.
    pub struct OffsetFetchRequestTopics {
        name: String [ignorable ..=9],
        topic_id: Uuid [ignorable 10..],
        partition_indexes: Vec<i32>,
    }

    /// One group up to version 7, many groups from version 8 on.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32 [ignorable 3..],
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        error_code: ErrorCode [ignorable 2..=7],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// One topic, up to version 7.
    pub struct OffsetFetchResponseTopic {
        name: String,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// One partition, up to version 7.
    pub struct OffsetFetchResponsePartition {
        partition_index: i32,
        /// -1: nothing committed.
        committed_offset: i64,
        /// -1: unknown.
        committed_leader_epoch: i32 [ignorable 5..] = -1,
        metadata: Option<String>,
        error_code: ErrorCode,
    }

    /// One group, from version 8 on.
    pub struct OffsetFetchResponseGroup {
        group_id: String,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }

    /// One topic, by name, or by id from version 10 on.
    pub struct OffsetFetchResponseTopics {
        name: String [ignorable ..=9],
        topic_id: Uuid [ignorable 10..],
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// One partition, from version 8 on.
    pub struct OffsetFetchResponsePartitions {
        partition_index: i32,
        /// -1: nothing committed.
        committed_offset: i64,
        /// -1: unknown.
        committed_leader_epoch: i32 = -1,
        metadata: Option<String>,
        error_code: ErrorCode,
    }
}
