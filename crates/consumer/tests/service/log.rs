//! What a service logs in a day.

use std::time::Duration;

use offtake::{ErrorKind, Event};
use offtake_broker::{ApiKey, Harm, Rule};

use crate::support::{Events, Log, cluster, member, poll_for, poll_until, read, virtually};

const A_WHILE: Duration = Duration::from_secs(30);

fn is_error(event: &Event, kind: ErrorKind) -> bool {
    matches!(event, Event::Error(error) if error.kind() == kind)
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
fn what_is_assigned_by_hand_is_a_line_too() {
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
        cluster.arm(Rule::on(ApiKey::Heartbeat, Harm::Fail(25)).once()); // UNKNOWN_MEMBER_ID
        poll_until(&mut consumer, |_| log.with("joined the group").len() == 2).await;
        let lost = log.with("partitions lost");
        assert_eq!(lost.len(), 1, "{lost:?}");
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
        let rule = cluster.arm(Rule::on(ApiKey::FindCoordinator, Harm::Fail(15)));
        let mut consumer = events.of(member(&cluster, "c")).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        poll_for(&mut consumer, A_WHILE).await;
        let missing = log.with("no coordinator for the group");
        assert_eq!(missing.len(), 1, "{:?}", log.lines());
        assert!(missing[0].contains("WARN"), "{missing:?}");
        assert_eq!(events.count(|event| is_error(event, ErrorKind::Unreachable)), 1);
        cluster.disarm(rule);
        read(&mut consumer, 3).await;
        assert_eq!(log.with("the group has a coordinator again").len(), 1);
    });
}
