use kafka_protocol::{
    error::ResponseError as E,
    messages::{
        ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
        DescribeClusterRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest,
        IncrementalAlterConfigsRequest, MetadataRequest,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        describe_topic_partitions_request::{Cursor, TopicRequest},
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseTopic,
    },
};

use super::test_client::{TestClient, word};
use crate::Config;

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().map(|id| BrokerId(*id)).collect()
}

#[test]
fn replicas_rotate_over_the_brokers_and_the_first_leads() {
    let mut talk = TestClient::with_brokers(3);
    assert_eq!(talk.create("orders", 4, 2), 0);
    let topic = talk.topic("orders");
    let placed: Vec<_> = topic
        .partitions
        .iter()
        .map(|p| {
            (p.partition_index, p.leader_id.0, p.leader_epoch, p.replica_nodes.clone(), p.isr_nodes.clone())
        })
        .collect();
    let expected: Vec<_> = [[1, 2], [2, 3], [3, 1], [1, 2]]
        .iter()
        .zip(0..)
        .map(|(replicas, number)| (number, replicas[0], 0, ids(replicas), ids(replicas)))
        .collect();
    assert_eq!(placed, expected);
    assert_eq!(talk.create("payments", 1, 1), 0);
    assert_eq!(
        talk.topic("payments").partitions[0].leader_id,
        BrokerId(2),
        "the next topic starts elsewhere"
    );
}

#[test]
fn a_topic_that_may_not_be_is_refused_with_kafkas_code() {
    let mut talk = TestClient::with_brokers(2);
    assert_eq!(talk.create("a.b", 1, 1), 0);
    for (name, partitions, factor, error) in [
        ("a.b", 1, 1, E::TopicAlreadyExists),
        ("a_b", 1, 1, E::InvalidTopicException),
        ("", 1, 1, E::InvalidTopicException),
        ("..", 1, 1, E::InvalidTopicException),
        ("caf\u{e9}", 1, 1, E::InvalidTopicException),
        ("c", 0, 1, E::InvalidPartitions),
        ("c", -2, 1, E::InvalidPartitions),
        ("c", 1, 0, E::InvalidReplicationFactor),
        ("c", 1, 3, E::InvalidReplicationFactor),
    ] {
        assert_eq!(talk.create(name, partitions, factor), error.code(), "{name} {partitions} {factor}");
    }
    assert_eq!(talk.create(&"x".repeat(250), 1, 1), E::InvalidTopicException.code());
    assert_eq!(talk.create(&"x".repeat(249), 1, 1), 0);
}

#[test]
fn create_topics_checks_configs_and_assignments_and_may_only_validate() {
    let mut talk = TestClient::with_brokers(2);
    let assigned = |name: &str, assignments: &[(i32, &[i32])]| {
        let assignments = assignments.iter().map(|(partition, brokers)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*partition)
                .with_broker_ids(ids(brokers))
        });
        CreatableTopic::default()
            .with_name(word(name).into())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect())
    };
    let configured = |name: &str, key: &str, value: &str| {
        let config = CreatableTopicConfig::default().with_name(word(key)).with_value(Some(word(value)));
        CreatableTopic::default()
            .with_name(word(name).into())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(vec![config])
    };
    let topics = vec![
        assigned("good", &[(1, &[2, 1]), (0, &[1, 2])]),
        assigned("gap", &[(0, &[1]), (2, &[1])]),
        assigned("stranger", &[(0, &[9])]),
        assigned("uneven", &[(0, &[1]), (1, &[1, 2])]),
        configured("short", "retention.ms", "5000"),
        configured("wrong", "cleanup.policy", "burn"),
        configured("strange", "colour", "blue"),
        configured("twice", "retention.ms", "1"),
        configured("twice", "retention.ms", "2"),
    ];
    let request = CreateTopicsRequest::default().with_topics(topics).with_validate_only(true);
    let response = talk.ask(7, &request);
    let codes: Vec<_> =
        response.topics.iter().map(|topic| (topic.name.to_string(), topic.error_code)).collect();
    let expected = [
        ("good", 0),
        ("gap", E::InvalidReplicaAssignment.code()),
        ("stranger", E::InvalidReplicaAssignment.code()),
        ("uneven", E::InvalidReplicaAssignment.code()),
        ("short", 0),
        ("wrong", E::InvalidConfig.code()),
        ("strange", E::InvalidConfig.code()),
        ("twice", E::InvalidRequest.code()),
    ];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    let good = &response.topics[0];
    assert_eq!((good.num_partitions, good.replication_factor), (2, 2));
    assert_eq!(
        (response.topics[1].num_partitions, response.topics[1].configs.as_ref().map(Vec::len)),
        (-1, Some(0))
    );
    let configs = response.topics[4].configs.as_ref().expect("configs");
    let source =
        |name: &str| configs.iter().find(|config| config.name.as_str() == name).map(|it| it.config_source);
    assert_eq!((source("retention.ms"), source("cleanup.policy")), (Some(1), Some(5)));
    assert!(configs.is_sorted_by_key(|config| config.name.clone()));
    assert!(talk.metadata(13, None).topics.is_empty(), "it was only validated");

    talk.ask(7, &request.with_validate_only(false));
    assert_eq!(talk.topic("good").partitions[1].leader_id, BrokerId(2));
}

