//! Calls as in users' programs, on a cluster in this process.

#![allow(clippy::unwrap_used)]
#![allow(clippy::needless_borrows_for_generic_args)] // users do not know what is needless

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use offtake_admin::{
    Admin, ClientConfig, Error, ErrorCode, ErrorKind, IsolationLevel, MemberToRemove, NewTopic, OffsetSpec,
    TopicPartition, config::ConfigError, dial::InMemory,
};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};

#[allow(dead_code, unreachable_pub)]
#[path = "../examples/in_memory.rs"]
mod in_memory;

#[tokio::test(start_paused = true)]
async fn a_tool_is_tested_without_a_network_and_in_virtual_time() {
    in_memory::run().await.unwrap();
}

/// Two topics of two partitions, ten records in each partition.
async fn cluster() -> Cluster {
    let cluster = Cluster::builder().topic("orders", 2).topic("returns", 2).start().await.unwrap();
    for topic in ["orders", "returns"] {
        for partition in [0, 1].repeat(10) {
            cluster.produce(topic, partition, None, Some(b"value")).unwrap();
        }
    }
    cluster
}

fn config(cluster: &Cluster) -> ClientConfig {
    ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap()
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

#[tokio::test]
async fn calls_take_one_or_many_by_value_or_by_reference() -> Result<(), Error> {
    let cluster = cluster().await;
    let mut admin = Admin::new(config(&cluster))?;
    let (partition, read) = (orders(0), IsolationLevel::ReadUncommitted);

    assert_eq!(admin.describe_topics("orders").await?.len(), 1);
    assert_eq!(admin.describe_topics(&["orders".to_owned(), "returns".to_owned()]).await?.len(), 2);
    assert_eq!(admin.list_offsets(("orders", 0), OffsetSpec::Latest, read).await?[&partition].offset, 10);
    assert_eq!(admin.list_offsets(&[orders(0), orders(1)], OffsetSpec::Earliest, read).await?.len(), 2);
    let altered = admin.alter_offsets("others", [(("orders", 0), 3), (("orders", 1), 4)]).await;
    assert!(altered.len() == 2 && altered.values().all(Result::is_ok), "{altered:?}");
    let of_group = admin.list_offsets_of_group("others").await?;
    assert_eq!(of_group[&partition].offset, 3);
    assert!(admin.alter_offsets("copy", &of_group).await.values().all(Result::is_ok));
    assert!(admin.delete_offsets("others", &partition).await[&partition].is_ok());
    assert_eq!(admin.list_offsets_of_group("others").await?.len(), 1);
    assert_eq!(admin.list_offsets_of_group("copy").await?.len(), 2);
    admin.close().await;
    Ok(())
}

#[tokio::test]
async fn an_error_has_its_cause_and_its_kind_a_name() {
    let refused = Admin::new(ClientConfig::default()).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.kind().to_string().as_str()),
        (ErrorKind::Config, "invalid configuration")
    );
    let cause = std::error::Error::source(&refused).unwrap();
    assert!(cause.is::<ConfigError>(), "{cause:?}");

    // No broker listens there any more.
    let gone = cluster().await;
    let config = config(&gone);
    gone.shutdown().await;
    let mut admin = Admin::new(config).unwrap();
    admin.within(Duration::from_millis(200));
    let unreachable = admin.list_topics(false).await.unwrap_err();
    assert_eq!(unreachable.kind(), ErrorKind::Unreachable, "{unreachable}");
    let cause = std::error::Error::source(&unreachable).unwrap();
    assert!(cause.to_string().contains("connection refused"), "{cause}");
    assert_eq!(unreachable.code(), None::<ErrorCode>);
}

