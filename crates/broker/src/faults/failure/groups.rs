//! Groups and their committed offsets.

use kafka_protocol::{
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse,
        DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
        HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse, OffsetCommitRequest,
        OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
        SyncGroupResponse, consumer_group_describe_response,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::NONE;

pub(super) fn join_group(version: i16, code: i16) -> JoinGroupResponse {
    let unknown = (version < 7).then(StrBytes::default);
    JoinGroupResponse::default().with_error_code(code).with_generation_id(-1).with_protocol_name(unknown)
}

pub(super) fn sync_group(code: i16) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code)
}

pub(super) fn heartbeat(code: i16) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(code)
}

pub(super) fn leave_group(code: i16) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(code)
}

pub(super) fn offset_commit(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let failed =
        |index| OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code);
    let topics = request.topics.iter().map(|topic| {
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(topic.partitions.iter().map(|asked| failed(asked.partition_index)).collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

pub(super) fn offset_fetch(request: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    let answer = OffsetFetchResponse::default();
    if version >= 8 {
        let failed = |id| OffsetFetchResponseGroup::default().with_group_id(id).with_error_code(code);
        let groups = request.groups.iter().map(|group| failed(group.group_id.clone()));
        return answer.with_groups(groups.collect());
    }
    if version >= 2 {
        return answer.with_error_code(code);
    }
    let failed = |index: &i32| {
        let partition = OffsetFetchResponsePartition::default().with_partition_index(*index);
        partition.with_committed_offset(NONE).with_error_code(code)
    };
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(failed).collect();
        OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    answer.with_topics(topics.collect())
}

pub(super) fn offset_delete(code: i16) -> OffsetDeleteResponse {
    OffsetDeleteResponse::default().with_error_code(code)
}

pub(super) fn list_groups(code: i16) -> ListGroupsResponse {
    ListGroupsResponse::default().with_error_code(code)
}

pub(super) fn describe_groups(request: &DescribeGroupsRequest, code: i16) -> DescribeGroupsResponse {
    let failed =
        |id| describe_groups_response::DescribedGroup::default().with_group_id(id).with_error_code(code);
    let groups = request.groups.iter().map(|id| failed(id.clone()));
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

pub(super) fn delete_groups(request: &DeleteGroupsRequest, code: i16) -> DeleteGroupsResponse {
    let failed = |id| DeletableGroupResult::default().with_group_id(id).with_error_code(code);
    let results = request.groups_names.iter().map(|id| failed(id.clone()));
    DeleteGroupsResponse::default().with_results(results.collect())
}

pub(super) fn consumer_group_heartbeat(code: i16) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(code)
}

pub(super) fn consumer_group_describe(
    request: &ConsumerGroupDescribeRequest,
    code: i16,
) -> ConsumerGroupDescribeResponse {
    let failed = |id| {
        consumer_group_describe_response::DescribedGroup::default().with_group_id(id).with_error_code(code)
    };
    let groups = request.group_ids.iter().map(|id| failed(id.clone()));
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}
