//! Tests of how long starting takes.

use std::time::Duration;

use offtake::{Consumer, ErrorKind, Event, Listener, ListenerFuture, Rebalance, SubscriptionPattern};
use offtake_broker::{Fault, FaultRule};
use tokio::time::{Instant, sleep};

use crate::support::{Events, Log, cluster, member, poll_for, poll_until, read, virtually};

/// The start of one partition is known a moment before that of another: a committed offset is validated, and
/// a missing one is looked up. With no new record in the first, the second used to wait for
/// `fetch.max.wait.ms`, 500 ms by default, as in Java.
#[test]
fn a_partition_that_starts_a_moment_later_does_not_wait_for_a_long_poll() {
    virtually(async {
        let cluster = cluster(2).await;
        let mut before = member(&cluster, "before").build().await.unwrap();
        before.assign([("orders", 0)]).await.unwrap();
        read(&mut before, 3).await;
        before.close(Duration::from_secs(5)).await.unwrap();
        cluster.inject(FaultRule::any(Fault::Delay(Duration::from_millis(10))));
        let mut consumer = member(&cluster, "after").build().await.unwrap();
        let began = Instant::now();
        consumer.subscribe(["orders"]).await.unwrap();
        assert_eq!(consumer.poll(Duration::from_secs(5)).await.unwrap().len(), 3);
        assert!(began.elapsed() < Duration::from_millis(300), "it took {:?}", began.elapsed());
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
}

/// A listener that takes its time, and then seeks to the start position.
struct FromTwo;

impl Listener for FromTwo {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        Box::pin(async move {
            sleep(Duration::from_secs(2)).await;
            for partition in rebalance.partitions {
                rebalance.consumer.seek(partition, 2).await?;
            }
            Ok(())
        })
    }
}

/// The start of a partition is looked up while the listener still runs: the result is ignored once the
/// listener has sought.
#[test]
fn m9_a_listener_that_seeks_is_before_whatever_auto_offset_reset_says() {
    for reset in ["none", "latest", "earliest"] {
        virtually(async {
            let cluster = cluster(2).await;
            let builder = member(&cluster, "c").property("auto.offset.reset", reset).listener(FromTwo);
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            let mut offsets = Vec::new();
            while offsets.len() < 2 {
                let records = consumer.poll(Duration::from_secs(5)).await.unwrap();
                assert!(!records.is_empty(), "{reset}: {offsets:?}");
                offsets.extend(records.iter().map(|record| record.offset()));
            }
            assert_eq!(offsets, [2, 2], "{reset}");
            consumer.close(Duration::from_secs(5)).await.unwrap();
        });
    }
}

#[test]
fn that_no_topic_matches_is_reported_once_and_the_first_one_is_read_from_its_beginning() {
    virtually(async {
        for by_broker in [false, true] {
            let cluster = cluster(1).await;
            let events = Events::default();
            let builder = events.of(member(&cluster, "c").property("auto.offset.reset", "latest"));
            let builder = builder.property("group.protocol", if by_broker { "consumer" } else { "classic" });
            let mut consumer = builder.property("metadata.max.age.ms", 5000).build().await.unwrap();
            let says = match by_broker {
                true => {
                    consumer.subscribe_pattern(SubscriptionPattern::new("off.*")).await.unwrap();
                    "no topic matches `off.*`: "
                }
                false => {
                    consumer.subscribe_patterns(["off.*", "o"]).await.unwrap();
                    "no topic matches `off.*`, `o`: "
                }
            };
            poll_for(&mut consumer, Duration::from_secs(60)).await;
            let is_told =
                |event: &Event| matches!(event, Event::Error(error) if error.to_string().starts_with(says));
            assert_eq!(events.count(is_told), 1, "{by_broker}");
            cluster.create_topic("offers", 1).unwrap();
            cluster.produce("offers", 0, None, Some(b"first")).unwrap();
            read(&mut consumer, 1).await;
            assert_eq!(events.count(is_told), 1, "{by_broker}");
            consumer.close(Duration::from_secs(5)).await.unwrap();
        }
    });
}

/// Whatever is listed for another question may be minutes old: it does not show what existed at the subscription.
#[test]
fn b4_a_pattern_learns_at_once_which_topics_exist_and_reads_them_as_auto_offset_reset_says() {
    virtually(async {
        for by_patterns_before in [false, true] {
            let cluster = cluster(1).await;
            let builder = member(&cluster, "c").property("auto.offset.reset", "latest");
            let mut consumer = builder.build().await.unwrap();
            match by_patterns_before {
                true => {
                    consumer.subscribe_patterns(["orders"]).await.unwrap();
                    poll_until(&mut consumer, |consumer| !consumer.assignment().is_empty()).await;
                }
                false => assert_eq!(consumer.topics_matching(["o.*"]).await.unwrap().len(), 1),
            }
            cluster.create_topic("offers", 1).unwrap();
            cluster.produce("offers", 0, None, Some(b"before")).unwrap();
            poll_for(&mut consumer, Duration::from_secs(60)).await;
            let began = Instant::now();
            consumer.subscribe_patterns(["off.*"]).await.unwrap();
            let is_assigned = |consumer: &Consumer| {
                consumer.assignment().iter().any(|partition| partition.topic == "offers")
            };
            poll_until(&mut consumer, is_assigned).await;
            assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
            poll_until(&mut consumer, |consumer| consumer.position(("offers", 0)).is_some()).await;
            cluster.produce("offers", 0, None, Some(b"after")).unwrap();
            let records = consumer.poll(Duration::from_secs(5)).await.unwrap();
            let values: Vec<_> = records.iter().filter_map(|record| record.value()).collect();
            assert_eq!(values, [&b"after"[..]], "{by_patterns_before}");
            consumer.close(Duration::from_secs(5)).await.unwrap();
        }
    });
}

/// The same pattern again, for example after an error of `poll`, or before each one.
#[test]
fn b4_a_topic_that_is_created_after_a_pattern_is_read_from_its_first_record_also_if_it_is_subscribed_to_again()
 {
    virtually(async {
        for again in [false, true] {
            let cluster = cluster(1).await;
            let builder = member(&cluster, "c").property("auto.offset.reset", "latest");
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe_patterns(["o.*"]).await.unwrap();
            poll_until(&mut consumer, |consumer| !consumer.assignment().is_empty()).await;
            cluster.create_topic("offers", 1).unwrap();
            cluster.produce("offers", 0, None, Some(b"first")).unwrap();
            if again {
                consumer.subscribe_patterns(["o.*"]).await.unwrap();
            }
            read(&mut consumer, 1).await;
            consumer.close(Duration::from_secs(5)).await.unwrap();
        }
    });
}

#[test]
fn a_pattern_that_is_subscribed_to_before_each_poll_lists_all_topics_once() {
    let (log, _guard) = Log::from(tracing::Level::TRACE);
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        let mut records = 0;
        for _ in 0..100 {
            consumer.subscribe_patterns(["o.*"]).await.unwrap();
            records += consumer.poll(Duration::from_millis(100)).await.unwrap().len();
        }
        assert_eq!(records, 3);
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
    let about = log.with("Metadata");
    assert!((1..10).contains(&about.len()), "{about:#?}");
}

#[test]
fn an_empty_list_of_patterns_unsubscribes_as_one_of_names_does() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        for _ in 0..2 {
            consumer.subscribe_patterns(["o.*"]).await.unwrap();
            poll_until(&mut consumer, |consumer| !consumer.assignment().is_empty()).await;
            consumer.subscribe_patterns::<&str>([]).await.unwrap();
            assert!(consumer.assignment().is_empty());
        }
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
}

#[test]
fn a_name_that_is_too_long_is_refused_and_nothing_is_subscribed_to() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        let refused = consumer.subscribe(["orders".to_owned(), "o".repeat(250)]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnknownTopic);
        assert!(consumer.subscription().is_empty());
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
}
