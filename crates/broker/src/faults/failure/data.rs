//! Records and their offsets.

use bytes::Bytes;
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsResponse, DescribeProducersRequest,
    DescribeProducersResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
    delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
    describe_log_dirs_response::DescribeLogDirsResult,
    describe_producers_response::{PartitionResponse, TopicResponse},
    fetch_response::{FetchableTopicResponse, PartitionData},
    list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
};

use super::NONE;

/// A partition of a Produce answer with nothing but an error.
pub(in super::super) fn unproduced(index: i32, code: i16) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code)
        .with_base_offset(NONE)
        .with_log_append_time_ms(NONE)
        .with_log_start_offset(NONE)
}

pub(super) fn produce(request: &ProduceRequest, code: i16) -> ProduceResponse {
    let failed = |index| unproduced(index, code);
    let responses = request.topic_data.iter().map(|topic| {
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partition_responses(topic.partition_data.iter().map(|data| failed(data.index)).collect())
    });
    ProduceResponse::default().with_responses(responses.collect())
}

/// A partition of a Fetch answer with nothing but an error.
pub(in super::super) fn unfetched(partition: i32, code: i16) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_error_code(code)
        .with_high_watermark(NONE)
        .with_records(Some(Bytes::new()))
}

pub(super) fn fetch(request: &FetchRequest, version: i16, code: i16) -> FetchResponse {
    let answer = FetchResponse::default();
    // Before version 7 there is no top-level error; from 13 on the top-level one is enough.
    let answer =
        if version >= 7 { answer.with_error_code(code).with_session_id(request.session_id) } else { answer };
    if version >= 13 {
        return answer;
    }
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| unfetched(asked.partition, code)).collect();
        FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions)
    });
    answer.with_responses(responses.collect())
}

/// A partition of a ListOffsets answer with nothing but an error.
pub(in super::super) fn unlisted(index: i32, code: i16) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_timestamp(NONE)
        .with_offset(NONE)
}

pub(super) fn list_offsets(request: &ListOffsetsRequest, code: i16) -> ListOffsetsResponse {
    let failed = |index| unlisted(index, code);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| failed(asked.partition_index)).collect();
        ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// A partition of an OffsetForLeaderEpoch answer with nothing but an error.
pub(in super::super) fn no_end_offset(partition: i32, code: i16) -> EpochEndOffset {
    EpochEndOffset::default()
        .with_partition(partition)
        .with_error_code(code)
        .with_leader_epoch(-1)
        .with_end_offset(NONE)
}

pub(super) fn offset_for_leader_epoch(
    request: &OffsetForLeaderEpochRequest,
    code: i16,
) -> OffsetForLeaderEpochResponse {
    let failed = |partition| no_end_offset(partition, code);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| failed(asked.partition)).collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

pub(super) fn delete_records(request: &DeleteRecordsRequest, code: i16) -> DeleteRecordsResponse {
    let failed = |index| {
        let partition = DeleteRecordsPartitionResult::default().with_partition_index(index);
        partition.with_error_code(code).with_low_watermark(NONE)
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| failed(asked.partition_index)).collect();
        DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

/// Before version 3 only directories have errors.
pub(super) fn describe_log_dirs(version: i16, code: i16) -> DescribeLogDirsResponse {
    if version >= 3 {
        return DescribeLogDirsResponse::default().with_error_code(code);
    }
    let failed = DescribeLogDirsResult::default().with_error_code(code);
    DescribeLogDirsResponse::default().with_results(vec![failed])
}

pub(super) fn describe_producers(request: &DescribeProducersRequest, code: i16) -> DescribeProducersResponse {
    let failed = |index| PartitionResponse::default().with_partition_index(index).with_error_code(code);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| failed(*index)).collect();
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}
