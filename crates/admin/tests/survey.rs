//! Requests about many items at once, on a cluster in this process.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use offtake_admin::{
    Admin, BrokerId, ClientConfig, ErrorCode, IsolationLevel, OffsetSpec, TopicPartition,
    dial::InMemory,
    survey::{ClusterDescription, RecordTime},
};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, KafkaVersion, NewRecord, Rewrite};

const LIMIT: Duration = Duration::from_secs(2);

/// `orders` of three partitions, at three brokers.
async fn three() -> (Cluster, Admin) {
    let cluster = Cluster::builder().brokers(3).topic("orders", 3).in_memory().start().await.unwrap();
    let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap();
    let admin = Admin::with_dial(config, InMemory::new(cluster.connector())).unwrap();
    (cluster, admin)
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn leaders(of: &ClusterDescription) -> BTreeMap<BrokerId, Vec<TopicPartition>> {
    let mut leaders: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (partition, info) in &of.topics["orders"].partitions {
        leaders.entry(info.leader.unwrap()).or_default().push(orders(*partition));
    }
    leaders
}

fn stamped(at: i64, bytes: usize) -> NewRecord {
    NewRecord::new("v".repeat(bytes)).timestamp(1_700_000_000_000 + at)
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_gone_fails_for_its_own_part() {
    let (cluster, mut admin) = three().await;
    let seen = admin.survey(LIMIT).cluster(None).await.unwrap();
    assert_eq!((seen.brokers.len(), seen.topics.len()), (3, 1));
    let few = admin.survey(LIMIT).cluster(Some(&BTreeSet::from(["nosuch".into()]))).await.unwrap();
    assert!(few.topics.is_empty() && few.brokers.len() == 3);
    cluster.crash(2);
    let leaders = leaders(&seen);
    let lost = leaders[&BrokerId(2)].clone();
    let answers =
        admin.survey(LIMIT).list_offsets(&leaders, OffsetSpec::Latest, IsolationLevel::ReadUncommitted).await;
    assert_eq!(answers.found.len(), 3 - lost.len());
    assert_eq!(answers.failed.len(), 1);
    assert_eq!((answers.failed[0].broker, &answers.failed[0].about), (BrokerId(2), &lost));
    assert!(answers.failed[0].error.to_string().contains("cannot list offsets of broker 2"), "{answers:?}");
    let answers = admin.survey(LIMIT).groups(seen.brokers.keys().copied()).await;
    assert_eq!((answers.found.len(), answers.failed.len()), (2, 1));
    admin.close().await;
}

#[tokio::test(start_paused = true)]
async fn committed_offsets_of_many_groups_are_requested_from_each_coordinator_at_once() {
    let (_cluster, mut admin) = three().await;
    let names: Vec<_> = (0..30).map(|nth| format!("group-{nth}")).collect();
    for (name, offset) in names.iter().zip(0..) {
        assert!(admin.alter_offsets(name, [(orders(0), offset)]).await.values().all(Result::is_ok));
    }
    let seen = admin.survey(LIMIT).cluster(None).await.unwrap();
    let listed = admin.survey(LIMIT).groups(seen.brokers.keys().copied()).await;
    let listed: Vec<_> = listed.found.into_values().flatten().collect();
    assert_eq!(listed.len(), 30);
    let at = listed.iter().map(|group| (group.coordinator, group.group.clone()));
    let mut committed = admin.survey(LIMIT).committed(at).await;
    assert!(committed.failed.is_empty(), "{committed:?}");
    for (name, offset) in names.iter().zip(0..) {
        assert_eq!(committed.found.remove(name).unwrap(), BTreeMap::from([(orders(0), offset)]));
    }
    let described = admin.survey(LIMIT).describe_groups(&seen, &listed).await;
    assert_eq!((described.found.len(), described.failed.len()), (30, 0));
    let one = &described.found["group-7"];
    assert_eq!((one.state.as_str(), one.members.len(), one.host.is_empty()), ("Empty", 0, false));
    // A broker that is not the coordinator returns nothing.
    let elsewhere = seen.brokers.keys().copied().find(|broker| *broker != one.coordinator).unwrap();
    let answers = admin.survey(LIMIT).committed([(elsewhere, "group-7".to_owned())]).await;
    assert_eq!(answers.failed[0].error.code(), Some(ErrorCode::NotCoordinator));
    assert!(answers.failed[0].error.is_retriable() && answers.found.is_empty());
    admin.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_timestamp_of_a_record_is_that_of_the_first_at_or_after_an_offset() {
    let (cluster, mut admin) = three().await;
    // Three records in a batch, one alone, and one that is larger than the limit for many reads at once.
    cluster.append("orders", 0, &[stamped(30, 1), stamped(10, 1), stamped(20, 1)]).unwrap();
    cluster.append("orders", 0, &[stamped(40, 1)]).unwrap();
    cluster.append("orders", 0, &[stamped(50, 100_000)]).unwrap();
    cluster.append("orders", 1, &[stamped(60, 1), stamped(61, 1)]).unwrap();
    cluster.append("orders", 2, &[stamped(70, 1)]).unwrap();
    cluster.with(|model, _| model.delete_records_before("orders", 2, 1));
    let seen = admin.survey(LIMIT).cluster(None).await.unwrap();
    let mut at: BTreeMap<BrokerId, Vec<_>> = BTreeMap::new();
    for (leader, partitions) in leaders(&seen) {
        for partition in partitions {
            at.entry(leader).or_default().extend((0..6).map(|offset| (partition.clone(), offset)));
        }
    }
    let answers = admin.survey(LIMIT).record_times(&at).await;
    let of = |partition, offset| answers.found.get(&(orders(partition), offset)).copied();
    let at = |at: i64| Some(RecordTime::At { timestamp: 1_700_000_000_000 + at, error_ms: 0 });
    assert_eq!([0, 1, 2, 3, 4].map(|offset| of(0, offset)), [at(30), at(10), at(20), at(40), at(50)]);
    assert_eq!([0, 1, 2].map(|offset| of(1, offset)), [at(60), at(61), Some(RecordTime::NoRecord)]);
    assert_eq!(of(2, 1), Some(RecordTime::NoRecord), "the end of an empty log");
    // Before the start of a log and after its end, there is nothing to read.
    let failed: BTreeSet<_> = answers.failed.iter().flat_map(|failed| failed.about.iter().cloned()).collect();
    assert!(answers.failed.iter().all(|failed| failed.error.code() == Some(ErrorCode::OffsetOutOfRange)));
    assert!(failed.contains(&(orders(2), 0)) && failed.contains(&(orders(1), 5)), "{failed:?}");
    admin.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_topics_are_those_that_are_asked_for() {
    let (_cluster, mut admin) = three().await;
    admin.survey(LIMIT).cluster(None).await.unwrap();
    let topics = ["orders".into(), "nosuch".into()];
    let answers =
        admin.survey(LIMIT).topic_configs(BrokerId(1), &topics, &["retention.ms", "cleanup.policy"]).await;
    let orders = &answers.found["orders"];
    let expected = [("cleanup.policy", "delete"), ("retention.ms", "604800000")];
    assert_eq!(
        orders.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(answers.failed[0].error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    admin.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_sizes_of_logs_are_those_of_their_leaders() {
    let refused = ErrorCode::ClusterAuthorizationFailed;
    // The refusals of newer and older brokers.
    let newer = Fault::Fail(refused.code());
    let older = Fault::Rewrite(Rewrite::no_log_dirs());
    for (vintage, refusal) in [(None, newer), (Some(KafkaVersion::V2_8), older)] {
        let (cluster, mut admin) = three().await;
        if let Some(vintage) = vintage {
            (1..=3).for_each(|broker| cluster.with(|model, _| model.set_kafka_version(broker, vintage)));
        }
        for offset in 0..4 {
            cluster.append("orders", 0, &[stamped(offset, 1000)]).unwrap();
        }
        let seen = admin.survey(LIMIT).cluster(None).await.unwrap();
        let leaders = leaders(&seen);
        let answers = admin.survey(LIMIT).sizes(&leaders).await;
        let sizes: Vec<_> = (0..3).map(|partition| answers.found[&orders(partition)]).collect();
        assert!((4000..4600).contains(&sizes[0]) && sizes[1..] == [0, 0], "{sizes:?}");
        assert!(answers.failed.is_empty());
        // Replicas on their way to another disk do not count, nor do failed disks.
        let rule = cluster.inject(FaultRule::on(ApiKey::DescribeLogDirs, Rewrite::future_replicas(1 << 40)));
        assert_eq!(admin.survey(LIMIT).sizes(&leaders).await.found, answers.found);
        cluster.withdraw(rule);
        // If a broker does not have the partition, it is missing in the result.
        let elsewhere = BTreeMap::from([(BrokerId(1), vec![TopicPartition::new("nosuch", 0)])]);
        let answers = admin.survey(LIMIT).sizes(&elsewhere).await;
        assert!(answers.found.is_empty() && answers.failed.is_empty(), "{answers:?}");
        // A refusal is reported for each partition.
        cluster.inject(FaultRule::on(ApiKey::DescribeLogDirs, refusal));
        let answers = admin.survey(LIMIT).sizes(&leaders).await;
        let failed: usize = answers.failed.iter().map(|failed| failed.about.len()).sum();
        assert!(answers.found.is_empty() && failed == 3, "{answers:?}");
        assert!(answers.failed.iter().all(|failed| failed.error.code() == Some(refused)), "{answers:?}");
        admin.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_that_take_one_group_a_request_answer_for_ten_thousand() {
    let (cluster, mut admin) = three().await;
    cluster.with(|model, _| (1..=3).for_each(|broker| model.set_kafka_version(broker, KafkaVersion::V2_8)));
    let seen = admin.survey(LIMIT).cluster(None).await.unwrap();
    // An unknown group has no committed offsets, whichever broker is asked.
    let at = |broker, count| (0..count).map(move |nth| (BrokerId(broker), format!("group-{broker}-{nth}")));
    admin.survey(LIMIT).groups(seen.brokers.keys().copied()).await;
    let answers = admin.survey(LIMIT).committed(at(1, 10_000)).await;
    let found = answers.found.len() + answers.failed.iter().map(|failed| failed.about.len()).sum::<usize>();
    assert_eq!(found, 10_000, "each is told of");
    let codes: BTreeSet<_> = answers.failed.iter().map(|failed| failed.error.code()).collect();
    assert!(codes.iter().all(|code| *code == Some(ErrorCode::NotCoordinator)), "{codes:?}");
    // A silent broker does not affect the groups of another.
    cluster.pause(2);
    let answers = admin.survey(LIMIT).committed(at(2, 5000).chain(at(3, 2000))).await;
    let silent: usize = answers
        .failed
        .iter()
        .filter(|failed| failed.broker == BrokerId(2))
        .map(|failed| failed.about.len())
        .sum();
    assert_eq!(silent, 5000);
    let of_other = answers.failed.iter().filter(|failed| failed.broker == BrokerId(3));
    let codes: BTreeSet<_> = of_other.map(|failed| failed.error.code()).collect();
    assert!(codes.iter().all(|code| *code == Some(ErrorCode::NotCoordinator)), "{codes:?}");
    admin.close().await;
}
