//! Metadata: brokers, topics, and the leaders of partitions.

use std::collections::BTreeSet;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        BrokerId, MetadataRequest, MetadataResponse, TopicName,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
};
use uuid::Uuid;

use super::{Partition, Topic, create::indices, names, text};
use crate::{
    model::Model,
    nodes::Nodes,
    request::{Context, Reply},
};

/// All operations on a topic, as bits of Kafka's `AclOperation`: the answer of a cluster without an authorizer. They are read, write,
/// create, delete, alter, describe, describe configs and alter configs.
pub(super) const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// All operations on the cluster: create, alter, describe, cluster action, describe configs, alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);

const fn bits(operations: &[i32]) -> i32 {
    let mut set = 0;
    let mut rest = operations;
    while let [first, others @ ..] = rest {
        set |= 1 << *first;
        rest = others;
    }
    set
}

impl Model {
    pub(crate) fn handle_metadata(&mut self, context: &Context, request: MetadataRequest) -> Reply {
        let version = context.version;
        // Version 0 has no null: an empty list means all topics.
        let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
        let topics = match asked {
            None => self.topics.all.iter().map(|(name, topic)| self.topic(version, name, topic)).collect(),
            Some(asked) => {
                if version < 12 && asked.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_nil())
                {
                    let code = self.report_refusal(context, ResponseError::InvalidRequest);
                    let topics = asked.into_iter().map(|topic| {
                        let name = topic.name.unwrap_or_default();
                        error_topic(ResponseError::InvalidRequest, Some(name)).with_topic_id(topic.topic_id)
                    });
                    let topics = topics.collect();
                    return MetadataResponse::default().with_topics(topics).with_error_code(code).into();
                }
                let ids: BTreeSet<Uuid> =
                    asked.iter().map(|topic| topic.topic_id).filter(|id| !id.is_nil()).collect();
                if ids.is_empty() {
                    let create = request.allow_auto_topic_creation && self.config.auto_create_topics;
                    let asked = asked.into_iter().filter_map(|topic| topic.name).collect();
                    self.topics_by_name(context, asked, create)
                } else {
                    self.topics_by_id(version, &ids)
                }
            }
        };
        let topics = topics.into_iter().map(|topic: MetadataResponseTopic| {
            if request.include_topic_authorized_operations && topic.name.is_some() {
                topic.with_topic_authorized_operations(TOPIC_OPERATIONS)
            } else {
                topic
            }
        });
        let topics = topics.collect();
        let cluster =
            if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
        MetadataResponse::default()
            .with_brokers(self.nodes.known().map(|(id, node)| broker(id, node)).collect())
            .with_cluster_id(Some(text(&self.config.cluster_id)))
            .with_controller_id(BrokerId(self.nodes.known_controller()))
            .with_topics(topics)
            .with_cluster_authorized_operations(cluster)
            .into()
    }

    /// Topics that exist come first, as in Kafka.
    fn topics_by_name(
        &mut self,
        context: &Context,
        asked: Vec<TopicName>,
        create: bool,
    ) -> Vec<MetadataResponseTopic> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for name in asked {
            if !seen.insert(name.clone()) {
                continue;
            }
            if let Some(topic) = self.topics.all.get(name.as_str()) {
                found.push(self.topic(context.version, &name, topic));
                continue;
            }
            if names::check(&name).is_err() {
                self.report_refusal(context, ResponseError::InvalidTopicException);
                missing.push(error_topic(ResponseError::InvalidTopicException, Some(name)));
                continue;
            }
            if create {
                self.auto_create(&name);
            }
            // A topic that is just being created is not known yet: the client tries again.
            missing.push(error_topic(ResponseError::UnknownTopicOrPartition, Some(name)));
        }
        found.append(&mut missing);
        found
    }

    fn auto_create(&mut self, name: &str) {
        let created = if names::is_internal(name) {
            self.ensure_internal_topic(name);
            Ok(())
        } else {
            self.create_topic(name, -1, -1, &[])
        };
        if let Err(error) = created {
            tracing::debug!(name, ?error, "a topic could not be created on demand");
        }
    }

    fn topics_by_id(&self, version: i16, ids: &BTreeSet<Uuid>) -> Vec<MetadataResponseTopic> {
        let (known, unknown): (Vec<&Uuid>, Vec<&Uuid>) =
            ids.iter().partition(|id| self.topics.names.contains_key(*id));
        let unknown =
            unknown.into_iter().map(|id| error_topic(ResponseError::UnknownTopicId, None).with_topic_id(*id));
        let known = known.into_iter().filter_map(|id| {
            let name = self.topics.name_of(*id)?;
            Some(self.topic(version, name, self.topics.all.get(name)?))
        });
        unknown.chain(known).collect()
    }

    fn topic(&self, version: i16, name: &str, topic: &Topic) -> MetadataResponseTopic {
        let partitions = indices(topic.partitions.len())
            .zip(&topic.partitions)
            .map(|(number, partition)| described(&self.nodes, version, number, partition));
        MetadataResponseTopic::default()
            .with_name(Some(text(name).into()))
            .with_topic_id(topic.id)
            .with_is_internal(topic.internal)
            .with_partitions(partitions.collect())
    }
}

fn error_topic(error: ResponseError, name: Option<TopicName>) -> MetadataResponseTopic {
    let internal = name.as_ref().is_some_and(|name| names::is_internal(name));
    MetadataResponseTopic::default().with_error_code(error.code()).with_name(name).with_is_internal(internal)
}

fn broker(id: i32, node: &crate::nodes::Node) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(BrokerId(id))
        .with_host(text(&node.host))
        .with_port(i32::from(node.port))
        .with_rack(node.rack.as_deref().map(text))
}

fn described(nodes: &Nodes, version: i16, number: i32, partition: &Partition) -> MetadataResponsePartition {
    // Version 0 lists only replicas that are up, and an error code if some are missing.
    let filtered = |replicas: &[i32]| -> Vec<BrokerId> {
        replicas.iter().filter(|id| version > 0 || nodes.believed_up(**id)).map(|id| BrokerId(*id)).collect()
    };
    let (replicas, isr) = (filtered(&partition.replicas), filtered(&partition.isr));
    let leader = partition.leader.filter(|leader| nodes.believed_up(*leader));
    let error = match leader {
        None => ResponseError::LeaderNotAvailable.code(),
        Some(_) if replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len() => {
            ResponseError::ReplicaNotAvailable.code()
        }
        Some(_) => 0,
    };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(number)
        .with_leader_id(BrokerId(leader.unwrap_or(-1)))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(replicas)
        .with_isr_nodes(isr)
        .with_offline_replicas(offline(nodes, partition))
}

pub(super) fn offline(nodes: &Nodes, partition: &Partition) -> Vec<BrokerId> {
    partition.replicas.iter().filter(|id| !nodes.believed_up(**id)).map(|id| BrokerId(*id)).collect()
}
