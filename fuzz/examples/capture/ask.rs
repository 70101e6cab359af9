//! The requests, in an order in which the broker's answers have content.

use offtake_wire::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeGroupsRequest, ErrorCode, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    InitProducerIdRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, Response, SyncGroupRequest, TopicPartition, Uuid,
    messages::{
        create_topics::{CreatableTopic, CreatableTopicConfig},
        delete_topics::DeleteTopicState,
        fetch::{FetchPartition, FetchTopic},
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        metadata::MetadataRequestTopic,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
        offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic},
        produce::{PartitionProduceData, TopicProduceData},
        sync_group::SyncGroupRequestAssignment,
    },
    records::{BatchBuilder, Compression},
};

use super::Broker;

const TOPIC: &str = "seeds-7";

pub(crate) fn everything(broker: &mut Broker) {
    for version in 0..=4 {
        let request = ApiVersionsRequest {
            client_software_name: "capture".into(),
            client_software_version: "1".into(),
        };
        broker.ask(version, request);
    }
    topics(broker);
    let id = metadata(broker);
    produce(broker, id);
    fetch(broker, id);
    offsets(broker);
    coordinator(broker);
    for version in 0..=9 {
        classic_group(broker, version, id);
    }
    for version in 0..=1 {
        consumer_group(broker, version);
    }
    delete(broker);
}

fn new_topic(name: String) -> CreatableTopic {
    let configs = vec![CreatableTopicConfig { name: "retention.ms".into(), value: Some("-1".into()) }];
    CreatableTopic { name, num_partitions: 2, replication_factor: 1, configs, ..CreatableTopic::default() }
}

fn topics(broker: &mut Broker) {
    for version in 2..=7 {
        let topics = vec![new_topic(format!("seeds-{version}"))];
        broker.ask(version, CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: false });
    }
    let topics = vec![new_topic(TOPIC.into()), new_topic("no good/name".into())];
    let request = CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: false };
    broker.ask_named("refused", 7, request);
}

fn metadata(broker: &mut Broker) -> Uuid {
    let topic = |topic_id, name: Option<&str>| MetadataRequestTopic { topic_id, name: name.map(Into::into) };
    let request = |topics| MetadataRequest {
        topics,
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    // A new topic may take a moment to get its leaders.
    let id = loop {
        let answer = broker.call(12, request(Some(vec![topic(Uuid::ZERO, Some(TOPIC))])).into()).0;
        let answer = MetadataResponse::try_from(answer).expect("its own answer");
        let topic = answer.topics.first().expect("the topic asked for");
        if topic.error_code.is_ok() && topic.partitions.iter().all(|partition| partition.error_code.is_ok()) {
            break topic.topic_id;
        }
    };
    for version in 0..=13 {
        broker.ask(version, request(if version == 0 { Some(vec![]) } else { None }));
    }
    let unknown = vec![topic(Uuid([7; 16]), None), topic(id, None)];
    broker.ask_named("by-id", 12, request(Some(unknown)));
    broker.ask_named("unknown", 13, request(Some(vec![topic(Uuid::ZERO, Some("nobody-made-it"))])));
    id
}

fn produce(broker: &mut Broker, id: Uuid) {
    for version in 0..=5 {
        broker.ask(version, InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() });
    }
    for version in 3..=13_i16 {
        let codec = Compression::ALL[usize::try_from(version).unwrap_or(0) % Compression::ALL.len()];
        let mut batch = BatchBuilder::new(0).compression(codec);
        for at in 0..3 {
            batch.push(
                1_700_000_000_000 + at,
                Some(b"key"),
                Some(b"a value of a record"),
                &[("trace", Some(b"7"))],
            );
        }
        let records = Some(batch.build().expect("it is small"));
        let partition_data = vec![PartitionProduceData { index: 0, records }];
        let topic = TopicProduceData { name: TOPIC.into(), topic_id: id, partition_data };
        let request =
            ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 10_000, topic_data: vec![topic] };
        broker.ask(version, request);
    }
    let partition_data = vec![PartitionProduceData {
        index: 9,
        records: Some(BatchBuilder::new(0).push(0, None, None, &[]).build().expect("it is small")),
    }];
    let topic = TopicProduceData { name: TOPIC.into(), topic_id: id, partition_data };
    broker.ask_named(
        "no-partition",
        12,
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 10_000, topic_data: vec![topic] },
    );
}

