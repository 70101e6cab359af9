//! Metadata and the administration of topics.

use kafka_protocol::messages::{
    create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
    create_topics_request::{CreatableReplicaAssignment, CreatableTopicConfig},
    delete_topics_request::DeleteTopicState,
    describe_configs_request::DescribeConfigsResource,
    describe_topic_partitions_request::{Cursor, TopicRequest},
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    metadata_request::MetadataRequestTopic,
    *,
};
use uuid::Uuid;

use super::verbs::*;
use crate::differential::conversation::{Conversation, s};

pub(crate) fn metadata(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "meta", 3, &[]);
    for version in 0..=13 {
        conversation.ask(line, version, metadata_of(&["meta", "unknown"]));
        conversation.ask(line, version, metadata_of(&["meta", "bad name", "", "meta"]));
        if version > 0 {
            conversation.ask(line, version, metadata_of(&[]));
        }
        // In version 0 an empty list stands for all.
        let all = if version == 0 { Some(Vec::new()) } else { None };
        conversation.ask(
            line,
            version,
            MetadataRequest::default().with_topics(all).with_allow_auto_topic_creation(true),
        );
        if version >= 8 {
            let mut request = metadata_of(&["meta"]).with_include_topic_authorized_operations(true);
            if version <= 10 {
                request = request.with_include_cluster_authorized_operations(true);
            }
            conversation.ask(line, version, request);
        }
        if version >= 4 {
            conversation.ask(line, version, metadata_of(&["unknown"]).with_allow_auto_topic_creation(false));
        }
    }
    for version in 12..=13 {
        for id in [topic.id, Uuid::from_u128(77)] {
            let by_id = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
            conversation.ask(line, version, MetadataRequest::default().with_topics(Some(vec![by_id])));
        }
        let both = MetadataRequestTopic::default().with_topic_id(topic.id).with_name(Some(s("meta")));
        conversation.ask(line, version, MetadataRequest::default().with_topics(Some(vec![both])));
    }
    for version in 10..=11 {
        let by_id = MetadataRequestTopic::default().with_topic_id(topic.id).with_name(Some(s("meta")));
        conversation.ask(line, version, MetadataRequest::default().with_topics(Some(vec![by_id])));
    }
}

pub(crate) fn describe_cluster(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    for version in 0..=2 {
        conversation.ask(line, version, DescribeClusterRequest::default());
        conversation.ask(
            line,
            version,
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
        );
        if version > 0 {
            for endpoint in [0, 2, 3] {
                conversation.ask(
                    line,
                    version,
                    DescribeClusterRequest::default().with_endpoint_type(endpoint),
                );
            }
        }
    }
    conversation.ask(line, 2, DescribeClusterRequest::default().with_include_fenced_brokers(true));
}

pub(crate) fn describe_topic_partitions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "dtp-a", 4, &[]);
    topic(conversation, line, "dtp-b", 2, &[]);
    let of = |names: &[&str], limit: i32| {
        DescribeTopicPartitionsRequest::default()
            .with_topics(names.iter().map(|name| TopicRequest::default().with_name(s(name))).collect())
            .with_response_partition_limit(limit)
    };
    let after = |name: &str, partition: i32| {
        Some(Cursor::default().with_topic_name(s(name)).with_partition_index(partition))
    };
    conversation.ask(line, 0, of(&["dtp-b", "dtp-a", "unknown", "bad name"], 2000));
    conversation.ask(line, 0, of(&["dtp-b", "dtp-a"], 3));
    conversation.ask(line, 0, of(&["dtp-b", "dtp-a"], 4));
    conversation.ask(line, 0, of(&["dtp-a", "dtp-b"], 3).with_cursor(after("dtp-a", 3)));
    conversation.ask(line, 0, of(&["dtp-a", "dtp-b"], 3).with_cursor(after("dtp-b", 1)));
    conversation.ask(line, 0, of(&["dtp-a", "dtp-b"], 3).with_cursor(after("dtp-a", 9)));
    conversation.ask(line, 0, of(&["dtp-a", "dtp-b"], 3).with_cursor(after("dtp-a", -1)));
    conversation.ask(line, 0, of(&["dtp-a"], 0));
    conversation.ask(line, 0, of(&["dtp-a"], -1));
}

