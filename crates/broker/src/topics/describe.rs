//! DescribeCluster, and DescribeTopicPartitions (KIP-966), which returns partitions page by page.

use std::collections::BTreeSet;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest,
        DescribeTopicPartitionsResponse,
        describe_cluster_response::DescribeClusterBroker,
        describe_topic_partitions_response::{
            Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
        },
    },
};

use super::{
    Partition,
    create::indices,
    metadata::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, offline},
    names, text,
};
use crate::{
    model::Model,
    nodes::Nodes,
    request::{Context, Reply},
};

/// `max.request.partition.size.limit`.
const PAGE: i32 = 2000;
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

impl Model {
    pub(crate) fn handle_describe_cluster(
        &mut self,
        context: &Context,
        request: &DescribeClusterRequest,
    ) -> Reply {
        if request.endpoint_type != BROKERS {
            let error = match request.endpoint_type {
                CONTROLLERS => ResponseError::MismatchedEndpointType,
                _ => ResponseError::UnsupportedEndpointType,
            };
            let code = self.report_refusal(context, error);
            let message = text("brokers are asked about brokers (endpoint type 1)");
            return DescribeClusterResponse::default()
                .with_error_code(code)
                .with_error_message(Some(message))
                .into();
        }
        let shown = self.nodes.all.iter().map(|(id, node)| (*id, node, !self.nodes.believed_up(*id)));
        let brokers = shown.filter(|(.., fenced)| request.include_fenced_brokers || !*fenced).map(
            |(id, node, fenced)| {
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(id))
                    .with_host(text(&node.host))
                    .with_port(i32::from(node.port))
                    .with_rack(node.rack.as_deref().map(text))
                    .with_is_fenced(fenced)
            },
        );
        let operations =
            if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
        DescribeClusterResponse::default()
            .with_error_message(None)
            .with_cluster_id(text(&self.config.cluster_id))
            .with_controller_id(BrokerId(self.nodes.known_controller()))
            .with_brokers(brokers.collect())
            .with_cluster_authorized_operations(operations)
            .into()
    }

    pub(crate) fn handle_describe_topic_partitions(
        &mut self,
        context: &Context,
        request: DescribeTopicPartitionsRequest,
    ) -> Reply {
        let cursor =
            request.cursor.as_ref().map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
        let start = cursor.as_ref().map_or("", |(name, _)| name.as_str());
        let all = request.topics.is_empty();
        let mut asked: BTreeSet<String> = if all {
            self.topics.all.keys().cloned().collect()
        } else {
            request.topics.iter().map(|topic| topic.name.to_string()).collect()
        };
        asked.retain(|name| name.as_str() >= start);
        if cursor.as_ref().is_some_and(|(_, partition)| *partition < 0) {
            self.report_refusal(context, ResponseError::InvalidRequest);
            let refused = request.topics.iter().map(|topic| {
                DescribeTopicPartitionsResponseTopic::default()
                    .with_error_code(ResponseError::InvalidRequest.code())
                    .with_name(Some(topic.name.clone()))
            });
            return DescribeTopicPartitionsResponse::default().with_topics(refused.collect()).into();
        }

        let mut left = usize::try_from(request.response_partition_limit.clamp(1, PAGE)).unwrap_or(1);
        let mut topics = Vec::new();
        let mut next = None;
        for name in asked {
            if left == 0 {
                next = Some((name, 0));
                break;
            }
            let Some(topic) = self.topics.all.get(&name) else {
                // If all topics were asked for, a deleted one does not concern the client.
                if !all {
                    topics.push(missing(&name));
                }
                continue;
            };
            let first = cursor.as_ref().filter(|(at, _)| *at == name).map_or(0, |(_, partition)| *partition);
            let partitions: Vec<_> = indices(topic.partitions.len())
                .zip(&topic.partitions)
                .skip(usize::try_from(first).unwrap_or(0))
                .take(left)
                .map(|(number, partition)| described(&self.nodes, number, partition))
                .collect();
            let reached = usize::try_from(first).unwrap_or(0) + partitions.len();
            left -= partitions.len();
            topics.push(
                DescribeTopicPartitionsResponseTopic::default()
                    .with_name(Some(text(&name).into()))
                    .with_topic_id(topic.id)
                    .with_is_internal(topic.internal)
                    .with_partitions(partitions)
                    .with_topic_authorized_operations(TOPIC_OPERATIONS),
            );
            if reached < topic.partitions.len() {
                next = Some((name, i32::try_from(reached).unwrap_or(i32::MAX)));
                break;
            }
        }
        let next = next.map(|(name, partition)| {
            Cursor::default().with_topic_name(text(&name).into()).with_partition_index(partition)
        });
        DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next).into()
    }
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match names::check(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(refusal) => refusal.error,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(text(name).into()))
        .with_is_internal(names::is_internal(name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn described(nodes: &Nodes, number: i32, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let ids = |brokers: &[i32]| -> Vec<BrokerId> { brokers.iter().map(|id| BrokerId(*id)).collect() };
    let leader = partition.leader.filter(|leader| nodes.believed_up(*leader));
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(number)
        .with_leader_id(BrokerId(leader.unwrap_or(-1)))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_eligible_leader_replicas(Some(ids(&partition.elr)))
        .with_last_known_elr(Some(Vec::new()))
        .with_offline_replicas(offline(nodes, partition))
}
