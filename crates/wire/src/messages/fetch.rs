//! Fetch. Version 7 has sessions (KIP-227), 9 leader epochs (KIP-320), 11 racks and preferred replicas (KIP-392), 12 detects
//! truncation while fetching (KIP-595), 13 has topic ids (KIP-516), 16 leader hints (KIP-951). Some fields are used only by
//! followers.

use bytes::Bytes;

use crate::{ErrorCode, Uuid, message::message};

message! {
    4..=18, flexible 12..;

    /// The partitions to fetch: all of them in the first request of a session, then only changes.
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
        /// Partitions to remove from the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: String [ignorable 11..],
    }

    /// A follower's identity.
    pub struct ReplicaState {
        replica_id: i32 = -1,
        replica_epoch: i64 = -1,
    }

    /// One topic, by name, or by id from version 13 on.
    pub struct FetchTopic {
        topic: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partitions: Vec<FetchPartition>,
    }

    /// One partition.
    pub struct FetchPartition {
        partition: i32,
        /// The known leader epoch; -1: do not check.
        current_leader_epoch: i32 [ignorable 9..] = -1,
        fetch_offset: i64,
        /// The epoch of the last record read; -1: unknown. Before version 12, a broker does not detect truncation while fetching.
        last_fetched_epoch: i32 [optional 12..] = -1,
        /// Used by followers; -1 from consumers.
        log_start_offset: i64 [ignorable 5..] = -1,
        partition_max_bytes: i32,
        replica_directory_id: Uuid [ignorable 17.., tag 0],
        /// Used by followers; the greatest number: unknown.
        high_watermark: i64 [ignorable 18.., tag 1] = i64::MAX,
    }

    /// Partitions to remove from the session.
    pub struct ForgottenTopic {
        topic: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partitions: Vec<i32>,
    }

    /// The fetched records; in a session only partitions with records or changes.
    pub struct FetchResponse {
        throttle_time_ms: i32,
        /// The error of the session.
        error_code: ErrorCode [ignorable 7..],
        session_id: i32 [7..],
        responses: Vec<FetchableTopicResponse>,
        /// The addresses of the leaders named in [`PartitionData::current_leader`].
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// One topic, by name, or by id from version 13 on.
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
        /// Set instead of records if the logs have diverged: the end of the last epoch in which they agree.
        diverging_epoch: Option<EpochEndOffset> [12.., tag 0],
        current_leader: Option<LeaderIdAndEpoch> [12.., tag 1],
        snapshot_id: Option<SnapshotId> [12.., tag 2],
        /// Null when reading uncommitted.
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        /// -1: the leader.
        preferred_read_replica: i32 [11..] = -1,
        /// Consecutive record batches, the last of which may be incomplete.
        records: Option<Bytes>,
    }

    /// The largest epoch of the leader that is not above the client's, and its end.
    pub struct EpochEndOffset {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    /// The current leader (KIP-951).
    pub struct LeaderIdAndEpoch {
        /// -1: unknown.
        leader_id: i32 = -1,
        /// -1: unknown.
        leader_epoch: i32 = -1,
    }

    /// The snapshot that a follower should fetch instead.
    pub struct SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }

    /// An aborted transaction: the producer's records from this offset to the abort marker must not be delivered.
    pub struct AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }

    /// The address of a broker (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
}
