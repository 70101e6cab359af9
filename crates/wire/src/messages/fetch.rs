//! Fetch. Version 7 has sessions (KIP-227), 9 leader epochs (KIP-320), 11 racks and preferred replicas
//! (KIP-392), 12 truncation detected on the way (KIP-595), 13 topic ids (KIP-516), 16 leader hints (KIP-951).
//! Some fields are there for followers alone.

use bytes::Bytes;

use crate::{ErrorCode, Uuid, message::message};

message! {
    4..=18, flexible 12..;

    /// What to send: everything in the first request of a session, then only what has changed.
    pub struct FetchRequest {
        cluster_id: Option<String> [ignorable 12.., tag 0],
        /// -1: a consumer.
        replica_id: i32 [..=14] = -1,
        /// Absent: a consumer.
        replica_state: Option<ReplicaState> [15.., tag 1],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        /// 0: read uncommitted, 1: read committed.
        isolation_level: i8,
        /// 0: none yet.
        session_id: i32 [ignorable 7..],
        /// 0 opens a session, -1 does without one.
        session_epoch: i32 [ignorable 7..] = -1,
        topics: Vec<FetchTopic>,
        /// What to take out of the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: String [ignorable 11..],
    }

    /// A follower's identity.
    pub struct ReplicaState {
        replica_id: i32 = -1,
        replica_epoch: i64 = -1,
    }

    /// One topic, by name or from version 13 on by id.
    pub struct FetchTopic {
        topic: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partitions: Vec<FetchPartition>,
    }

    /// One partition.
    pub struct FetchPartition {
        partition: i32,
        /// The leader we know of; -1: do not check.
        current_leader_epoch: i32 [ignorable 9..] = -1,
        fetch_offset: i64,
        /// Of the last record read; -1: unknown. Before version 12 a broker does not look for truncation on the way.
        last_fetched_epoch: i32 [optional 12..] = -1,
        /// A follower's; -1 from consumers.
        log_start_offset: i64 [ignorable 5..] = -1,
        partition_max_bytes: i32,
        replica_directory_id: Uuid [ignorable 17.., tag 0],
        /// A follower's; the greatest number: unknown.
        high_watermark: i64 [ignorable 18.., tag 1] = i64::MAX,
    }

    /// Partitions that leave the session.
    pub struct ForgottenTopic {
        topic: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partitions: Vec<i32>,
    }

    /// Records; in a session only of partitions that have some, or some news.
    pub struct FetchResponse {
        throttle_time_ms: i32,
        /// What is wrong with the session.
        error_code: ErrorCode [ignorable 7..],
        session_id: i32 [7..],
        responses: Vec<FetchableTopicResponse>,
        /// Where the leaders named in [`PartitionData::current_leader`] are.
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// One topic, by name or from version 13 on by id.
    pub struct FetchableTopicResponse {
        topic: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partitions: Vec<PartitionData>,
    }

    /// One partition.
    pub struct PartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        /// -1: unknown.
        last_stable_offset: i64 = -1,
        /// -1: unknown.
        log_start_offset: i64 [ignorable 5..] = -1,
        /// Present with records; our log has diverged, and this is where it last agreed.
        diverging_epoch: Option<EpochEndOffset> [12.., tag 0],
        current_leader: Option<LeaderIdAndEpoch> [12.., tag 1],
        snapshot_id: Option<SnapshotId> [12.., tag 2],
        /// Null when reading uncommitted.
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        /// -1: the leader.
        preferred_read_replica: i32 [11..] = -1,
        /// Record batches end to end, the last one possibly cut short.
        records: Option<Bytes>,
    }

    /// The largest epoch of the leader that is not above ours, and where it ends.
    pub struct EpochEndOffset {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    /// Who leads now (KIP-951).
    pub struct LeaderIdAndEpoch {
        /// -1: unknown.
        leader_id: i32 = -1,
        /// -1: unknown.
        leader_epoch: i32 = -1,
    }

    /// What a follower should fetch instead.
    pub struct SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }

    /// Its records from this offset on, up to the abort marker, are not to be seen.
    pub struct AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }

    /// Where a broker is (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
}
