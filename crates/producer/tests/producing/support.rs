//! A cluster, a producer for it, and readers of its logs.

use std::{collections::BTreeMap, time::Duration};

use offtake::Consumer;
use offtake_broker::Cluster;
use offtake_producer::{Builder, Delivery, Error, Producer, RecordMetadata, dial::InMemory};

pub(crate) async fn cluster() -> Cluster {
    Cluster::builder().brokers(3).topic("orders", 4).in_memory().start().await.unwrap()
}

pub(crate) fn producer(cluster: &Cluster) -> Builder {
    Producer::builder(cluster.bootstrap())
        .spawn_on(tokio::runtime::Handle::current())
        .dial(InMemory::new(cluster.connector()))
        .replay(7, 1_700_000_000_000)
}

/// The records read from one partition: offset and value.
pub(crate) type Log = Vec<(i64, String)>;

/// All records of a topic, by partition.
pub(crate) async fn logs(cluster: &Cluster, topic: &str) -> BTreeMap<i32, Log> {
    read(cluster, topic, "read_uncommitted").await
}

/// The committed records of a topic, by partition.
pub(crate) async fn committed_logs(cluster: &Cluster, topic: &str) -> BTreeMap<i32, Log> {
    read(cluster, topic, "read_committed").await
}

async fn read(cluster: &Cluster, topic: &str, isolation: &str) -> BTreeMap<i32, Log> {
    let mut consumer = Consumer::builder(cluster.bootstrap())
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake::dial::InMemory::new(cluster.connector()))
        .property("isolation.level", isolation)
        .build()
        .await
        .unwrap();
    let partitions = cluster.with(|model, _| model.partition_count(topic)).unwrap();
    consumer.assign((0..partitions).map(|partition| (topic, partition, 0))).await.unwrap();
    let ends = consumer.end_offsets(consumer.assignment()).await.unwrap();
    let mut logs: BTreeMap<i32, Log> = (0..partitions).map(|partition| (partition, Vec::new())).collect();
    loop {
        let mut left = false;
        for partition in consumer.assignment() {
            left |= consumer.position(&partition).is_none_or(|at| at < *ends.get(&partition).unwrap());
        }
        if !left {
            return logs;
        }
        for record in &consumer.poll(Duration::from_secs(5)).await.unwrap() {
            let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            logs.get_mut(&record.partition()).unwrap().push((record.offset(), value));
        }
    }
}

/// The outcomes of these deliveries, in order.
pub(crate) async fn outcomes(deliveries: Vec<Delivery>) -> Vec<Result<RecordMetadata, Error>> {
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(delivery.await);
    }
    outcomes
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
