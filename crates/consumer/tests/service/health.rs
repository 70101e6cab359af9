//! Tests of the readiness and liveness probes.

use std::time::Duration;

use offtake::{Consumer, Event, Handle, MembershipState, Stall};
use offtake_broker::{ApiKey, Fault, FaultRule};

use crate::support::{A_MOMENT, Events, Log, cluster, member, poll_for, poll_until, read, virtually};

fn probes(handle: &Handle) -> (bool, bool) {
    let health = handle.health();
    (health.is_ready(), health.is_live())
}

#[test]
fn a_member_is_ready_once_it_has_joined_and_not_when_it_is_closed() {
    virtually(async {
        let cluster = cluster(3).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        let handle = consumer.handle();
        let health = handle.health();
        assert_eq!(
            (health.membership, health.last_poll, health.last_fetch),
            (MembershipState::NotSubscribed, None, None)
        );
        assert_eq!(probes(&handle), (false, true), "nothing to do yet");

        let held = cluster.inject(FaultRule::on(ApiKey::JoinGroup, Fault::Hold));
        assert_eq!(
            health.why_not_ready().unwrap(),
            "nothing is subscribed to or assigned",
            "and so it was when it was asked"
        );
        consumer.subscribe(["orders"]).await.unwrap();
        assert_eq!(handle.health().membership, MembershipState::Joining, "before anything was polled");
        poll_for(&mut consumer, Duration::from_secs(2)).await;
        let health = handle.health();
        assert_eq!((health.membership, health.generation), (MembershipState::Joining, None));
        assert_eq!(health.coordinator, Some(1));
        assert!(health.membership_age > Duration::from_secs(1), "{health:?}");
        assert_eq!(probes(&handle), (false, true));

        cluster.withdraw(held);
        cluster.release(held);
        read(&mut consumer, 9).await;
        let health = handle.health();
        assert_eq!(
            (health.membership, health.generation, health.assigned),
            (MembershipState::Stable, Some(1), 3)
        );
        assert!(health.member_id.as_ref().is_some_and(|id| id.starts_with("c-")), "{health:?}");
        assert!(health.last_fetch.is_some_and(|age| age < Duration::from_secs(1)), "{health:?}");
        assert!(health.last_poll.is_some_and(|age| age < Duration::from_secs(1)), "{health:?}");
        assert_eq!((health.answering_brokers.as_slice(), health.failing_brokers.len()), (&[1][..], 0));
        assert_eq!(health.oldest_unfinished, None);
        assert_eq!(probes(&handle), (true, true));
        assert_eq!(health.why_not_ready(), None);
        let line = health.to_string();
        assert!(
            line.starts_with("ready; stable for ")
                && line.contains(", generation 1, 3 partitions, polled 0.0 s ago"),
            "{line}"
        );

        consumer.unsubscribe().await.unwrap();
        let health = handle.health();
        assert_eq!(health.assigned, 0);
        assert!(
            matches!(health.membership, MembershipState::Leaving | MembershipState::NotSubscribed),
            "{health}"
        );
        assert_eq!(probes(&handle), (false, true));
        consumer.close(Duration::from_secs(10)).await.unwrap();
        let health = handle.health();
        assert!(!health.is_running);
        assert_eq!(
            (health.membership, health.assigned, health.member_id.as_deref()),
            (MembershipState::Closed, 0, None)
        );
        assert!(
            health.to_string().starts_with("not ready, as the consumer is closed; closed for "),
            "{health}"
        );
        assert_eq!(probes(&handle), (false, false));
    });
}

#[test]
fn by_the_consumer_protocol_a_member_is_ready_too() {
    virtually(async {
        let cluster = cluster(2).await;
        let mut consumer =
            member(&cluster, "c").property("group.protocol", "consumer").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 6).await;
        let health = consumer.handle().health();
        assert_eq!((health.membership, health.assigned), (MembershipState::Stable, 2));
        assert!(health.generation.is_some_and(|epoch| epoch > 0) && health.is_ready(), "{health:?}");
    });
}

#[test]
fn a_manual_assignment_is_ready_without_a_group() {
    virtually(async {
        let cluster = cluster(2).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.assign([("orders", 1)]).await.unwrap();
        read(&mut consumer, 3).await;
        let health = consumer.handle().health();
        assert_eq!((health.membership, health.assigned), (MembershipState::AssignedByHand, 1));
        assert_eq!((health.is_ready(), health.is_live()), (true, true));
    });
}

#[test]
fn a_close_that_takes_long_is_closed_when_it_ends_and_warns_of_no_poll() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let limit = Duration::from_secs(10);
        let mut consumer = member(&cluster, "c").max_poll_interval(limit).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        let handle = consumer.handle();
        cluster.crash(1);
        consumer.close(2 * limit).await.unwrap_err();
        assert_eq!(handle.health().membership, MembershipState::Closed);
        assert!(log.with("max.poll.interval.ms").is_empty(), "{:#?}", log.lines());
    });
}

#[test]
fn an_application_that_never_polled_is_reported_as_such() {
    virtually(async {
        let (log, _guard) = Log::start();
        let (cluster, events) = (cluster(1).await, Events::default());
        let limit = Duration::from_secs(20);
        let mut consumer = events.of(member(&cluster, "c")).max_poll_interval(limit).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        tokio::time::sleep(2 * limit).await;
        let said = log.with("max.poll.interval.ms");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|line| line.contains("poll has not been called yet")), "{said:?}");
        let told = |event: &Event| {
            matches!(event, Event::PollIntervalWarning { stall, .. } | Event::PollIntervalExceeded { stall, .. }
                if *stall == Stall::NeverPolled)
        };
        assert_eq!(events.count(told), 2);
        let why = consumer.handle().health().why_not_ready().unwrap();
        assert!(why.contains("did not poll for max.poll.interval.ms (20000)"), "{why}");
    });
}

