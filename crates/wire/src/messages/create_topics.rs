//! CreateTopics.

use crate::{ErrorCode, Uuid, message::message};

message! {
    2..=7, flexible 5..;

    /// Topics to create, each independently of the others.
    pub struct CreateTopicsRequest {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 = 60_000,
        validate_only: bool,
    }

    /// One topic.
    pub struct CreatableTopic {
        name: String,
        /// -1: the broker's default (version 4), or determined by `assignments`.
        num_partitions: i32,
        /// -1: the broker's default (version 4), or determined by `assignments`.
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    /// A manual placement of replicas.
    pub struct CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    /// A setting of the topic.
    pub struct CreatableTopicConfig {
        name: String,
        value: Option<String>,
    }

    /// The result for each topic.
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32,
        topics: Vec<CreatableTopicResult>,
    }

    /// One topic.
    pub struct CreatableTopicResult {
        name: String,
        topic_id: Uuid [ignorable 7..],
        error_code: ErrorCode,
        error_message: Option<String>,
        /// Why `configs` is null, if it is.
        topic_config_error_code: ErrorCode [ignorable 5.., tag 0],
        num_partitions: i32 [ignorable 5..] = -1,
        replication_factor: i16 [ignorable 5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [ignorable 5..],
    }

    /// A present setting of the topic.
    pub struct CreatableTopicConfigs {
        name: String,
        value: Option<String>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
}