fn fetch(broker: &mut Broker, id: Uuid) {
    let request = |partition, fetch_offset, bytes| FetchRequest {
        max_wait_ms: 50,
        min_bytes: 1,
        isolation_level: 1,
        topics: vec![FetchTopic {
            topic: TOPIC.into(),
            topic_id: id,
            partitions: vec![
                FetchPartition { partition, fetch_offset, partition_max_bytes: bytes, ..Default::default() },
                FetchPartition { partition: 1, partition_max_bytes: bytes, ..Default::default() },
            ],
        }],
        ..FetchRequest::default()
    };
    for version in 4..=18 {
        broker.ask(version, request(0, 0, if version == 18 { 1 << 20 } else { 500 }));
    }
    broker.ask_named("out-of-range", 17, request(0, 1_000_000, 500));
    broker.ask_named("no-partition", 11, request(9, 0, 500));
    broker.ask_named("session", 17, FetchRequest { session_epoch: 0, ..request(0, 30, 500) });
    broker.ask_named(
        "no-session",
        17,
        FetchRequest { session_id: 77, session_epoch: 3, ..request(0, 30, 500) },
    );
}

fn offsets(broker: &mut Broker) {
    for version in 1..=11 {
        for (name, timestamp) in [("", -1), ("earliest", -2), ("of-a-time", 1_700_000_000_001)] {
            let partition = |partition_index| ListOffsetsPartition {
                partition_index,
                current_leader_epoch: -1,
                timestamp,
            };
            let topics =
                vec![ListOffsetsTopic { name: TOPIC.into(), partitions: vec![partition(0), partition(1)] }];
            let request = ListOffsetsRequest { topics, timeout_ms: 1000, ..ListOffsetsRequest::default() };
            match name {
                "" => drop(broker.ask(version, request)),
                _ if version == 11 => drop(broker.ask_named(name, version, request)),
                _ => {}
            }
        }
    }
    for version in 2..=4 {
        let partition = |partition, leader_epoch| OffsetForLeaderPartition {
            partition,
            current_leader_epoch: -1,
            leader_epoch,
        };
        let partitions = vec![partition(0, 0), partition(1, 7), partition(9, 0)];
        let topics = vec![OffsetForLeaderTopic { topic: TOPIC.into(), partitions }];
        broker.ask(version, OffsetForLeaderEpochRequest { topics, ..Default::default() });
    }
}

fn coordinator(broker: &mut Broker) {
    let request = || FindCoordinatorRequest {
        key: "seeds".into(),
        key_type: 0,
        coordinator_keys: vec!["seeds".into(), "others".into()],
    };
    // The first request creates the topic of the groups; the group exists once it can be described.
    loop {
        broker.call(6, request().into());
        let groups =
            DescribeGroupsRequest { groups: vec!["seeds".into()], include_authorized_operations: false };
        let (answer, _) = broker.call(5, groups.into());
        if let Response::DescribeGroups(answer) = answer
            && answer.groups.iter().all(|group| group.error_code.is_ok())
        {
            break;
        }
    }
    for version in 0..=6 {
        broker.ask(version, request());
    }
}

