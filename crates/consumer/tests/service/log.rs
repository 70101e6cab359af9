//! Tests of what a service logs in a day.

use std::time::Duration;

use offtake::{ErrorKind, Event, Listener, ListenerFuture, Rebalance};
use offtake_broker::{ApiKey, Fault, FaultRule};

use crate::support::{A_MOMENT, Events, Log, cluster, member, poll_for, poll_until, read, virtually};

const A_WHILE: Duration = Duration::from_secs(30);

fn is_error(event: &Event, kind: ErrorKind) -> bool {
    matches!(event, Event::Error(error) if error.kind() == kind)
}

#[test]
fn properties_without_effect_are_one_line_of_each_client_that_starts_with_them() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let builder = member(&cluster, "first").properties([
            ("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer"),
            ("metrics.num.samples", "3"),
        ]);
        assert_eq!(log.lines(), [""; 0], "no client has started");
        let consumer = builder.build().await.unwrap();
        let ignored = log.with("these properties have no effect");
        assert_eq!(ignored.len(), 1, "{ignored:?}");
        for part in ["WARN", "client_id=\"first\"", "`key.deserializer`: ", "; `metrics.num.samples`: "] {
            assert!(ignored[0].contains(part), "{part} in {ignored:?}");
        }
        drop(consumer);
    });
}

#[test]
fn a_day_is_a_line_for_each_join_assignment_revocation_and_start_and_each_names_its_consumer() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(20).await;
        let strategy = |builder: offtake::Builder| {
            builder.property("partition.assignment.strategy", "cooperative-sticky")
        };
        let mut first = strategy(member(&cluster, "first")).build().await.unwrap();
        first.subscribe(["orders"]).await.unwrap();
        read(&mut first, 60).await;

        let joined = log.with("joined the group");
        assert_eq!(joined.len(), 1, "{joined:?}");
        for part in
            ["INFO", "member=\"first-", "generation=1", "protocol=classic", "assignor=\"cooperative-sticky\""]
        {
            assert!(joined[0].contains(part), "{part} in {joined:?}");
        }
        let assigned = log.with("partitions assigned");
        assert_eq!(assigned.len(), 1, "{assigned:?}");
        assert!(assigned[0].contains("count=20 partitions=orders[0-19] owned=20"), "{assigned:?}");
        let starts = log.with("reading starts where auto.offset.reset says");
        assert_eq!(starts.len(), 1, "one line, not one a partition: {starts:?}");
        assert!(starts[0].contains("orders-0 at 0, "), "{starts:?}");
        assert!(starts[0].contains("and 12 more") && starts[0].contains("partitions=20"), "{starts:?}");
        first.commit_finished().await.unwrap();

        let mut second = strategy(member(&cluster, "second")).build().await.unwrap();
        second.subscribe(["orders"]).await.unwrap();
        while second.assignment().len() < 10 {
            first.poll(Duration::from_millis(50)).await.unwrap();
            second.poll(Duration::from_millis(50)).await.unwrap();
        }
        let revoked = log.with("partitions revoked");
        assert_eq!(revoked.len(), 1, "{revoked:?}");
        assert!(revoked[0].contains("client_id=\"first\"") && revoked[0].contains("count=10"), "{revoked:?}");
        assert!(revoked[0].contains("owned=10"), "{revoked:?}");

        second.close(A_WHILE).await.unwrap();
        let left = log.with("left the group");
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].contains("client_id=\"second\""), "{left:?}");
        assert_eq!(log.with("partitions given up").len(), 1);

        let lines = log.lines();
        assert!(
            lines.iter().all(|line| line.contains("consumer{id=")),
            "each names its consumer: {lines:#?}"
        );
        assert!(lines.iter().all(|line| line.contains("group=\"readers\"")), "{lines:#?}");
        assert!(lines.iter().all(|line| line.starts_with(" INFO")), "nothing is wrong: {lines:#?}");
        assert!(lines.len() < 30, "a quiet day: {lines:#?}");
    });
}

#[test]
fn by_the_consumer_protocol_a_join_names_its_epoch() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(2).await;
        let mut consumer =
            member(&cluster, "c").property("group.protocol", "consumer").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 6).await;
        let joined = log.with("joined the group");
        assert_eq!(joined.len(), 1, "{joined:?}");
        assert!(joined[0].contains("epoch=") && joined[0].contains("protocol=consumer"), "{joined:?}");
        assert_eq!(log.with("partitions assigned").len(), 1, "{:?}", log.lines());
    });
}