#[test]
fn every_version_of_create_topics_and_metadata_can_be_answered() {
    let mut talk = TestClient::with_brokers(1);
    for version in 2..=7 {
        let topic = CreatableTopic::default()
            .with_name(word(&format!("t{version}")).into())
            .with_num_partitions(1)
            .with_replication_factor(1);
        let response = talk.ask(version, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(response.topics[0].error_code, 0);
        assert_eq!(response.topics[0].topic_id.is_nil(), version < 7);
    }
    for version in 0..=13 {
        let known = talk.metadata(version, Some(&["t3", "nobody"]));
        let codes: Vec<i16> = known.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, E::UnknownTopicOrPartition.code()], "version {version}");
        assert_eq!(known.brokers[0].port, 9092);
        let none = talk.metadata(version, Some(&[])).topics.len();
        assert_eq!(none, if version == 0 { 6 } else { 0 }, "no topics are all topics in version 0 alone");
    }
}

#[test]
fn metadata_by_id_and_what_versions_10_and_11_make_of_it() {
    let mut talk = TestClient::with_brokers(1);
    talk.create("orders", 1, 1);
    let id = talk.topic("orders").topic_id;
    let by_id = |id| {
        let topic = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    assert_eq!(talk.ask(12, &by_id(id)).topics[0].name, Some(word("orders").into()));
    let stranger = talk.ask(13, &by_id(uuid::Uuid::from_u128(1))).topics.remove(0);
    assert_eq!((stranger.error_code, stranger.name), (E::UnknownTopicId.code(), None));
    let old = talk.ask(10, &by_id(id));
    assert_eq!(old.topics[0].error_code, E::InvalidRequest.code());
    assert!(old.brokers.is_empty());
    assert_eq!(old.controller_id, BrokerId(-1));
}

#[test]
fn a_topic_is_made_on_demand_where_both_sides_want_it() {
    let config = Config { auto_create_topics: true, num_partitions: 3, ..Config::default() };
    let mut talk = TestClient::new(config);
    assert_eq!(
        talk.topic("fresh").error_code,
        E::UnknownTopicOrPartition.code(),
        "known from the next answer on"
    );
    assert_eq!(talk.topic("fresh").partitions.len(), 3);
    let topic = MetadataRequestTopic::default().with_name(Some(word("other").into()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(true);
    for _ in 0..2 {
        assert_eq!(talk.ask(12, &request).topics[0].error_code, E::UnknownTopicOrPartition.code());
    }
    assert_eq!(talk.ask(12, &request).topics[0].topic_authorized_operations, 3576);
    assert_eq!(talk.topic("no good").error_code, E::InvalidTopicException.code());
}

#[test]
fn topics_are_deleted_by_name_and_by_id_and_grow() {
    let mut talk = TestClient::with_brokers(2);
    for name in ["a", "b", "c"] {
        talk.create(name, 2, 1);
    }
    let grown = |name: &str, count| {
        let topic = CreatePartitionsTopic::default().with_name(word(name).into()).with_count(count);
        CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)])
    };
    assert_eq!(talk.ask(3, &grown("a", 2)).results[0].error_code, E::InvalidPartitions.code());
    assert_eq!(talk.ask(3, &grown("z", 2)).results[0].error_code, E::UnknownTopicOrPartition.code());
    assert_eq!(talk.ask(3, &grown("a", 4)).results[0].error_code, 0);
    let leaders: Vec<i32> =
        talk.topic("a").partitions.iter().map(|partition| partition.leader_id.0).collect();
    assert_eq!(leaders, [1, 2, 1, 2], "it goes on where it had stopped");

    let id = talk.topic("b").topic_id;
    let named = |name: &str| DeleteTopicState::default().with_name(Some(word(name).into()));
    let identified = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let topics = vec![
        named("a"),
        identified(id),
        named("z"),
        identified(uuid::Uuid::from_u128(1)),
        named("c").with_topic_id(id),
    ];
    let response = talk.ask(6, &DeleteTopicsRequest::default().with_topics(topics));
    let mut codes: Vec<i16> = response.responses.iter().map(|topic| topic.error_code).collect();
    codes.sort_unstable();
    let refused =
        [E::UnknownTopicOrPartition, E::InvalidRequest, E::UnknownTopicId].map(|error| error.code());
    assert_eq!(codes, [&[0, 0], &refused[..]].concat());
    let old = DeleteTopicsRequest::default().with_topic_names(vec![word("c").into()]);
    assert_eq!(talk.ask(1, &old).responses[0].error_code, 0);
    assert!(talk.metadata(13, None).topics.is_empty());
}

