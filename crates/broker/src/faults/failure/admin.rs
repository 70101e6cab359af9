//! Metadata, topics and settings.

use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, MetadataRequest, MetadataResponse,
    create_partitions_response::CreatePartitionsTopicResult, create_topics_response::CreatableTopicResult,
    delete_topics_response::DeletableTopicResult, describe_configs_response::DescribeConfigsResult,
    describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic,
    incremental_alter_configs_response::AlterConfigsResourceResponse,
    metadata_response::MetadataResponseTopic,
};

pub(super) fn metadata(request: &MetadataRequest, version: i16, code: i16) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|asked| {
        // Before version 12 the name cannot be null; a null name in a later version is answered as an empty one.
        let name = asked.name.clone().unwrap_or_default();
        let topic = MetadataResponseTopic::default().with_error_code(code).with_name(Some(name));
        if version >= 10 { topic.with_topic_id(asked.topic_id) } else { topic }
    });
    let answer = MetadataResponse::default().with_topics(topics.collect());
    if version >= 13 { answer.with_error_code(code) } else { answer }
}

pub(super) fn describe_cluster(code: i16) -> DescribeClusterResponse {
    DescribeClusterResponse::default().with_error_code(code)
}

pub(super) fn describe_topic_partitions(
    request: &DescribeTopicPartitionsRequest,
    code: i16,
) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|asked| {
        let topic = DescribeTopicPartitionsResponseTopic::default().with_error_code(code);
        topic.with_name(Some(asked.name.clone()))
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

pub(super) fn create_topics(request: &CreateTopicsRequest, code: i16) -> CreateTopicsResponse {
    let failed =
        |name| CreatableTopicResult::default().with_name(name).with_error_code(code).with_error_message(None);
    let topics = request.topics.iter().map(|asked| failed(asked.name.clone()));
    CreateTopicsResponse::default().with_topics(topics.collect())
}

pub(super) fn delete_topics(request: &DeleteTopicsRequest, version: i16, code: i16) -> DeleteTopicsResponse {
    let failed = DeletableTopicResult::default().with_error_code(code);
    let responses = if version >= 6 {
        let of = |asked: &kafka_protocol::messages::delete_topics_request::DeleteTopicState| {
            failed.clone().with_name(asked.name.clone()).with_topic_id(asked.topic_id)
        };
        request.topics.iter().map(of).collect()
    } else {
        request.topic_names.iter().map(|name| failed.clone().with_name(Some(name.clone()))).collect()
    };
    DeleteTopicsResponse::default().with_responses(responses)
}

pub(super) fn create_partitions(request: &CreatePartitionsRequest, code: i16) -> CreatePartitionsResponse {
    let failed = |name| CreatePartitionsTopicResult::default().with_name(name).with_error_code(code);
    let results = request.topics.iter().map(|asked| failed(asked.name.clone()));
    CreatePartitionsResponse::default().with_results(results.collect())
}

pub(super) fn describe_configs(request: &DescribeConfigsRequest, code: i16) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|asked| {
        DescribeConfigsResult::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

pub(super) fn incremental_alter_configs(
    request: &IncrementalAlterConfigsRequest,
    code: i16,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.iter().map(|asked| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}