#[test]
fn a_new_epoch_is_no_join_and_nothing_new_is_no_assignment() {
    for protocol in ["classic", "consumer"] {
        virtually(async {
            let (log, _guard) = Log::from(tracing::Level::DEBUG);
            let cluster = cluster(1).await;
            let builder = |id| member(&cluster, id).property("group.protocol", protocol);
            let mut first = builder("first").build().await.unwrap();
            first.subscribe(["orders"]).await.unwrap();
            read(&mut first, 3).await;
            first.commit_finished().await.unwrap();
            let mut second = builder("second").build().await.unwrap();
            second.subscribe(["orders"]).await.unwrap();
            for _ in 0..100 {
                first.poll(Duration::from_millis(50)).await.unwrap();
                second.poll(Duration::from_millis(50)).await.unwrap();
            }
            let (none, some) = if first.assignment().is_empty() { (first, second) } else { (second, first) };
            assert_eq!((none.assignment().len(), some.assignment().len()), (0, 1));
            assert!(log.with("count=0").is_empty(), "{:#?}", log.with("count=0"));
            assert!(!log.with("assignment unchanged").is_empty(), "{:#?}", log.lines());
            let unchanged = log.with("assignment unchanged");
            assert!(unchanged.iter().all(|line| line.contains("DEBUG")), "{unchanged:#?}");
            if protocol == "consumer" {
                assert_eq!(log.with("joined the group").len(), 2, "{:#?}", log.with("joined the group"));
            }
        });
    }
}

/// With the consumer protocol it keeps its id, whatever becomes of its epochs.
#[test]
fn a_member_that_was_fenced_has_joined_once_more() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let builder = member(&cluster, "c").property("group.protocol", "consumer");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        consumer.commit_finished().await.unwrap();
        // FENCED_MEMBER_EPOCH
        cluster.inject(FaultRule::on(ApiKey::ConsumerGroupHeartbeat, Fault::Fail(110)).once());
        poll_for(&mut consumer, Duration::from_secs(20)).await;
        let joined = log.with("joined the group");
        assert_eq!((joined.len(), log.with("partitions assigned").len()), (2, 2), "{:#?}", log.lines());
    });
}

#[test]
fn a_start_at_a_committed_offset_is_logged_at_debug_level() {
    virtually(async {
        let (log, _guard) = Log::from(tracing::Level::DEBUG);
        let cluster = cluster(1).await;
        let mut first = member(&cluster, "first").build().await.unwrap();
        first.subscribe(["orders"]).await.unwrap();
        read(&mut first, 3).await;
        assert!(log.with("starting at the committed offset").is_empty());
        first.commit_finished().await.unwrap();
        first.close(A_WHILE).await.unwrap();
        let mut second = member(&cluster, "second").build().await.unwrap();
        second.subscribe(["orders"]).await.unwrap();
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        read(&mut second, 1).await;
        let starts = log.with("starting at the committed offset");
        assert_eq!(starts.len(), 1, "{starts:?}");
        assert!(
            starts[0].contains("DEBUG") && starts[0].contains("partition=orders-0 offset=3"),
            "{starts:?}"
        );
    });
}

/// The listener's own log lines follow it.
#[test]
fn a_revocation_is_a_line_before_the_application_is_told() {
    struct Flushes;
    impl Listener for Flushes {
        fn revoked(&self, _: Rebalance) -> ListenerFuture {
            tracing::info!("the application flushes");
            Box::pin(async { Ok(()) })
        }
    }
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(2).await;
        let mut consumer = member(&cluster, "c").listener(Flushes).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 6).await;
        consumer.enforce_rebalance().await.unwrap();
        poll_until(&mut consumer, |_| log.with("joined the group").len() == 2).await;
        consumer.unsubscribe().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        poll_until(&mut consumer, |consumer| consumer.assignment().len() == 2).await;
        consumer.close(A_WHILE).await.unwrap();
        let lines = log.lines();
        let is_of_it = |line: &&String| {
            ["partitions revoked", "given up", "flushes"].iter().any(|what| line.contains(what))
        };
        let said: Vec<_> = lines.iter().filter(is_of_it).collect();
        let expected =
            ["partitions revoked", "flushes", "unsubscribes", "flushes", "being closed", "flushes"];
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        assert!(said.iter().zip(expected).all(|(line, what)| line.contains(what)), "{said:#?}");
    });
}

#[test]
fn a_broker_that_dies_is_one_warning() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").property("metadata.max.age.ms", 1000).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        cluster.crash(1);
        poll_for(&mut consumer, Duration::from_secs(20)).await;
        let warned = log.with("WARN");
        assert_eq!(warned.len(), 1, "{warned:#?}");
        cluster.restart(1);
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        read(&mut consumer, 1).await;
        assert_eq!(log.with("answers again").len(), 1, "{:#?}", log.lines());
        assert_eq!(log.with("WARN").len(), 1, "{:#?}", log.lines());
    });
}

#[test]
fn a_commit_that_fails_in_the_background_says_where_it_stands() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Fail(30)).once()); // GROUP_AUTHORIZATION_FAILED
        poll_for(&mut consumer, Duration::from_secs(20)).await;
        let failed = log.with("in the background");
        assert_eq!(failed.len(), 1, "{:#?}", log.lines());
        for part in ["WARN", "the offset of orders-0 was not committed", "partition=orders-0 finished=3"] {
            assert!(failed[0].contains(part), "{part} in {failed:?}");
        }
    });
}