pub(crate) fn create_topics(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    for version in 2..=7 {
        let name = |what: &str| format!("create-{what}-{version}");
        conversation.ask(
            line,
            version,
            creating(vec![new_topic(&name("good"), 2, &[("cleanup.policy", "compact")])]),
        );
        seen(conversation, line, &name("good"));
        conversation.ask(line, version, creating(vec![new_topic(&name("good"), 2, &[])]));
        conversation.ask(
            line,
            version,
            creating(vec![new_topic(&name("dry"), 2, &[])]).with_validate_only(true),
        );
        let defaults = new_topic(&name("defaults"), -1, &[]).with_replication_factor(-1);
        conversation.ask(line, version, creating(vec![defaults]));
    }
    let wrong = [
        new_topic("", 1, &[]),
        new_topic(".", 1, &[]),
        new_topic("bad name", 1, &[]),
        new_topic(&"n".repeat(250), 1, &[]),
        new_topic("zero", 0, &[]),
        new_topic("minus-two", -2, &[]),
        new_topic("no-replicas", 1, &[]).with_replication_factor(0),
        new_topic("two-replicas", 1, &[]).with_replication_factor(2),
        new_topic("odd-config", 1, &[("no.such.config", "1")]),
        new_topic("bad-config", 1, &[("retention.ms", "soon")]),
        new_topic("bad-policy", 1, &[("cleanup.policy", "burn")]),
        new_topic("bad-type", 1, &[("message.timestamp.type", "Whenever")]),
        new_topic("small-size", 1, &[("max.message.bytes", "-1")]),
        new_topic("null-config", 1, &[]).with_configs(vec![
            CreatableTopicConfig::default().with_name(s("retention.ms")).with_value(None),
        ]),
        new_topic("create_good.7", 1, &[]),
        new_topic("__consumer_offsets_like", 1, &[]),
    ];
    for topic in wrong {
        conversation.ask(line, 7, creating(vec![topic]));
    }
    let assigned = |name: &str, count: i32, factor: i16, assignments: &[(i32, &[i32])]| {
        new_topic(name, count, &[]).with_replication_factor(factor).with_assignments(
            assignments
                .iter()
                .map(|(partition, brokers)| {
                    CreatableReplicaAssignment::default()
                        .with_partition_index(*partition)
                        .with_broker_ids(brokers.iter().map(|broker| BrokerId(*broker)).collect())
                })
                .collect(),
        )
    };
    for (at, topic) in [
        assigned("assigned-good", -1, -1, &[(0, &[1]), (1, &[1])]),
        assigned("assigned-count", 2, -1, &[(0, &[1])]),
        assigned("assigned-gap", -1, -1, &[(0, &[1]), (2, &[1])]),
        assigned("assigned-twice", -1, -1, &[(0, &[1]), (0, &[1])]),
        assigned("assigned-unknown", -1, -1, &[(0, &[9])]),
        assigned("assigned-empty", -1, -1, &[(0, &[])]),
        assigned("assigned-double", -1, -1, &[(0, &[1, 1])]),
    ]
    .into_iter()
    .enumerate()
    {
        conversation.ask(line, 5 + i16::try_from(at % 3).unwrap(), creating(vec![topic]));
    }
    // The same twice in one request; and one good, one bad.
    conversation.ask(
        line,
        7,
        creating(vec![new_topic("twin", 1, &[]), new_topic("twin", 2, &[]), new_topic("single", 1, &[])]),
    );
    conversation.ask(
        line,
        7,
        creating(vec![new_topic("mixed-good", 1, &[]), new_topic("mixed bad", 1, &[])]),
    );
    conversation.ask(line, 7, creating(vec![]));
    for name in ["assigned-good", "single", "mixed-good", "create-defaults-7"] {
        seen(conversation, line, name);
    }
}

