//! The seams: what must hold between two polls, between a handle and its consumer, and between two members. Small
//! programs against the public interface, with defaults unless a test says otherwise.

mod around;
mod commits;
mod endless;
mod ends;
mod errors;
mod pauses;
mod places;
mod polls;
mod slow_member;

use std::time::{Duration, Instant};

use offtake::{Builder, Consumer, TopicPartition};
use offtake_tests::Shared;
use serde_json::json;

use crate::library::at;

/// The limit of a wait whose exact length does not matter.
const PATIENCE: Duration = Duration::from_secs(30);

/// A consumer of a group, from the first record on.
fn member(of: &Shared, group: &str) -> Builder {
    Consumer::builder(of.kafka.bootstrap()).group(group).property("auto.offset.reset", "earliest")
}

/// `count` records of `size` bytes, distributed over all partitions of a new topic.
fn bulk(of: &Shared, name: &str, partitions: i32, count: u64, size: usize) -> String {
    let topic = of.tool.create_topic(&offtake_tests::unique(name), partitions, &[]);
    of.tool.fill(&topic, partitions, count, size, json!({}));
    topic
}

fn all(topic: &str, partitions: i32) -> Vec<TopicPartition> {
    (0..partitions).map(|index| at(topic, index)).collect()
}

/// Polls, and keeps nothing, until `enough`; fails the test if that does not happen.
async fn poll_until(consumer: &mut Consumer, what: &str, mut enough: impl FnMut(&Consumer) -> bool) {
    let began = Instant::now();
    while !enough(consumer) {
        drop(consumer.poll(Duration::from_millis(50)).await.unwrap());
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
    }
}

/// The sum over all partitions of the group's committed offsets, as the broker reports it to another client.
async fn committed(of: &Shared, group: &str) -> i64 {
    let (tool, group) = (of.tool.clone(), group.to_owned());
    let ask = move || tool.committed(&group).into_values().sum();
    tokio::task::spawn_blocking(ask).await.expect("Java's admin client answers")
}