#[test]
fn a_manual_assignment_is_logged_too() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(3).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.assign([("orders", 2), ("orders", 0), ("orders", 1)]).await.unwrap();
        read(&mut consumer, 9).await;
        let assigned = log.with("partitions assigned by hand");
        assert_eq!(assigned.len(), 1);
        assert!(assigned[0].contains("partitions=orders[0-2]"), "{assigned:?}");
    });
}

#[test]
fn a_lost_assignment_is_a_line() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(2).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 6).await;
        cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(25)).once()); // UNKNOWN_MEMBER_ID
        poll_until(&mut consumer, |_| log.with("joined the group").len() == 2).await;
        let lost = log.with("partitions lost");
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].contains("WARN"), "{lost:?}");
        assert!(lost[0].contains("count=2 partitions=orders[0-1] owned=0"), "{lost:?}");
    });
}

#[test]
fn a_topic_that_does_not_exist_is_told_once_and_when_it_is_there() {
    virtually(async {
        let (log, _guard) = Log::start();
        let (cluster, events) = (cluster(1).await, Events::default());
        let builder = events.of(member(&cluster, "c")).property("metadata.max.age.ms", 1000);
        let mut consumer = builder.property("allow.auto.create.topics", false).build().await.unwrap();
        consumer.subscribe(["ordrs"]).await.unwrap();
        poll_for(&mut consumer, A_WHILE).await;
        let missing = log.with("ordrs does not exist");
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("WARN"), "{missing:?}");
        assert_eq!(events.count(|event| is_error(event, ErrorKind::UnknownTopic)), 1);
        cluster.create_topic("ordrs", 1).unwrap();
        poll_until(&mut consumer, |consumer| consumer.assignment().len() == 1).await;
        let found = log.with("the topic exists now");
        assert_eq!(found.len(), 1, "{:?}", log.lines());
        assert!(found[0].contains("INFO") && found[0].contains("ordrs"), "{found:?}");
    });
}

#[test]
fn a_cluster_that_cannot_be_reached_is_told_once_and_when_it_is_back() {
    virtually(async {
        let (log, _guard) = Log::start();
        let (cluster, events) = (cluster(1).await, Events::default());
        cluster.crash(1);
        let mut consumer = events.of(member(&cluster, "c")).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        poll_for(&mut consumer, A_WHILE).await;
        assert_eq!(log.with("the cluster cannot be asked").len(), 1, "{:?}", log.lines());
        assert_eq!(events.count(|event| is_error(event, ErrorKind::Unreachable)), 1);
        assert!(log.lines().len() <= 2, "one for the address, one for the cluster: {:?}", log.lines());
        cluster.restart(1);
        read(&mut consumer, 3).await;
        assert_eq!(log.with("the cluster answers again").len(), 1);
        assert!(log.lines().iter().all(|line| line.contains("client_id=\"c\"")), "{:?}", log.lines());
    });
}

#[test]
fn a_group_without_a_coordinator_is_told_once_and_when_it_has_one() {
    virtually(async {
        let (log, _guard) = Log::start();
        let (cluster, events) = (cluster(1).await, Events::default());
        let rule = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(15)));
        let mut consumer = events.of(member(&cluster, "c")).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        poll_for(&mut consumer, A_WHILE).await;
        let missing = log.with("no coordinator for the group");
        assert_eq!(missing.len(), 1, "{:?}", log.lines());
        assert!(missing[0].contains("WARN"), "{missing:?}");
        assert_eq!(events.count(|event| is_error(event, ErrorKind::Unreachable)), 1);
        cluster.withdraw(rule);
        read(&mut consumer, 3).await;
        assert_eq!(log.with("the group has a coordinator again").len(), 1);
    });
}

/// The search ends because the group is not needed any more, not because a coordinator was found.
#[test]
fn a_search_for_a_coordinator_that_nobody_needs_any_more_found_none() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(15)));
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        poll_for(&mut consumer, A_WHILE).await;
        assert_eq!(log.with("no coordinator for the group").len(), 1, "{:?}", log.lines());
        consumer.unsubscribe().await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        assert!(log.with("has a coordinator again").is_empty(), "{:?}", log.lines());
    });
}

#[test]
fn a_poll_with_nothing_to_read_is_logged_once_until_that_changes() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "a").build().await.unwrap();
        let said = || log.with("call subscribe or assign").len();
        for expected in 1..=2 {
            for _ in 0..3 {
                assert!(consumer.poll(A_MOMENT).await.unwrap().is_empty());
                assert_eq!(said(), expected);
            }
            consumer.assign([("orders", 0, 0)]).await.unwrap();
            assert!(!consumer.poll(Duration::from_secs(60)).await.unwrap().is_empty());
            assert!(consumer.poll(A_MOMENT).await.unwrap().is_empty());
            consumer.unsubscribe().await.unwrap();
            assert_eq!(said(), expected);
        }
        consumer.subscribe("orders").await.unwrap();
        assert!(consumer.poll(A_MOMENT).await.is_ok());
        assert_eq!(said(), 2, "a member without partitions has subscribed");
        consumer.close(Duration::from_secs(10)).await.unwrap();
    });
}
