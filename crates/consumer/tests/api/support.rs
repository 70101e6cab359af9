//! A cluster with two topics, and a member that reads one of them.

use std::time::Duration;

use offtake::{Consumer, TopicPartition};
use offtake_broker::Cluster;

pub(crate) const A_WHILE: Duration = Duration::from_secs(20);

/// Two topics of two partitions, ten records in each partition.
pub(crate) async fn cluster() -> Cluster {
    let cluster = Cluster::builder().topic("orders", 2).topic("returns", 2).start().await.unwrap();
    for topic in ["orders", "returns"] {
        for (partition, record) in (0..2).flat_map(|partition| (0..10).map(move |record| (partition, record)))
        {
            let value = format!("{record}");
            cluster.produce(topic, partition, None, Some(value.as_bytes())).unwrap();
        }
    }
    cluster
}

pub(crate) fn member(cluster: &Cluster) -> offtake::Builder {
    Consumer::builder(cluster.bootstrap()).group("guess").property("auto.offset.reset", "earliest")
}

/// A member of a group that owns all of `orders`, and has read it.
pub(crate) async fn reading(cluster: &Cluster) -> Consumer {
    let mut consumer = member(cluster).build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    read(&mut consumer, 20).await;
    consumer
}

pub(crate) async fn read(consumer: &mut Consumer, records: usize) {
    let mut left = records;
    while left > 0 {
        let records = consumer.poll(A_WHILE).await.unwrap();
        assert!(!records.is_empty(), "{left} records are still to come");
        left -= records.len();
    }
}

pub(crate) fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}