#[test]
fn the_next_replica_leads_when_a_broker_dies_and_the_first_to_go_may_not_come_back_alone() {
    let mut talk = TestClient::with_brokers(3);
    talk.create("orders", 2, 2); // [1, 2], [2, 3]
    talk.kill(2);
    let topic = talk.topic("orders");
    let state = |topic: &MetadataResponseTopic, at: usize| {
        let partition = &topic.partitions[at];
        (partition.leader_id.0, partition.leader_epoch, partition.isr_nodes.clone(), partition.error_code)
    };
    assert_eq!(state(&topic, 0), (1, 0, ids(&[1]), 0), "a smaller ISR is no new epoch");
    assert_eq!(state(&topic, 1), (3, 1, ids(&[3]), 0));
    assert_eq!(topic.partitions[1].offline_replicas, ids(&[2]));
    let brokers = talk.metadata(13, None).brokers.len();
    assert_eq!(brokers, 2);

    talk.kill(3);
    assert_eq!(state(&talk.topic("orders"), 1), (-1, 2, vec![], E::LeaderNotAvailable.code()));
    talk.start(2);
    assert_eq!(state(&talk.topic("orders"), 1).0, -1, "broker 2 may lack what broker 3 wrote");
    talk.start(3);
    assert_eq!(state(&talk.topic("orders"), 1), (3, 3, ids(&[2, 3]), 0));
    assert_eq!(talk.model.move_leader("orders", 1, 2), Ok(()));
    assert_eq!(state(&talk.topic("orders"), 1), (2, 4, ids(&[2, 3]), 0));
}

#[test]
fn a_lonely_broker_leads_again_after_a_restart() {
    let mut talk = TestClient::with_brokers(2);
    talk.create("one", 1, 1);
    talk.create("two", 1, 1);
    talk.kill(2);
    assert_eq!(talk.topic("two").partitions[0].leader_id, BrokerId(-1));
    talk.start(2);
    let partition = talk.topic("two").partitions.remove(0);
    assert_eq!(
        (partition.leader_id, partition.leader_epoch, partition.isr_nodes),
        (BrokerId(2), 2, ids(&[2]))
    );
}

#[test]
fn internal_topics_are_led_by_the_coordinators() {
    let mut talk = TestClient::with_brokers(3);
    talk.model.ensure_internal_topic(super::OFFSETS_TOPIC);
    let topic = talk.topic("__consumer_offsets");
    assert!(topic.is_internal);
    assert_eq!(topic.partitions.len(), 50);
    for group in ["billing", "search", "a", "zz"] {
        let partition = usize::try_from(crate::nodes::partition_of(group)).expect("not negative");
        assert_eq!(
            Some(topic.partitions[partition].leader_id.0),
            talk.model.coordinator_of(group),
            "{group}"
        );
    }
}