#[tokio::test]
async fn the_beginnings_of_logs_are_deleted_and_each_partition_says_what_became_of_it() -> Result<(), Error> {
    let cluster = cluster().await;
    let mut admin = Admin::new(config(&cluster))?;
    let deleted = admin.delete_records([(("orders", 0), 4), (("orders", 1), 11), (("returns", 1), -1)]).await;
    assert_eq!(deleted[&orders(0)].as_ref().unwrap(), &4);
    assert_eq!(deleted[&TopicPartition::new("returns", 1)].as_ref().unwrap(), &10);
    let refused = deleted[&orders(1)].as_ref().unwrap_err();
    assert_eq!((refused.code(), refused.partition()), (Some(ErrorCode::OffsetOutOfRange), Some(&orders(1))));
    assert!(refused.to_string().contains("beyond the end of its log"), "{refused}");
    let read = IsolationLevel::ReadUncommitted;
    let first = admin.list_offsets([orders(0), orders(1)], OffsetSpec::Earliest, read).await?;
    assert_eq!((first[&orders(0)].offset, first[&orders(1)].offset), (4, 0));
    let again = admin.delete_records([(orders(0), 2)]).await;
    assert_eq!(again[&orders(0)].as_ref().unwrap(), &4, "what is gone stays gone");
    let missing = admin.delete_records([(("nosuch", 0), 0)]).await;
    let missing = missing[&TopicPartition::new("nosuch", 0)].as_ref().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::UnknownTopic);
    assert!(admin.delete_records(Vec::<(TopicPartition, i64)>::new()).await.is_empty());
    admin.close().await;
    Ok(())
}

#[tokio::test]
async fn a_missing_topic_costs_no_other_the_deletion_of_its_records() -> Result<(), Error> {
    let cluster = cluster().await;
    let mut admin = Admin::new(config(&cluster))?;
    let deleted = admin.delete_records([(("orders", 0), 4), (("nosuch", 0), 1), (("orders", 7), 1)]).await;
    assert_eq!(deleted[&orders(0)].as_ref().unwrap(), &4);
    for missing in [TopicPartition::new("nosuch", 0), orders(7)] {
        let refused = deleted[&missing].as_ref().unwrap_err();
        assert_eq!((refused.kind(), refused.partition()), (ErrorKind::UnknownTopic, Some(&missing)));
    }
    admin.close().await;
    Ok(())
}

/// One broker with the topic `orders` of three partitions. The second connection to it, which is used for requests to the
/// controller or to a coordinator, cannot be made.
async fn one_that_is_down_once() -> (Cluster, Admin) {
    let cluster = Cluster::builder().topic("orders", 3).in_memory().start().await.unwrap();
    let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap();
    let (inside, dials) = (cluster.clone(), Arc::new(AtomicUsize::new(0)));
    let dial = InMemory::new(move |port| match dials.fetch_add(1, Relaxed) {
        1 => Err(io::ErrorKind::ConnectionRefused.into()),
        _ => inside.connect(port),
    });
    (cluster, Admin::with_dial(config, dial).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_sent_does_not_count_as_carried_out() {
    let (_cluster, mut admin) = one_that_is_down_once().await;
    let orders = NewTopic { name: "orders".to_owned(), partitions: Some(6), ..NewTopic::default() };
    let refused = admin.create_topic(&orders).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::TopicAlreadyExists), "{refused}");

    let (_cluster, mut admin) = one_that_is_down_once().await;
    let refused = admin.delete_topic("nosuch").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UnknownTopicOrPartition), "{refused}");

    let (_cluster, mut admin) = one_that_is_down_once().await;
    let deleted = admin.delete_groups(["nosuch"]).await;
    let refused = deleted["nosuch"].as_ref().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::GroupIdNotFound), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_was_applied_without_a_response_counts_as_done() {
    let cluster = Cluster::builder().topic("orders", 3).in_memory().start().await.unwrap();
    let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap();
    let mut admin = Admin::with_dial(config, InMemory::new(cluster.connector())).unwrap();
    assert!(admin.alter_offsets("group", [(orders(0), 0)]).await.values().all(Result::is_ok));
    let lost = |api| cluster.inject(FaultRule::on(api, Fault::ApplyThenLose).once());

    // Whether the group had the member is no longer known.
    let member = MemberToRemove::Instance("one".to_owned());
    let removed = admin.remove_members("group", [member.clone()]).await;
    let refused = removed[&member].as_ref().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UnknownMemberId), "{refused}");
    lost(ApiKey::LeaveGroup);
    let removed = admin.remove_members("group", [member.clone()]).await;
    assert!(removed[&member].is_ok(), "{removed:?}");

    lost(ApiKey::DeleteGroups);
    assert!(admin.delete_groups(["group"]).await["group"].is_ok());
    lost(ApiKey::CreateTopics);
    let returns = NewTopic { name: "returns".to_owned(), partitions: Some(2), ..NewTopic::default() };
    assert_eq!(admin.create_topic(&returns).await.unwrap().partitions.len(), 2);
    lost(ApiKey::DeleteTopics);
    admin.delete_topic("returns").await.unwrap();
    admin.close().await;
}

