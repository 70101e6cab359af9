//! Metadata: brokers, topics, and the leader of each partition.

use crate::{ErrorCode, Uuid, message::message};

message! {
    0..=13, flexible 9..;

    /// The topics to describe, by name or (version 12) by id.
    pub struct MetadataRequest {
        /// Null: all topics. Version 0 has no null; there, an empty list means all.
        topics: Option<Vec<MetadataRequestTopic>> [null 1..] = Some(Vec::new()),
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    /// One requested topic. If an id is given, the name is null.
    pub struct MetadataRequestTopic {
        topic_id: Uuid [ignorable 10..],
        name: Option<String> [null 10..],
    }

    /// The cluster as one broker sees it.
    pub struct MetadataResponse {
        throttle_time_ms: i32 [ignorable 3..],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<String> [ignorable 2..],
        /// -1: unknown.
        controller_id: i32 [ignorable 1..] = -1,
        topics: Vec<MetadataResponseTopic>,
        /// i32::MIN: not requested.
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        /// Used for REBOOTSTRAP_REQUIRED (KIP-1102).
        error_code: ErrorCode [ignorable 13..],
    }

    /// The address of a broker.
    pub struct MetadataResponseBroker {
        node_id: i32,
        host: String,
        port: i32,
        rack: Option<String> [ignorable 1..],
    }

    /// One topic.
    pub struct MetadataResponseTopic {
        error_code: ErrorCode,
        /// Null in the result for an id that the broker does not know.
        name: Option<String> [null 12..],
        topic_id: Uuid [ignorable 10..],
        is_internal: bool [ignorable 1..],
        partitions: Vec<MetadataResponsePartition>,
        /// i32::MIN: not requested.
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    /// One partition.
    pub struct MetadataResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        /// -1: none at present.
        leader_id: i32,
        /// -1: unknown.
        leader_epoch: i32 [ignorable 7..] = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [ignorable 5..],
    }
}
