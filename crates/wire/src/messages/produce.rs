//! Produce. Version 8 names the records at fault (KIP-467), 10 has leader hints (KIP-951), 13 topic ids (KIP-516).

use bytes::Bytes;

use crate::{ErrorCode, Uuid, message::message};

message! {
    3..=13, flexible 9..;

    /// Record batches, one per partition.
    pub struct ProduceRequest {
        transactional_id: Option<String>,
        /// 0: no response at all, 1: the leader, -1: all in-sync replicas.
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    /// One topic, by name, or by id from version 13 on.
    pub struct TopicProduceData {
        name: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partition_data: Vec<PartitionProduceData>,
    }

    /// One partition.
    pub struct PartitionProduceData {
        index: i32,
        records: Option<Bytes>,
    }

    /// The result for each partition.
    pub struct ProduceResponse {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
        /// The addresses of the leaders named in [`PartitionProduceResponse::current_leader`].
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }

    /// One topic, by name, or by id from version 13 on.
    pub struct TopicProduceResponse {
        name: String [ignorable ..=12],
        topic_id: Uuid [ignorable 13..],
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// One partition.
    pub struct PartitionProduceResponse {
        index: i32,
        error_code: ErrorCode,
        base_offset: i64,
        /// -1 unless the topic uses append time.
        log_append_time_ms: i64 = -1,
        log_start_offset: i64 [ignorable 5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [ignorable 8..],
        error_message: Option<String> [ignorable 8..],
        current_leader: Option<LeaderIdAndEpoch> [10.., tag 0],
    }

    /// A record that the broker did not accept.
    pub struct BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<String>,
    }

    /// The current leader (KIP-951).
    pub struct LeaderIdAndEpoch {
        /// -1: unknown.
        leader_id: i32 = -1,
        /// -1: unknown.
        leader_epoch: i32 = -1,
    }

    /// The address of a broker (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String>,
    }
}