pub(crate) fn delete_topics(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let named = |names: &[&str]| {
        DeleteTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topic_names(names.iter().map(|name| s(name)).collect())
    };
    for version in 1..=5 {
        let name = format!("delete-{version}");
        topic(conversation, line, &name, 1, &[]);
        conversation.ask(line, version, named(&[&name, "unknown"]));
        conversation.until(line, 12, metadata_of(&[&name]), |answer| {
            answer.topics.iter().all(|topic| topic.error_code == 3)
        });
        conversation.ask(line, version, named(&[&name]));
        conversation.ask(line, version, named(&["bad name"]));
        conversation.ask(line, version, named(&[]));
    }
    let a = topic(conversation, line, "delete-6a", 1, &[]);
    let b = topic(conversation, line, "delete-6b", 1, &[]);
    let by = |states: Vec<DeleteTopicState>| {
        DeleteTopicsRequest::default().with_timeout_ms(10_000).with_topics(states)
    };
    let name = |name: &str| DeleteTopicState::default().with_name(Some(s(name)));
    let id = |id: Uuid| DeleteTopicState::default().with_name(None).with_topic_id(id);
    conversation.ask(line, 6, by(vec![id(Uuid::from_u128(5))]));
    conversation.ask(line, 6, by(vec![id(Uuid::nil())]));
    conversation.ask(line, 6, by(vec![name("delete-6a").with_topic_id(a.id)]));
    conversation.ask(line, 6, by(vec![name("delete-6a"), name("delete-6a")]));
    conversation.ask(line, 6, by(vec![name("delete-6b"), id(b.id)]));
    conversation.ask(line, 6, by(vec![id(a.id)]));
    conversation.ask(line, 6, by(vec![name("delete-6b")]));
    conversation.until(line, 12, metadata_of(&["delete-6a", "delete-6b"]), |answer| {
        answer.topics.iter().all(|topic| topic.error_code == 3)
    });
    conversation.ask(line, 6, by(vec![id(a.id)]));
}

pub(crate) fn create_partitions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "grow", 1, &[]);
    let to = |name: &str, count: i32| {
        CreatePartitionsTopic::default().with_name(s(name)).with_count(count).with_assignments(None)
    };
    let grow = |topics: Vec<CreatePartitionsTopic>| {
        CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(10_000)
    };
    for version in 0..=3 {
        let count = i32::from(version) + 2;
        conversation.ask(line, version, grow(vec![to("grow", count)]).with_validate_only(true));
        conversation.ask(line, version, grow(vec![to("grow", count)]));
        conversation.until(line, 12, metadata_of(&["grow"]), |answer| {
            answer.topics.iter().all(|topic| topic.partitions.len() == usize::try_from(count).unwrap())
        });
        conversation.ask(line, version, grow(vec![to("grow", count)]));
        conversation.ask(line, version, grow(vec![to("grow", 1)]));
        conversation.ask(line, version, grow(vec![to("unknown", 3)]));
        conversation.ask(line, version, grow(vec![to("grow", -1)]));
        conversation.ask(line, version, grow(vec![to("grow", 0)]));
    }
    let assigned = |count: i32, brokers: &[&[i32]]| {
        to("grow", count).with_assignments(Some(
            brokers
                .iter()
                .map(|brokers| {
                    CreatePartitionsAssignment::default()
                        .with_broker_ids(brokers.iter().map(|broker| BrokerId(*broker)).collect())
                })
                .collect(),
        ))
    };
    conversation.ask(line, 3, grow(vec![assigned(7, &[&[1]])]));
    conversation.ask(line, 3, grow(vec![assigned(6, &[&[9]])]));
    conversation.ask(line, 3, grow(vec![assigned(6, &[&[1, 1]])]));
    conversation.ask(line, 3, grow(vec![assigned(6, &[&[]])]));
    conversation.ask(line, 3, grow(vec![assigned(6, &[&[1]])]));
    conversation.ask(line, 3, grow(vec![to("grow", 8), to("grow", 9)]));
    conversation.ask(line, 3, grow(vec![]));
}