#[test]
fn describe_topic_partitions_turns_pages() {
    let mut talk = TestClient::with_brokers(1);
    talk.create("a", 3, 1);
    talk.create("b", 2, 1);
    let ask = |talk: &mut TestClient, cursor: Option<(&str, i32)>| {
        let cursor = cursor.map(|(topic, partition)| {
            Cursor::default().with_topic_name(word(topic).into()).with_partition_index(partition)
        });
        let request =
            DescribeTopicPartitionsRequest::default().with_response_partition_limit(2).with_cursor(cursor);
        let response = talk.ask(0, &request);
        let shown: Vec<(String, Vec<i32>)> = response
            .topics
            .iter()
            .map(|topic| {
                let numbers = topic.partitions.iter().map(|partition| partition.partition_index).collect();
                (topic.name.as_ref().expect("a name").to_string(), numbers)
            })
            .collect();
        let next = response.next_cursor.map(|at| (at.topic_name.to_string(), at.partition_index));
        (shown, next)
    };
    let (first, second, third) =
        (ask(&mut talk, None), ask(&mut talk, Some(("a", 2))), ask(&mut talk, Some(("b", 1))));
    assert_eq!(first, (vec![("a".to_owned(), vec![0, 1])], Some(("a".to_owned(), 2))));
    let rest = vec![("a".to_owned(), vec![2]), ("b".to_owned(), vec![0])];
    assert_eq!(second, (rest, Some(("b".to_owned(), 1))));
    assert_eq!(third, (vec![("b".to_owned(), vec![1])], None));

    let missing = TopicRequest::default().with_name(word("z").into());
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![missing]);
    assert_eq!(talk.ask(0, &request).topics[0].error_code, E::UnknownTopicOrPartition.code());
}

#[test]
fn configs_are_changed_and_described() {
    let mut talk = TestClient::with_brokers(1);
    talk.create("orders", 1, 1);
    let alter = |talk: &mut TestClient, topic: &str, name: &str, operation: i8, value: Option<&str>| {
        let config = AlterableConfig::default()
            .with_name(word(name))
            .with_config_operation(operation)
            .with_value(value.map(word));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(word(topic))
            .with_configs(vec![config]);
        talk.ask(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).responses[0]
            .error_code
    };
    assert_eq!(alter(&mut talk, "orders", "retention.ms", 0, Some("1000")), 0);
    assert_eq!(alter(&mut talk, "orders", "cleanup.policy", 2, Some("compact")), 0);
    assert_eq!(alter(&mut talk, "orders", "retention.ms", 0, Some("soon")), E::InvalidConfig.code());
    assert_eq!(alter(&mut talk, "orders", "retention.ms", 2, Some("1")), E::InvalidConfig.code());
    assert_eq!(alter(&mut talk, "orders", "retention.ms", 0, None), E::InvalidRequest.code());
    assert_eq!(alter(&mut talk, "nobody", "retention.ms", 0, Some("1")), E::UnknownTopicOrPartition.code());

    let describe = |talk: &mut TestClient, kind: i8, name: &str| {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(word(name))
            .with_configuration_keys(None);
        let request =
            DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
        talk.ask(4, &request).results.remove(0)
    };
    let value = |result: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResult,
                 name: &str| {
        let config = result.configs.iter().find(|config| config.name.as_str() == name).expect("a config");
        (config.value.as_deref().unwrap_or_default().to_owned(), config.config_source)
    };
    let topic = describe(&mut talk, 2, "orders");
    assert_eq!(value(&topic, "retention.ms"), ("1000".to_owned(), 1));
    assert_eq!(value(&topic, "cleanup.policy"), ("delete,compact".to_owned(), 1));
    assert_eq!(value(&topic, "segment.bytes"), ("1073741824".to_owned(), 5));
    assert_eq!(describe(&mut talk, 2, "nobody").error_code, E::UnknownTopicOrPartition.code());
    assert_eq!(describe(&mut talk, 4, "2").error_code, E::InvalidRequest.code(), "only about itself");
    assert_eq!(value(&describe(&mut talk, 4, "1"), "num.partitions").0, "1");
    assert_eq!(alter(&mut talk, "orders", "retention.ms", 1, None), 0);
    assert_eq!(value(&describe(&mut talk, 2, "orders"), "retention.ms"), ("604800000".to_owned(), 5));
}

