//! Calls as users write them, on a cluster in this process.

#![allow(clippy::unwrap_used)]
#![allow(clippy::needless_borrows_for_generic_args)] // users do not know what is needless

use std::time::Duration;

use offtake_admin::{
    Admin, ClientConfig, Error, ErrorCode, ErrorKind, IsolationLevel, OffsetSpec, TopicPartition,
    config::ConfigError,
};
use offtake_broker::Cluster;

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

    // Nobody listens there any more.
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
    assert!(refused.to_string().contains("does not reach"), "{refused}");
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
