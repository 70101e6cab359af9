//! ConsumerGroupHeartbeat: all of membership in one call (KIP-848).

use crate::{ErrorCode, Uuid, message::message};

message! {
    0..=1, flexible 0..;

    /// Null and -1 mean "as before", so that most beats are small.
    pub struct ConsumerGroupHeartbeatRequest {
        group_id: String,
        /// Version 1: made by the member, at its first join.
        member_id: String,
        /// 0 joins, -1 leaves, -2 leaves as a static member that will be back.
        member_epoch: i32,
        instance_id: Option<String>,
        rack_id: Option<String>,
        rebalance_timeout_ms: i32 = -1,
        subscribed_topic_names: Option<Vec<String>>,
        subscribed_topic_regex: Option<String> [1..],
        server_assignor: Option<String>,
        /// What the member owns.
        topic_partitions: Option<Vec<TopicPartitions>>,
    }

    /// Where the member stands.
    pub struct ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        member_id: Option<String>,
        member_epoch: i32,
        heartbeat_interval_ms: i32,
        /// Null: as before.
        assignment: Option<Assignment>,
    }

    /// What the member should own.
    pub struct Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }
}