#[test]
fn a_groups_own_settings_are_described_and_checked() {
    const GROUP: i8 = 32;
    let mut talk = TestClient::with_brokers(1);
    let alter = |talk: &mut TestClient, name: &str, operation: i8, value: Option<&str>| {
        let config = AlterableConfig::default()
            .with_name(word(name))
            .with_config_operation(operation)
            .with_value(value.map(word));
        let resource = AlterConfigsResource::default()
            .with_resource_type(GROUP)
            .with_resource_name(word("g"))
            .with_configs(vec![config]);
        talk.ask(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).responses[0]
            .error_code
    };
    let described = |talk: &mut TestClient, group: &str| -> Vec<(String, i8)> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(GROUP)
            .with_resource_name(word(group))
            .with_configuration_keys(None);
        let result =
            talk.ask(4, &DescribeConfigsRequest::default().with_resources(vec![resource])).results.remove(0);
        let entries = result.configs.into_iter();
        entries
            .map(|c| (c.value.map(|value| value.to_string()).unwrap_or_default(), c.config_source))
            .collect()
    };
    let all = [("5000".to_owned(), 5), ("45000".to_owned(), 5)];
    assert_eq!(described(&mut talk, "g"), all);
    assert_eq!(alter(&mut talk, "consumer.session.timeout.ms", 0, Some("10000")), 0);
    assert_eq!(described(&mut talk, "g"), [("5000".to_owned(), 5), ("10000".to_owned(), 8)]);
    assert_eq!(described(&mut talk, "another"), all);
    let invalid = E::InvalidConfig.code();
    assert_eq!(
        alter(&mut talk, "consumer.heartbeat.interval.ms", 0, Some("10000")),
        invalid,
        "too slow for it"
    );
    assert_eq!(alter(&mut talk, "consumer.session.timeout.ms", 0, Some("soon")), invalid);
    assert_eq!(alter(&mut talk, "consumer.patience", 0, Some("1")), invalid);
    assert_eq!(alter(&mut talk, "consumer.session.timeout.ms", 1, None), 0);
    assert_eq!(described(&mut talk, "g"), all);
}

#[test]
fn describe_cluster_shows_fenced_brokers_on_request() {
    let mut talk = TestClient::with_brokers(2);
    talk.kill(2);
    for version in 0..=2 {
        assert_eq!(talk.ask(version, &DescribeClusterRequest::default()).brokers.len(), 1);
    }
    let all = talk.ask(2, &DescribeClusterRequest::default().with_include_fenced_brokers(true));
    let fenced: Vec<bool> = all.brokers.iter().map(|broker| broker.is_fenced).collect();
    assert_eq!(fenced, [false, true]);
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    assert_eq!(talk.ask(1, &controllers).error_code, E::MismatchedEndpointType.code());
}

#[test]
fn api_versions_names_features_and_wants_a_proper_client() {
    let mut talk = TestClient::with_brokers(1);
    let named = |name: &str, version: &str| {
        ApiVersionsRequest::default()
            .with_client_software_name(word(name))
            .with_client_software_version(word(version))
    };
    let new = talk.ask(4, &named("offtake", "0.1.0"));
    let level = |name: &str| {
        let feature = new.finalized_features.iter().find(|feature| feature.name.as_str() == name);
        feature.map(|feature| feature.max_version_level)
    };
    assert_eq!((level("group.version"), level("transaction.version")), (Some(1), Some(2)));
    let old = talk.ask(3, &named("offtake", "0.1.0"));
    assert_eq!(old.supported_features.len(), 1, "metadata.version alone starts above 0");
    for (name, version) in [("", "1"), ("offtake", "-1"), ("off take", "1")] {
        let refused = talk.ask(3, &named(name, version));
        assert_eq!(
            (refused.error_code, refused.api_keys.len()),
            (E::InvalidRequest.code(), 0),
            "{name} {version}"
        );
    }
    assert_eq!(
        talk.ask(0, &ApiVersionsRequest::default()).error_code,
        0,
        "before version 3 nobody has a name"
    );
}
