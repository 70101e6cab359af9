//! OffsetDelete: deletes a group's committed offsets of partitions to which no member is subscribed (KIP-496).

use crate::{ErrorCode, message::message};

message! {
    0..=0;

    /// Offsets of one group.
    pub struct OffsetDeleteRequest {
        group_id: String,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// One topic.
    pub struct OffsetDeleteRequestTopic {
        name: String,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// One partition.
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32,
    }

    /// An error of the whole request, or the result for each partition.
    pub struct OffsetDeleteResponse {
        error_code: ErrorCode,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// One topic.
    pub struct OffsetDeleteResponseTopic {
        name: String,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// One partition.
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