#[test]
fn an_application_that_never_polls_is_not_live_for_longer_than_it_may() {
    virtually(async {
        let cluster = cluster(1).await;
        let limit = Duration::from_secs(20);
        let mut consumer = member(&cluster, "c").max_poll_interval(limit).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let handle = consumer.handle();
        tokio::time::sleep(limit / 2).await;
        assert!(handle.health().is_live(), "{:?}", handle.health());
        tokio::time::sleep(limit).await;
        assert!(!handle.health().is_live(), "{:?}", handle.health());
    });
}

#[test]
fn a_cluster_that_does_not_answer_costs_readiness_and_not_the_process() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").property("metadata.max.age.ms", 1000).build().await.unwrap();
        let handle = consumer.handle();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        assert_eq!(probes(&handle), (true, true));
        cluster.crash(1);
        poll_for(&mut consumer, Duration::from_secs(10)).await;
        let health = handle.health();
        assert!(health.cluster_error.as_ref().is_some_and(|error| error.contains("connect")), "{health:?}");
        assert!(
            health.failing_brokers.iter().any(|broker| broker.id == 1 && !broker.error.is_empty()),
            "{health:?}"
        );
        assert_eq!(health.answering_brokers, [0; 0]);
        assert!(health.last_fetch.is_some_and(|age| age > Duration::from_secs(5)), "{health:?}");
        assert_eq!(probes(&handle), (false, true));
        cluster.restart(1);
        poll_until(&mut consumer, |_| handle.health().is_ready()).await;
        assert_eq!(handle.health().failing_brokers, []);
    });
}

/// Everything is paused, or nothing is assigned: only heartbeats, and the search for a coordinator, can show it.
#[test]
fn a_member_that_fetches_nothing_learns_that_no_broker_answers_too() {
    for protocol in ["classic", "consumer"] {
        for is_standby in [false, true] {
            virtually(async {
                let cluster = cluster(1).await;
                let of = |name| member(&cluster, name).property("group.protocol", protocol);
                let mut first = of("first").build().await.unwrap();
                first.subscribe("orders").await.unwrap();
                poll_until(&mut first, |consumer| consumer.position(("orders", 0)) == Some(3)).await;
                let mut second = of("second").build().await.unwrap();
                let consumer = if is_standby {
                    second.subscribe("orders").await.unwrap();
                    for _ in 0..100 {
                        let (one, other) = tokio::join!(first.poll(A_MOMENT), second.poll(A_MOMENT));
                        assert!(one.unwrap().is_empty() && other.unwrap().is_empty());
                    }
                    if first.assignment().is_empty() { &mut first } else { &mut second }
                } else {
                    first.pause_all().unwrap();
                    &mut first
                };
                poll_for(consumer, Duration::from_secs(2)).await;
                let handle = consumer.handle();
                assert_eq!(handle.health().cluster_error, None);
                cluster.crash(1);
                // A heartbeat every three seconds, with the consumer protocol every five, and a lookup.
                poll_for(consumer, Duration::from_secs(10)).await;
                let health = handle.health();
                assert!(health.cluster_error.is_some(), "{protocol} {is_standby}: {health:?}");
                cluster.restart(1);
                poll_until(consumer, |_| handle.health().cluster_error.is_none()).await;
            });
        }
    }
}

#[test]
fn an_application_that_hangs_or_is_refused_is_not_live() {
    virtually(async {
        let cluster = cluster(1).await;
        let limit = Duration::from_secs(20);
        let mut consumer = member(&cluster, "c").max_poll_interval(limit).build().await.unwrap();
        let handle = consumer.handle();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        tokio::time::advance(limit / 2).await;
        assert_eq!(probes(&handle), (true, true), "busy");
        // Step by step, so that heartbeats continue.
        for _ in 0..12 {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
        assert!(!handle.health().is_live(), "{:?}", handle.health());
        assert!(!handle.health().is_ready(), "{:?}", handle.health());
        consumer.poll(A_MOMENT).await.unwrap();
        poll_until(&mut consumer, |_| handle.health().is_ready()).await;
        assert_eq!(probes(&handle), (true, true), "it polls again");

        // FENCED_INSTANCE_ID
        cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(82)).once());
        while handle.health().is_live() {
            let _ = consumer.poll(A_MOMENT).await;
        }
        assert_eq!(handle.health().membership, MembershipState::Failed);
    });
}

#[test]
fn m2_what_is_assigned_is_known_to_be_ours_until_the_session_may_have_expired() {
    virtually(async {
        let cluster = cluster(1).await;
        let session = Duration::from_secs(10);
        let mut by_hand = member(&cluster, "c").build().await.unwrap();
        by_hand.assign([("orders", 0)]).await.unwrap();
        read(&mut by_hand, 3).await;
        let mut consumer = member(&cluster, "c").session_timeout(session).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        assert!(consumer.owns_assignment());
        cluster.crash(1);
        tokio::time::sleep(session / 2).await;
        assert!(consumer.owns_assignment());
        tokio::time::sleep(session).await;
        assert!(!consumer.owns_assignment());
        cluster.restart(1);
        poll_until(&mut consumer, Consumer::owns_assignment).await;
        assert!(by_hand.owns_assignment(), "no session is in it");
    });
}
