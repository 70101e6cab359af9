//! Errors that say what is wrong, and soon.

use std::time::Duration;

use offtake::{Consumer, Error, ErrorKind, MembershipState, Position, StartAt, TopicPartition};
use offtake_broker::{ApiKey, Harm, Rule};
use tokio::time::{sleep, timeout};

use crate::support::{cluster, member, poll_until, virtually};

const SOON: Duration = Duration::from_secs(8);

/// What each of the questions about offsets is answered with, soon.
async fn asked(consumer: &Consumer, partition: &TopicPartition) -> [Error; 3] {
    [
        timeout(SOON, consumer.end_offsets([partition.clone()])).await.unwrap().unwrap_err(),
        timeout(SOON, consumer.watermarks(partition.clone())).await.unwrap().unwrap_err(),
        timeout(SOON, consumer.offsets_for_times([(partition.clone(), 0)])).await.unwrap().unwrap_err(),
    ]
}

#[test]
fn offsets_of_what_does_not_exist_are_refused_soon_and_with_the_reason() {
    virtually(async {
        let cluster = cluster(2).await;
        let builder = member(&cluster, "c").allow_auto_create_topics(false);
        let consumer = builder.build().await.unwrap();
        for (partition, message) in [
            (TopicPartition::new("ordrs", 0), "topic ordrs does not exist; create it, or check its name"),
            (TopicPartition::new("orders", 2), "orders-2 does not exist: topic orders has 2 partitions"),
        ] {
            for error in asked(&consumer, &partition).await {
                assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
                assert!(error.to_string().contains(message), "{error}");
                assert_eq!(error.partition(), Some(&partition));
            }
        }
        let end = consumer.end_offsets([TopicPartition::new("orders", 1)]).await.unwrap();
        assert_eq!(end.into_values().collect::<Vec<_>>(), [3]);
    });
}

#[test]
fn offsets_that_are_waited_for_less_long_say_the_same() {
    virtually(async {
        let cluster = cluster(1).await;
        let builder = member(&cluster, "c").allow_auto_create_topics(false);
        let consumer = builder.default_api_timeout(Duration::from_secs(2)).build().await.unwrap();
        for error in asked(&consumer, &TopicPartition::new("ordrs", 0)).await {
            assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
        }
    });
}

#[test]
fn a_topic_that_is_created_just_now_is_waited_for() {
    virtually(async {
        let cluster = cluster(1).await;
        let builder = member(&cluster, "c").allow_auto_create_topics(false);
        let consumer = builder.build().await.unwrap();
        let creates = cluster.clone();
        let created = tokio::spawn(async move {
            sleep(Duration::from_secs(3)).await;
            creates.create_topic("late", 1).unwrap();
        });
        let (low, high) = consumer.watermarks(("late", 0)).await.unwrap();
        assert_eq!((low, high), (0, 0));
        created.await.unwrap();
    });
}

#[test]
fn what_was_lost_because_nobody_polled_says_so() {
    virtually(async {
        let cluster = cluster(1).await;
        let limit = Duration::from_secs(20);
        let mut consumer = member(&cluster, "c").max_poll_interval(limit).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut records = consumer.poll(limit / 4).await.unwrap();
        while records.is_empty() {
            records = consumer.poll(limit / 4).await.unwrap();
        }
        sleep(2 * limit).await;
        assert_eq!(consumer.handle().health().membership, MembershipState::NotPolled);
        let place = TopicPartition::new("orders", 0);
        let handle = consumer.handle();
        let refused = [
            consumer.commit(&records).await.unwrap_err(),
            consumer.seek(place.clone(), StartAt::Offset(Position::at(0))).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::NotOwned, "{error}");
            assert!(
                error.to_string().contains("poll was not called for max.poll.interval.ms (20000)"),
                "{error}"
            );
        }
        // The handle's own calls go by what poll has told.
        let held = cluster.arm(Rule::on(ApiKey::JoinGroup, Harm::Hold));
        poll_until(&mut consumer, |consumer| consumer.assignment().is_empty()).await;
        let error = handle.pause([place.clone()]).unwrap_err();
        assert!(error.to_string().contains("max.poll.interval.ms"), "{error}");

        cluster.disarm(held);
        cluster.release(held);
        poll_until(&mut consumer, |consumer| consumer.assignment().len() == 1).await;
        consumer.unsubscribe().await.unwrap();
        let error = handle.pause([place]).unwrap_err();
        assert!(!error.to_string().contains("max.poll.interval.ms"), "that is over: {error}");
    });
}
