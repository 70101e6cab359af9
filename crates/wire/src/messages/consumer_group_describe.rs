//! ConsumerGroupDescribe: groups of KIP-848 and their members.

use crate::{ErrorCode, Uuid, message::message};

message! {
    0..=1, flexible 0..;

    /// Groups that the broker coordinates.
    pub struct ConsumerGroupDescribeRequest {
        group_ids: Vec<String>,
        include_authorized_operations: bool,
    }

    /// The result for each group.
    pub struct ConsumerGroupDescribeResponse {
        throttle_time_ms: i32,
        groups: Vec<DescribedGroup>,
    }

    /// One group.
    pub struct DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<String>,
        group_id: String,
        group_state: String,
        group_epoch: i32,
        assignment_epoch: i32,
        assignor_name: String,
        members: Vec<Member>,
        /// i32::MIN: not requested.
        authorized_operations: i32 = i32::MIN,
    }

    /// One member.
    pub struct Member {
        member_id: String,
        instance_id: Option<String>,
        rack_id: Option<String>,
        member_epoch: i32,
        client_id: String,
        client_host: String,
        subscribed_topic_names: Vec<String>,
        subscribed_topic_regex: Option<String>,
        /// The partitions that it has.
        assignment: Assignment,
        /// The partitions that it should have.
        target_assignment: Assignment,
        /// -1: unknown, 0: classic, 1: consumer.
        member_type: i8 [ignorable 1..] = -1,
    }

    /// Partitions of a member.
    pub struct Assignment {
        topic_partitions: Vec<TopicPartitions>,
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        topic_id: Uuid,
        topic_name: String,
        partitions: Vec<i32>,
    }
}
