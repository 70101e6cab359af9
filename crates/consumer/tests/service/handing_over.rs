//! Tests of records that are finished while partitions are revoked as a value.

use std::time::Duration;

use offtake::{Consumer, ErrorKind, Event, Handover, Next, Records};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};

use crate::support::{A_MOMENT, Events, cluster, member, virtually};

/// A member that has read all of two partitions, up to the point where it has to give up one of them to a
/// second member, or both.
async fn revoking(
    events: &Events,
    auto: bool,
    strategy: &str,
) -> (Cluster, Consumer, Vec<Records>, Handover, Consumer) {
    let cluster = cluster(2).await;
    let mut builder = events.of(member(&cluster, "first"));
    if auto {
        builder = builder.finish_each();
    }
    let strategy = ("partition.assignment.strategy", strategy);
    let builder = builder.property("enable.auto.commit", if auto { "true" } else { "false" });
    let mut first = builder.property(strategy.0, strategy.1).build().await.unwrap();
    first.subscribe(["orders"]).await.unwrap();
    let mut read = Vec::new();
    while read.iter().map(Records::len).sum::<usize>() < 6 {
        if let Next::Records(records) = first.next().await.unwrap() {
            read.push(records);
        }
    }
    let second = member(&cluster, "second").property(strategy.0, strategy.1);
    let mut second = second.build().await.unwrap();
    second.subscribe(["orders"]).await.unwrap();
    loop {
        let polled = second.poll(A_MOMENT);
        let (next, polled) = tokio::join!(tokio::time::timeout(A_MOMENT, first.next()), polled);
        assert!(polled.unwrap().is_empty());
        if let Ok(next) = next
            && let Next::Revoking(handover) = next.unwrap()
        {
            return (cluster, first, read, handover, second);
        }
    }
}

/// The number of records that the second member, which owns the revoked partitions, received again.
async fn comes_again(mut first: Consumer, mut second: Consumer) -> usize {
    let mut again = 0;
    for _ in 0..300 {
        let (_, polled) = tokio::join!(tokio::time::timeout(A_MOMENT, first.next()), second.poll(A_MOMENT));
        again += polled.unwrap().len();
    }
    assert_eq!((first.assignment().len(), second.assignment().len()), (1, 1));
    again
}

fn refused(events: &Events) -> usize {
    events.count(|event| matches!(event, Event::Error(error) if error.kind() != ErrorKind::Unreachable))
}

#[test]
fn h2_records_finished_in_a_handover_are_committed_when_it_is_dropped() {
    virtually(async {
        let events = Events::default();
        let (_cluster, first, read, handover, second) = revoking(&events, true, "cooperative-sticky").await;
        for record in read.iter().flat_map(Records::iter) {
            record.ticket().unwrap().finish().unwrap();
        }
        drop(handover);
        assert_eq!(comes_again(first, second).await, 0);
        assert_eq!(refused(&events), 0);
    });
}

/// The commits may be automatic or the application's: they are in flight when it unsubscribes, and it owns
/// nothing then.
#[test]
fn h2_commits_left_by_a_handover_are_sent_though_the_consumer_unsubscribes() {
    for auto in [true, false] {
        virtually(async {
            let events = Events::default();
            let (_cluster, mut first, read, handover, mut second) = revoking(&events, auto, "range").await;
            assert_eq!(handover.partitions.len(), 2);
            for records in &read {
                if auto {
                    records.iter().for_each(|record| record.ticket().unwrap().finish().unwrap());
                } else {
                    drop(first.commit_async(records).unwrap());
                }
            }
            drop(handover);
            first.unsubscribe().await.unwrap();
            let mut again = 0;
            for _ in 0..300 {
                again += second.poll(A_MOMENT).await.unwrap().len();
            }
            assert_eq!((again, second.assignment().len()), (0, 2), "auto commit: {auto}");
            assert_eq!(refused(&events), 0);
        });
    }
}

#[test]
fn h2_a_commit_that_is_not_awaited_goes_out_when_a_handover_is_dropped() {
    virtually(async {
        let events = Events::default();
        let (_cluster, mut first, read, handover, second) =
            revoking(&events, false, "cooperative-sticky").await;
        for records in &read {
            drop(first.commit_async(records).unwrap());
        }
        drop(handover);
        assert_eq!(comes_again(first, second).await, 0);
        assert_eq!(refused(&events), 0);
    });
}

/// The membership has ended, and the member owned only what it was revoking.
#[test]
fn h2_g1_a_commit_of_what_is_being_revoked_fails_at_once_when_the_membership_does() {
    virtually(async {
        let events = Events::default();
        let (cluster, mut first, read, handover, _second) = revoking(&events, false, "range").await;
        assert_eq!(handover.partitions.len(), 2);
        let refuses =
            cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(82)).client("first").once()); // FENCED_INSTANCE_ID
        while cluster.hits(refuses) == 0 {
            tokio::time::sleep(A_MOMENT).await;
        }
        tokio::time::sleep(A_MOMENT).await;
        let began = tokio::time::Instant::now();
        let refused = first.commit(&read[0]).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}: {refused}", began.elapsed());
        assert_eq!(refused.kind(), ErrorKind::NotOwned, "{refused}");
    });
}

/// The coordinator refuses commits: the group waits no longer than announced.
#[test]
fn h2_d9_failing_commits_hold_a_handover_up_until_its_deadline_at_most() {
    virtually(async {
        let events = Events::default();
        let (cluster, mut first, read, handover, mut second) =
            revoking(&events, false, "cooperative-sticky").await;
        cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Fail(14)).client("first")); // COORDINATOR_LOAD_IN_PROGRESS
        for records in &read {
            drop(first.commit_async(records).unwrap());
        }
        drop(handover);
        let began = tokio::time::Instant::now();
        while second.assignment().is_empty() {
            let (_, polled) =
                tokio::join!(tokio::time::timeout(A_MOMENT, first.next()), second.poll(A_MOMENT));
            polled.unwrap();
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "default.api.timeout.ms is the commit's limit"
            );
        }
    });
}
