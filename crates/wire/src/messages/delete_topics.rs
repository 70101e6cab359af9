//! DeleteTopics, by name, or by id from version 6 on.

use crate::{ErrorCode, Uuid, message::message};

message! {
    1..=6, flexible 4..;

    /// Topics to delete, each independent of the others.
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [or topic_names 6..],
        topic_names: Vec<String> [ignorable ..=5],
        timeout_ms: i32,
    }

    /// A name, or an id with a null name.
    pub struct DeleteTopicState {
        name: Option<String>,
        topic_id: Uuid,
    }

    /// The result for each topic.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32,
        responses: Vec<DeletableTopicResult>,
    }

    /// One topic.
    pub struct DeletableTopicResult {
        name: Option<String> [null 6..],
        topic_id: Uuid [ignorable 6..],
        error_code: ErrorCode,
        error_message: Option<String> [ignorable 5..],
    }
}