#[tokio::test(start_paused = true)]
async fn records_written_while_a_log_is_emptied_stay() {
    let cluster = Cluster::builder().topic("orders", 3).in_memory().start().await.unwrap();
    let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap();
    let inside = cluster.clone();
    let mut admin = Admin::with_dial(config, InMemory::new(move |port| inside.connect(port))).unwrap();
    let write = || cluster.produce("orders", 0, None, Some(b"value")).unwrap();
    (0..10).for_each(|_| _ = write());
    let rule = cluster.inject(FaultRule::on(ApiKey::DeleteRecords, Fault::ApplyThenLose).once());
    let meanwhile = async {
        while cluster.hits(rule) == 0 {
            tokio::task::yield_now().await;
        }
        write();
    };
    let (deleted, ()) =
        tokio::join!(admin.delete_records([(("orders", 0), -1), (("orders", 1), -1)]), meanwhile);
    assert_eq!(*deleted[&orders(0)].as_ref().unwrap(), 10, "and not the eleventh");
    assert_eq!(*deleted[&orders(1)].as_ref().unwrap(), 0);
    admin.close().await;
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_when_a_broker_that_cannot_be_reached_is_no_longer_one() {
    let cluster = Cluster::builder().brokers(3).topic("orders", 3).in_memory().start().await.unwrap();
    let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap();
    let (inside, gone) = (cluster.clone(), cluster.port(2));
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let dial = InMemory::new(move |port| match Some(port) == gone {
        true => {
            counted.fetch_add(1, Relaxed);
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        false => inside.connect(port),
    });
    let mut admin = Admin::with_dial(config, dial).unwrap();
    cluster.with(|model, now| model.move_coordinator(now, "group", 1));
    assert!(admin.alter_offsets("group", [(orders(0), 0)]).await.values().all(Result::is_ok));
    cluster.with(|model, now| model.move_coordinator(now, "group", 2));
    refused.store(0, Relaxed);
    let dies = async {
        while refused.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        cluster.crash(2);
    };
    let (listed, ()) = tokio::join!(admin.list_groups(), dies);
    let listed = listed.unwrap();
    assert_eq!((listed.len(), listed[0].group.as_str()), (1, "group"));
    assert_ne!(listed[0].coordinator.0, 2);
    admin.close().await;
}

/// As a producer does that still writes to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_again_at_once_is_deleted_all_the_same() -> Result<(), Error> {
    let cluster = cluster().await;
    let mut admin = Admin::new(config(&cluster))?;
    admin.within(Duration::from_secs(60));
    let before = admin.describe_topics(["returns"]).await?.remove(0).id;
    let creates = async {
        while cluster.create_topic("returns", 5).is_err() {
            tokio::task::yield_now().await;
        }
    };
    let (deleted, ()) = tokio::join!(admin.delete_topic("returns"), creates);
    deleted?;
    let after = admin.describe_topics(["returns"]).await?.remove(0);
    assert!(after.id != before && after.partitions.len() == 5, "{after:?}");
    admin.close().await;
    Ok(())
}