fn describing_configs(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default().with_resources(vec![
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(s(name))
            .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| s(key)).collect())),
    ])
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(crate) fn configs(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    topic(conversation, line, "configs", 1, &[("cleanup.policy", "compact"), ("segment.bytes", "2097152")]);
    let some: &[&str] =
        &["cleanup.policy", "segment.bytes", "max.message.bytes", "retention.bytes", "no.such"];
    for version in 1..=4 {
        conversation.ask(line, version, describing_configs(TOPIC, "configs", Some(some)));
        conversation.ask(
            line,
            version,
            describing_configs(TOPIC, "configs", Some(some)).with_include_synonyms(true),
        );
        conversation.ask(line, version, describing_configs(TOPIC, "unknown", None));
        conversation.ask(line, version, describing_configs(TOPIC, "bad name", None));
        conversation.ask(line, version, describing_configs(TOPIC, "", None));
        conversation.ask(
            line,
            version,
            describing_configs(BROKER, "1", Some(&["message.max.bytes", "no.such"])),
        );
        conversation.ask(line, version, describing_configs(BROKER, "9", Some(&["message.max.bytes"])));
        conversation.ask(line, version, describing_configs(BROKER, "one", Some(&["message.max.bytes"])));
        conversation.ask(line, version, describing_configs(99, "x", None));
    }
    conversation.ask(line, 4, describing_configs(TOPIC, "configs", None));
    conversation.ask(line, 4, describing_configs(TOPIC, "configs", Some(&[])));

    let set = |name: &str, operation: i8, value: Option<&str>| {
        AlterableConfig::default()
            .with_name(s(name))
            .with_config_operation(operation)
            .with_value(value.map(s))
    };
    let alter = |kind: i8, name: &str, configs: Vec<AlterableConfig>| {
        IncrementalAlterConfigsRequest::default().with_resources(vec![
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(s(name))
                .with_configs(configs),
        ])
    };
    let now = |conversation: &mut Conversation, name: &'static str, wanted: fn(Option<&str>) -> bool| {
        conversation.until(
            line,
            4,
            describing_configs(TOPIC, "configs", Some(&["retention.ms", "cleanup.policy"])),
            |answer| {
                answer
                    .results
                    .iter()
                    .flat_map(|result| &result.configs)
                    .any(|config| &*config.name == name && wanted(config.value.as_deref()))
            },
        );
    };
    for version in 0..=1 {
        conversation.ask(
            line,
            version,
            alter(TOPIC, "configs", vec![set("retention.ms", 0, Some("12345"))]).with_validate_only(true),
        );
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("retention.ms", 0, Some("12345"))]));
        now(conversation, "retention.ms", |value| value == Some("12345"));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("retention.ms", 1, None)]));
        now(conversation, "retention.ms", |value| value != Some("12345"));
        conversation.ask(
            line,
            version,
            alter(TOPIC, "configs", vec![set("cleanup.policy", 2, Some("delete"))]),
        );
        now(conversation, "cleanup.policy", |value| value == Some("compact,delete"));
        conversation.ask(
            line,
            version,
            alter(TOPIC, "configs", vec![set("cleanup.policy", 3, Some("delete"))]),
        );
        now(conversation, "cleanup.policy", |value| value == Some("compact"));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("retention.ms", 0, Some("never"))]));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("no.such", 0, Some("1"))]));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("no.such", 1, None)]));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("retention.ms", 0, None)]));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("retention.ms", 2, Some("1"))]));
        conversation.ask(line, version, alter(TOPIC, "configs", vec![set("retention.ms", 9, Some("1"))]));
        conversation.ask(
            line,
            version,
            alter(TOPIC, "configs", vec![set("retention.ms", 0, Some("1")), set("retention.ms", 1, None)]),
        );
        conversation.ask(line, version, alter(TOPIC, "configs", vec![]));
        conversation.ask(line, version, alter(TOPIC, "unknown", vec![set("retention.ms", 0, Some("1"))]));
        conversation.ask(line, version, alter(TOPIC, "bad name", vec![set("retention.ms", 0, Some("1"))]));
        conversation.ask(line, version, alter(99, "x", vec![set("retention.ms", 0, Some("1"))]));
    }
}
