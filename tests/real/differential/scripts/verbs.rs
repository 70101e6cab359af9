//! Requests that many scripts send, in every version with the fields of that version.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
    consumer_group_heartbeat_request::TopicPartitions,
    create_topics_request::{CreatableTopic, CreatableTopicConfig},
    fetch_request::{FetchPartition, FetchTopic},
    join_group_request::JoinGroupRequestProtocol,
    leave_group_request::MemberIdentity,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    metadata_request::MetadataRequestTopic,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    produce_request::{PartitionProduceData, TopicProduceData},
    sync_group_request::SyncGroupRequestAssignment,
    txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    *,
};
use uuid::Uuid;

use crate::differential::{
    batch::Batch,
    conversation::{Conversation, Line, s},
};

/// An existing topic.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
}

pub(crate) fn metadata_of(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(s(name)));
    MetadataRequest::default()
        .with_topics(Some(names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(true)
}

pub(crate) fn new_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(s(name)).with_value(Some(s(value)))
    };
    CreatableTopic::default()
        .with_name(s(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect())
}

pub(crate) fn creating(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000)
}

/// Creates a topic and waits until the broker leads it.
pub(crate) fn topic(
    conversation: &mut Conversation,
    line: Line,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Topic {
    conversation.ask(line, 7, creating(vec![new_topic(name, partitions, configs)]));
    seen(conversation, line, name)
}

/// Waits until the broker leads a topic.
pub(crate) fn seen(conversation: &mut Conversation, line: Line, name: &str) -> Topic {
    let answer = conversation.until(line, 12, metadata_of(&[name]), |answer| {
        answer
            .topics
            .iter()
            .all(|topic| topic.error_code == 0 && topic.partitions.iter().all(|p| p.error_code == 0))
    });
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        conversation.settle(line, 5, listing(name, partition.partition_index, -1), |answer| {
            answer
                .topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .all(|partition| partition.error_code == 0)
        });
    }
    let id = answer.topics.first().map_or(Uuid::nil(), |topic| topic.topic_id);
    Topic { name: name.to_owned(), id }
}

pub(crate) fn producing(version: i16, topic: &Topic, partition: i32, records: Bytes) -> ProduceRequest {
    let data = TopicProduceData::default().with_partition_data(vec![
        PartitionProduceData::default().with_index(partition).with_records(Some(records)),
    ]);
    let data = if version < 13 { data.with_name(s(&topic.name)) } else { data.with_topic_id(topic.id) };
    ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![data])
}

pub(crate) fn produce(
    conversation: &mut Conversation,
    line: Line,
    topic: &Topic,
    batch: &Batch,
) -> ProduceResponse {
    conversation.ask(line, 12, producing(12, topic, 0, batch.bytes()))
}

pub(crate) fn produce_in(
    conversation: &mut Conversation,
    line: Line,
    version: i16,
    id: &str,
    topic: &Topic,
    batch: &Batch,
) {
    let request = producing(version, topic, 0, batch.bytes()).with_transactional_id(Some(s(id)));
    conversation.ask(line, version, request);
}

/// A fetch of one partition of a topic without a session.
pub(crate) fn fetching(version: i16, topic: &Topic, partition: FetchPartition) -> FetchRequest {
    let topic = topic_to_fetch(version, topic, vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    if version < 15 { request.with_replica_id(BrokerId(-1)) } else { request }
}

pub(crate) fn topic_to_fetch(version: i16, topic: &Topic, partitions: Vec<FetchPartition>) -> FetchTopic {
    let to_fetch = FetchTopic::default().with_partitions(partitions);
    if version < 13 { to_fetch.with_topic(s(&topic.name)) } else { to_fetch.with_topic_id(topic.id) }
}

pub(crate) fn from(offset: i64) -> FetchPartition {
    FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20)
}

pub(crate) fn listing(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![ListOffsetsTopic::default().with_name(s(topic)).with_partitions(vec![partition])])
}

/// Makes sure that a group's coordinator exists; the first request for it creates the internal topic.
pub(crate) fn coordinator(conversation: &mut Conversation, line: Line, key: &str, kind: i8) {
    let request = FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(vec![s(key)]);
    conversation
        .until(line, 4, request, |answer| answer.coordinators.iter().all(|found| found.error_code == 0));
    if kind == 0 {
        let describe = DescribeGroupsRequest::default().with_groups(vec![s(key)]);
        conversation.until(line, 5, describe, |answer| {
            answer.groups.iter().all(|group| !matches!(group.error_code, 14..=16))
        });
    } else {
        let describe = DescribeTransactionsRequest::default().with_transactional_ids(vec![s(key)]);
        conversation.until(line, 0, describe, |answer| {
            answer.transaction_states.iter().all(|state| !matches!(state.error_code, 14..=16))
        });
    }
}

