//! The subject of a request or an answer: its topics, groups and transactional ids.

use kafka_protocol::{
    messages::{RequestKind, ResponseKind, TopicName},
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::topics::Topics;

/// Whether a request names this topic, or its id.
pub(super) fn names_topic(request: &RequestKind, topic: &str, topics: &Topics) -> bool {
    use RequestKind as R;
    let is = |name: &TopicName, id: Uuid| called(name, id, topic, topics);
    let named = |name: &TopicName| name.as_str() == topic;
    match request {
        R::Produce(r) => r.topic_data.iter().any(|t| is(&t.name, t.topic_id)),
        R::Fetch(r) => r.topics.iter().any(|t| is(&t.topic, t.topic_id)),
        R::ListOffsets(r) => r.topics.iter().any(|t| named(&t.name)),
        // None asks for all.
        R::Metadata(r) => r
            .topics
            .as_ref()
            .is_none_or(|asked| asked.iter().any(|t| is(&t.name.clone().unwrap_or_default(), t.topic_id))),
        R::OffsetCommit(r) => r.topics.iter().any(|t| is(&t.name, t.topic_id)),
        R::OffsetFetch(r) => {
            r.topics.iter().flatten().any(|t| named(&t.name))
                || r.groups.iter().any(|group| {
                    // None asks for all.
                    group.topics.as_ref().is_none_or(|t| t.iter().any(|t| is(&t.name, t.topic_id)))
                })
        }
        R::CreateTopics(r) => r.topics.iter().any(|t| named(&t.name)),
        R::DeleteTopics(r) => {
            r.topic_names.iter().any(named)
                || r.topics.iter().any(|t| is(&t.name.clone().unwrap_or_default(), t.topic_id))
        }
        R::DeleteRecords(r) => r.topics.iter().any(|t| named(&t.name)),
        // None asks for all.
        R::DescribeLogDirs(r) => r.topics.as_ref().is_none_or(|asked| asked.iter().any(|t| named(&t.topic))),
        R::OffsetForLeaderEpoch(r) => r.topics.iter().any(|t| named(&t.topic)),
        R::AddPartitionsToTxn(r) => {
            let below = r.v3_and_below_topics.iter();
            below.chain(r.transactions.iter().flat_map(|t| &t.topics)).any(|t| named(&t.name))
        }
        R::TxnOffsetCommit(r) => r.topics.iter().any(|t| named(&t.name)),
        R::CreatePartitions(r) => r.topics.iter().any(|t| named(&t.name)),
        R::OffsetDelete(r) => r.topics.iter().any(|t| named(&t.name)),
        R::DescribeProducers(r) => r.topics.iter().any(|t| named(&t.name)),
        R::DescribeTopicPartitions(r) => r.topics.iter().any(|t| named(&t.name)),
        R::ConsumerGroupHeartbeat(r) => r.subscribed_topic_names.iter().flatten().any(named),
        R::DescribeConfigs(r) => {
            r.resources.iter().any(|r| r.resource_type == TOPIC && r.resource_name.as_str() == topic)
        }
        R::IncrementalAlterConfigs(r) => {
            r.resources.iter().any(|r| r.resource_type == TOPIC && r.resource_name.as_str() == topic)
        }
        _ => false,
    }
}

/// Whether a Fetch answer carries this topic.
pub(super) fn carries_topic(response: &ResponseKind, topic: &str, topics: &Topics) -> bool {
    match response {
        ResponseKind::Fetch(r) => r.responses.iter().any(|t| called(&t.topic, t.topic_id, topic, topics)),
        _ => false,
    }
}

/// Whether a request names this group or transactional id.
pub(super) fn names_group(request: &RequestKind, group: &str) -> bool {
    use RequestKind as R;
    let key = |key: &StrBytes| key.as_str() == group;
    match request {
        R::Produce(r) => r.transactional_id.as_ref().is_some_and(|id| id.as_str() == group),
        R::FindCoordinator(r) => key(&r.key) || r.coordinator_keys.iter().any(key),
        R::OffsetCommit(r) => key(&r.group_id),
        R::OffsetFetch(r) => key(&r.group_id) || r.groups.iter().any(|g| key(&g.group_id)),
        R::JoinGroup(r) => key(&r.group_id),
        R::SyncGroup(r) => key(&r.group_id),
        R::Heartbeat(r) => key(&r.group_id),
        R::LeaveGroup(r) => key(&r.group_id),
        R::DescribeGroups(r) => r.groups.iter().any(|g| key(g)),
        R::DeleteGroups(r) => r.groups_names.iter().any(|g| key(g)),
        R::OffsetDelete(r) => key(&r.group_id),
        R::ConsumerGroupHeartbeat(r) => key(&r.group_id),
        R::ConsumerGroupDescribe(r) => r.group_ids.iter().any(|g| key(g)),
        R::InitProducerId(r) => r.transactional_id.as_ref().is_some_and(|id| key(id)),
        R::AddPartitionsToTxn(r) => {
            key(&r.v3_and_below_transactional_id) || r.transactions.iter().any(|t| key(&t.transactional_id))
        }
        R::AddOffsetsToTxn(r) => key(&r.transactional_id) || key(&r.group_id),
        R::EndTxn(r) => key(&r.transactional_id),
        R::TxnOffsetCommit(r) => key(&r.transactional_id) || key(&r.group_id),
        R::DescribeTransactions(r) => r.transactional_ids.iter().any(|id| key(id)),
        _ => false,
    }
}

/// Kafka's number for topics among the resources that have configs.
const TOPIC: i8 = 2;

fn called(name: &TopicName, id: Uuid, topic: &str, topics: &Topics) -> bool {
    name.as_str() == topic || (!id.is_nil() && topics.name_of(id) == Some(topic))
}