/// One member's life, in this version of JoinGroup; the other requests in the nearest version they have.
fn classic_group(broker: &mut Broker, version: i16, id: Uuid) {
    let group_id = format!("seeds-{version}");
    let subscription = ConsumerProtocolSubscription { topics: vec![TOPIC.into()], ..Default::default() };
    let metadata = subscription.encode_versioned(3).expect("it is small");
    let mut join = JoinGroupRequest {
        group_id: group_id.clone(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata }],
        reason: Some("seeds".into()),
        ..JoinGroupRequest::default()
    };
    let joined = loop {
        let answer = if join.member_id.is_empty() && version >= 4 {
            broker.ask_named("member-id-required", version, join.clone())
        } else {
            broker.ask(version, join.clone())
        };
        let answer = JoinGroupResponse::try_from(answer).expect("its own answer");
        match answer.error_code {
            ErrorCode::MemberIdRequired => join.member_id = answer.member_id,
            code if code.is_ok() => break answer,
            // The group's partition of the offsets topic may still be loading.
            code => assert!(code.is_retriable(), "JoinGroup {version}: {code}"),
        }
    };
    let (generation_id, member_id) = (joined.generation_id, joined.member_id);
    let own = vec![TopicPartition { topic: TOPIC.into(), partitions: vec![0, 1] }];
    let assignment = ConsumerProtocolAssignment { assigned_partitions: own, user_data: None };
    let assignment = assignment.encode_versioned(1).expect("it is small");
    let sync = SyncGroupRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment { member_id: member_id.clone(), assignment }],
        ..SyncGroupRequest::default()
    };
    broker.ask(version.min(5), sync);
    let beat = HeartbeatRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        group_instance_id: None,
    };
    broker.ask(version.min(4), beat);

    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 3,
        committed_leader_epoch: 0,
        committed_metadata: Some("so far".into()),
    };
    let partitions = vec![partition(0), partition(9)];
    let commit = OffsetCommitRequest {
        group_id: group_id.clone(),
        generation_id_or_member_epoch: generation_id,
        member_id: member_id.clone(),
        topics: vec![OffsetCommitRequestTopic { name: TOPIC.into(), topic_id: id, partitions }],
        ..OffsetCommitRequest::default()
    };
    broker.ask((version + 2).min(10), commit);
    let indexes = vec![0, 1];
    let fetch = OffsetFetchRequest {
        group_id: group_id.clone(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: TOPIC.into(),
            partition_indexes: indexes.clone(),
        }]),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group_id.clone(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: TOPIC.into(),
                topic_id: id,
                partition_indexes: indexes,
            }]),
            ..OffsetFetchRequestGroup::default()
        }],
        require_stable: true,
    };
    broker.ask(version + 1, fetch);

    let groups = vec![group_id.clone(), "nobody".into()];
    broker.ask(version.min(6), DescribeGroupsRequest { groups, include_authorized_operations: true });
    broker.ask(version.min(5), ListGroupsRequest::default());
    let members = vec![MemberIdentity {
        member_id: member_id.clone(),
        group_instance_id: None,
        reason: Some("done".into()),
    }];
    broker.ask(version.min(5), LeaveGroupRequest { group_id, member_id, members });
}

fn consumer_group(broker: &mut Broker, version: i16) {
    let group_id = format!("seeds-848-{version}");
    let join = ConsumerGroupHeartbeatRequest {
        group_id: group_id.clone(),
        member_id: if version == 0 { String::new() } else { Uuid([5; 16]).to_string() },
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(vec![]),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let (mut epoch, mut member_id) = (0, join.member_id.clone());
    let mut request = join;
    loop {
        let answer = if epoch == 0 {
            broker.ask(version, request.clone())
        } else {
            broker.ask_named("beat", version, request.clone())
        };
        let Response::ConsumerGroupHeartbeat(answer) = answer else { unreachable!("its own answer") };
        if !answer.error_code.is_ok() {
            assert!(answer.error_code.is_retriable(), "ConsumerGroupHeartbeat {version}: {answer:?}");
            continue;
        }
        if let Some(id) = answer.member_id {
            member_id = id;
        }
        if epoch > 0 {
            break;
        }
        epoch = answer.member_epoch;
        request = ConsumerGroupHeartbeatRequest {
            group_id: group_id.clone(),
            member_id: member_id.clone(),
            member_epoch: epoch,
            ..Default::default()
        };
    }
    let group_ids = vec![group_id.clone(), "nobody".into()];
    broker.ask(version, ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: true });
    let fenced = ConsumerGroupHeartbeatRequest {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
        member_epoch: 77,
        ..Default::default()
    };
    broker.ask_named("fenced", version, fenced);
    let leave = ConsumerGroupHeartbeatRequest { group_id, member_id, member_epoch: -1, ..Default::default() };
    broker.ask_named("leave", version, leave);
}

fn delete(broker: &mut Broker) {
    for version in 1..=6 {
        let name = format!("seeds-{version}"); // there is no seeds-1
        let topics = vec![
            DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO },
            DeleteTopicState { name: None, topic_id: Uuid([7; 16]) },
        ];
        broker.ask(version, DeleteTopicsRequest { topics, topic_names: vec![name], timeout_ms: 10_000 });
    }
}