pub(crate) fn joining(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(s(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(s(member))
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![
            protocol("range", b"range subscription"),
            protocol("sticky", b"sticky subscription"),
        ])
}

/// A protocol with a subscription to the topic `t` and this user data. Real Kafka parses subscriptions of the type
/// `consumer`, and never answers the group again if it cannot.
pub(crate) fn protocol(name: &str, data: &[u8]) -> JoinGroupRequestProtocol {
    protocol_for(name, "t", data)
}

pub(crate) fn protocol_for(name: &str, topic: &str, data: &[u8]) -> JoinGroupRequestProtocol {
    let mut metadata = BytesMut::new();
    metadata.put_i16(0);
    metadata.put_i32(1);
    metadata.put_i16(i16::try_from(topic.len()).unwrap());
    metadata.put_slice(topic.as_bytes());
    metadata.put_i32(i32::try_from(data.len()).unwrap());
    metadata.put_slice(data);
    JoinGroupRequestProtocol::default().with_name(s(name)).with_metadata(metadata.freeze())
}

pub(crate) fn syncing(
    group: &str,
    generation: i32,
    member: &str,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let assignment = |(member, assignment): &(&str, &'static [u8])| {
        SyncGroupRequestAssignment::default()
            .with_member_id(s(member))
            .with_assignment(Bytes::from_static(assignment))
    };
    SyncGroupRequest::default()
        .with_group_id(s(group))
        .with_generation_id(generation)
        .with_member_id(s(member))
        .with_assignments(assignments.iter().map(assignment).collect())
}

pub(crate) fn beating(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(s(group))
        .with_generation_id(generation)
        .with_member_id(s(member))
}

pub(crate) fn leaving(group: &str, members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    let member = |(member, instance): &(&str, Option<&str>)| {
        MemberIdentity::default().with_member_id(s(member)).with_group_instance_id(instance.map(s))
    };
    LeaveGroupRequest::default().with_group_id(s(group)).with_members(members.iter().map(member).collect())
}

pub(crate) fn describing(group: &str) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(vec![s(group)])
}

pub(crate) fn committing(
    group: &str,
    generation: i32,
    member: &str,
    topic: &str,
    offset: i64,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(s("note")));
    OffsetCommitRequest::default()
        .with_group_id(s(group))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(s(member))
        .with_topics(vec![
            OffsetCommitRequestTopic::default().with_name(s(topic)).with_partitions(vec![partition]),
        ])
}

/// `None`: all committed offsets.
pub(crate) fn committed(version: i16, group: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    if version < 8 {
        let topics = topics.map(|topics| {
            topics
                .iter()
                .map(|(name, indexes)| {
                    OffsetFetchRequestTopic::default()
                        .with_name(s(name))
                        .with_partition_indexes(indexes.to_vec())
                })
                .collect()
        });
        OffsetFetchRequest::default().with_group_id(s(group)).with_topics(topics)
    } else {
        let group =
            OffsetFetchRequestGroup::default().with_group_id(s(group)).with_topics(topics.map(|topics| {
                topics
                    .iter()
                    .map(|(name, indexes)| {
                        OffsetFetchRequestTopics::default()
                            .with_name(s(name))
                            .with_partition_indexes(indexes.to_vec())
                    })
                    .collect()
            }));
        OffsetFetchRequest::default().with_groups(vec![group])
    }
}

pub(crate) fn modern(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(s(group))
        .with_member_id(s(member))
        .with_member_epoch(epoch)
}

/// The first heartbeat of a member.
pub(crate) fn joining_modern(group: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    modern(group, member, 0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| s(name)).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

pub(crate) fn owning(topic: &Topic, partitions: &[i32]) -> Option<Vec<TopicPartitions>> {
    Some(vec![TopicPartitions::default().with_topic_id(topic.id).with_partitions(partitions.to_vec())])
}

pub(crate) fn beginning(id: Option<&str>) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(id.map(s))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

/// A producer with an id and an epoch; waits while an earlier transaction of it is being completed.
pub(crate) fn producer(conversation: &mut Conversation, line: Line, version: i16, id: &str) -> (i64, i16) {
    let answer = conversation
        .until(line, version, beginning(Some(id)), |answer| !matches!(answer.error_code, 51 | 14..=16));
    (*answer.producer_id, answer.producer_epoch)
}

pub(crate) fn adding(
    version: i16,
    id: &str,
    producer: (i64, i16),
    topics: &[(&str, &[i32])],
) -> AddPartitionsToTxnRequest {
    let topics = topics
        .iter()
        .map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default().with_name(s(name)).with_partitions(partitions.to_vec())
        })
        .collect();
    if version < 4 {
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(s(id))
            .with_v3_and_below_producer_id(ProducerId(producer.0))
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(topics)
    } else {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(s(id))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_topics(topics);
        AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
    }
}

/// Waits while an earlier transaction is being completed.
pub(crate) fn add(conversation: &mut Conversation, line: Line, id: &str, producer: (i64, i16), topic: &str) {
    conversation.until(line, 3, adding(3, id, producer, &[(topic, &[0])]), |answer| {
        answer.results_by_topic_v3_and_below.iter().all(|topic| {
            topic.results_by_partition.iter().all(|partition| partition.partition_error_code != 51)
        })
    });
}

pub(crate) fn ending(id: &str, producer: (i64, i16), committed: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(s(id))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(committed)
}

/// Waits until the markers of a transaction are written.
pub(crate) fn completed(conversation: &mut Conversation, line: Line, id: &str) {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![s(id)]);
    conversation.until(line, 0, request, |answer| {
        answer.transaction_states.iter().all(|state| !state.transaction_state.starts_with("Prepare"))
    });
}

pub(crate) fn committing_in(
    id: &str,
    group: &str,
    producer: (i64, i16),
    topic: &str,
    offset: i64,
) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(s("")));
    TxnOffsetCommitRequest::default()
        .with_transactional_id(s(id))
        .with_group_id(s(group))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_generation_id(-1)
        .with_topics(vec![
            TxnOffsetCommitRequestTopic::default().with_name(s(topic)).with_partitions(vec![partition]),
        ])
}
