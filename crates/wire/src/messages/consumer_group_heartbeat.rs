//! ConsumerGroupHeartbeat: the whole membership protocol in one request (KIP-848).

use crate::{ErrorCode, Uuid, message::message};

message! {
    0..=1, flexible 0..;

    /// Null and -1 mean "unchanged", so that most heartbeats are small.
    pub struct ConsumerGroupHeartbeatRequest {
        group_id: String,
        /// Chosen by the coordinator in version 0, and by the member itself from version 1 on (KIP-1082).
        member_id: String,
        /// 0 joins, -1 leaves, -2 leaves as a static member that will return.
        member_epoch: i32,
        instance_id: Option<String>,
        rack_id: Option<String>,
        rebalance_timeout_ms: i32 = -1,
        subscribed_topic_names: Option<Vec<String>>,
        subscribed_topic_regex: Option<String> [1..],
        server_assignor: Option<String>,
        /// The partitions that the member owns.
        topic_partitions: Option<Vec<TopicPartitions>>,
    }

    /// The member's epoch, and its assignment if that has changed.
    pub struct ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        member_id: Option<String>,
        member_epoch: i32,
        heartbeat_interval_ms: i32,
        /// Null: unchanged.
        assignment: Option<Assignment>,
    }

    /// The partitions that the member should own.
    pub struct Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }
}
