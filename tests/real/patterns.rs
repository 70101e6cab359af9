//! Patterns that the broker matches, and how members leave: the library against real Kafka and against the box.

use std::time::{Duration, Instant};

use offtake::{CloseOptions, Consumer, ErrorKind, GroupMembership, SubscriptionPattern};
use offtake_tests::{Boxed, JavaTool, RecordSpec, V4_3_0, shared, unique};

use crate::library::{A_MOMENT, program};

const SOON: Duration = Duration::from_secs(20);

fn modern(bootstrap: &str, group: &str) -> offtake::Builder {
    let builder = Consumer::builder(bootstrap).group(group).property("group.protocol", "consumer");
    builder.property("metadata.max.age.ms", "1000").property("auto.offset.reset", "latest")
}

/// Polls until this many records have arrived; returns their topics, sorted.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut topics = Vec::new();
    while topics.len() < count {
        let records = consumer.poll(A_MOMENT).await.unwrap();
        topics.extend(records.iter().map(|record| record.topic().to_string()));
    }
    topics.sort();
    topics
}

async fn owns(consumer: &mut Consumer, topics: &[&str]) {
    let until = Instant::now() + SOON;
    loop {
        consumer.poll(Duration::from_millis(100)).await.unwrap();
        let mut owned: Vec<String> =
            consumer.assignment().iter().map(|owned| owned.topic.to_string()).collect();
        owned.sort();
        owned.dedup();
        if owned == topics {
            return;
        }
        assert!(Instant::now() < until, "{owned:?}, not {topics:?}");
    }
}

fn records(topic: &str, count: usize) -> Vec<RecordSpec> {
    (0..count).map(|nth| RecordSpec::to(topic).partition(0).value(nth.to_string())).collect()
}

/// A matching topic is read, one created later from its first record, and names replace the pattern.
fn subscribes_by_pattern(bootstrap: &str, tool: &JavaTool) {
    let stem = unique("pattern");
    let [early, late, other] = ["a", "b", "z"].map(|end| format!("{stem}-{end}"));
    tool.create_topic(&early, 2, &[]);
    tool.create_topic(&other, 1, &[]);
    program(async {
        let mut consumer = modern(bootstrap, &unique("group")).build().await.unwrap();
        let pattern = SubscriptionPattern::new(format!("{stem}-[a-c]"));
        consumer.subscribe_pattern(pattern).await.unwrap();
        owns(&mut consumer, &[&early]).await;
        // Its position is the present end: later records are read.
        while !consumer.assignment().iter().all(|place| consumer.position(place).is_some()) {
            assert!(consumer.poll(Duration::from_millis(100)).await.unwrap().is_empty());
        }
        tool.produce(&records(&early, 3));
        assert_eq!(read(&mut consumer, 3).await, vec![early.clone(); 3]);

        tool.create_topic(&late, 1, &[]);
        tool.produce(&records(&late, 5));
        assert_eq!(read(&mut consumer, 5).await, vec![late.clone(); 5], "whatever auto.offset.reset says");
        owns(&mut consumer, &[&early, &late]).await;

        consumer.subscribe([other.as_str()]).await.unwrap();
        owns(&mut consumer, &[&other]).await;
        consumer.subscribe_pattern(SubscriptionPattern::new(format!("{stem}-b"))).await.unwrap();
        owns(&mut consumer, &[&late]).await;
        consumer.close(SOON).await.unwrap();
    });
}

#[test]
fn b7_b4_topics_that_match_at_the_broker_are_read_as_they_come() {
    let of = shared(V4_3_0);
    subscribes_by_pattern(&of.kafka.bootstrap(), &of.tool);
}

#[test]
fn b7_b4_topics_that_match_in_the_box_are_read_as_they_come() {
    let boxed = Boxed::start(&[]);
    subscribes_by_pattern(boxed.bootstrap(), &boxed.tool);
}

fn is_told_of_an_invalid_pattern(bootstrap: &str, tool: &JavaTool) {
    let topic = tool.create_topic(&unique("pattern"), 1, &[]);
    program(async {
        let mut consumer = modern(bootstrap, &unique("group")).build().await.unwrap();
        consumer.subscribe_pattern(SubscriptionPattern::new("orders-(")).await.unwrap();
        let until = Instant::now() + SOON;
        let error = loop {
            match consumer.poll(A_MOMENT).await {
                Ok(_) => assert!(Instant::now() < until),
                Err(error) => break error,
            }
        };
        assert!(error.kind() == ErrorKind::Group && error.is_fatal(), "{error:?}");
        assert!(error.to_string().contains("`orders-(`"), "{error}");
        for _ in 0..4 {
            let again = consumer.poll(A_MOMENT).await.unwrap_err();
            assert_eq!(again.to_string(), error.to_string(), "until something else is subscribed to");
        }
        consumer.subscribe_pattern(SubscriptionPattern::new(topic.clone())).await.unwrap();
        owns(&mut consumer, &[&topic]).await;
        consumer.close(SOON).await.unwrap();
    });
}

#[test]
fn f11_a_pattern_that_the_broker_cannot_read_is_told_until_another_is_subscribed_to() {
    let of = shared(V4_3_0);
    is_told_of_an_invalid_pattern(&of.kafka.bootstrap(), &of.tool);
}

#[test]
fn f11_a_pattern_that_the_box_cannot_read_is_told_until_another_is_subscribed_to() {
    let boxed = Boxed::start(&[]);
    is_told_of_an_invalid_pattern(boxed.bootstrap(), &boxed.tool);
}

#[test]
fn f11_a_classic_consumer_is_told_at_once_that_it_has_no_such_patterns() {
    program(async {
        let mut consumer = Consumer::builder("127.0.0.1:1").group("g").build().await.unwrap();
        let refused = consumer.subscribe_pattern(SubscriptionPattern::new("a")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misuse);
        assert!(refused.to_string().contains("group.protocol=consumer"), "{refused}");
    });
}

/// How many members the coordinator still counts after one has closed with these options.
fn members_after(protocol: &str, instance: bool, group_membership: GroupMembership) -> usize {
    let of = shared(V4_3_0);
    let topic = of.tool.create_topic(&unique("leaving"), 1, &[]);
    let group = unique("group");
    program(async {
        let mut builder =
            Consumer::builder(of.kafka.bootstrap()).group(&group).property("group.protocol", protocol);
        if instance {
            builder = builder.property("group.instance.id", "i");
        }
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        owns(&mut consumer, &[&topic]).await;
        let options = CloseOptions::timeout(SOON).group_membership(group_membership);
        consumer.close_with(options).await.unwrap();
    });
    of.tool.describe_group(&group)["members"].as_array().map_or(0, Vec::len)
}

#[test]
fn e8_a_consumer_leaves_its_group_or_stays_as_it_is_told() {
    for protocol in ["classic", "consumer"] {
        for (instance, membership, stay) in [
            (false, GroupMembership::Default, 0),
            (false, GroupMembership::Remain, 1),
            (true, GroupMembership::Default, 1),
            (true, GroupMembership::Remain, 1),
            (true, GroupMembership::Leave, 0),
        ] {
            let left = members_after(protocol, instance, membership);
            assert_eq!(left, stay, "{protocol}, static: {instance}, {membership:?}");
        }
    }
}
