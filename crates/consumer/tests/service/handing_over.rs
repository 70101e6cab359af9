//! Tests of records that are finished while partitions are revoked as a value.

use std::time::Duration;

use offtake::{
    Consumer, ErrorKind, Event, Handover, Listener, ListenerFuture, Next, Rebalance, Records, StartAt,
    TopicPartition,
};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};

use crate::support::{A_MOMENT, Events, cluster, member, read, virtually};

/// A member that has read all of two partitions, up to the point where it has to give up one of them to a
/// second member, or both.
async fn has_to_give_up(
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
    let handover = revoking(&mut first, &mut second).await;
    (cluster, first, read, handover, second)
}

/// Lets the second member join until the first has to give something up.
pub(crate) async fn revoking(first: &mut Consumer, second: &mut Consumer) -> Handover {
    loop {
        let polled = second.poll(A_MOMENT);
        let (next, polled) = tokio::join!(tokio::time::timeout(A_MOMENT, first.next()), polled);
        assert!(polled.unwrap().is_empty());
        if let Ok(next) = next
            && let Next::Revoking(handover) = next.unwrap()
        {
            return handover;
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
        let (_cluster, first, read, handover, second) =
            has_to_give_up(&events, true, "cooperative-sticky").await;
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
            let (_cluster, mut first, read, handover, mut second) =
                has_to_give_up(&events, auto, "range").await;
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
            has_to_give_up(&events, false, "cooperative-sticky").await;
        for records in &read {
            drop(first.commit_async(records).unwrap());
        }
        drop(handover);
        assert_eq!(comes_again(first, second).await, 0);
        assert_eq!(refused(&events), 0);
    });
}

/// Takes half a minute for a revoke.
struct Slow;

impl Listener for Slow {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            Ok(())
        })
    }
}

/// P1: the records of the partition that goes fill the budget.
#[test]
fn i12_a_partition_that_stays_is_fetched_under_a_small_budget_while_a_listener_runs() {
    virtually(async {
        let cluster = cluster(2).await;
        let cooperative = ("partition.assignment.strategy", "cooperative-sticky");
        let first = member(&cluster, "first").property(cooperative.0, cooperative.1).listener(Slow);
        let first = first.property("fetch.buffer.max.bytes", "24000").property("max.poll.records", "1");
        let mut first = first.build().await.unwrap();
        first.subscribe(["orders"]).await.unwrap();
        read(&mut first, 6).await;
        for _ in 0..4 {
            cluster.produce("orders", 1, None, Some(&[0; 20_000])).unwrap();
        }
        read(&mut first, 1).await;
        let (kept, goes) = (TopicPartition::new("orders", 0), TopicPartition::new("orders", 1));
        let second = member(&cluster, "second").property(cooperative.0, cooperative.1);
        let mut second = second.build().await.unwrap();
        second.subscribe(["orders"]).await.unwrap();
        assert!(second.poll(Duration::from_secs(5)).await.unwrap().is_empty());
        for value in 0..2_u8 {
            cluster.produce("orders", 0, None, Some(&[value])).unwrap();
        }
        let handle = first.handle();
        let meanwhile = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            (handle.assignment(), handle.position(goes), handle.lag(kept.clone()))
        };
        let (polled, meanwhile) = tokio::join!(first.poll(Duration::from_secs(20)), meanwhile);
        assert!(polled.unwrap().is_empty(), "the listener runs");
        assert_eq!(meanwhile, (vec![kept], Some(4), Some(2)));
    });
}

/// The engine has taken the partition off the assigned ones already.
#[test]
fn l8_a_position_is_that_of_a_seek_during_a_handover_and_is_what_is_committed() {
    virtually(async {
        let events = Events::default();
        let (_cluster, mut first, _, handover, mut second) =
            has_to_give_up(&events, false, "cooperative-sticky").await;
        let place = handover.partitions[0].clone();
        assert_eq!(first.position(place.clone()), Some(3));
        handover.consumer.seek(place.clone(), StartAt::Offset(1.into())).await.unwrap();
        assert_eq!(handover.consumer.position(place.clone()), Some(1));
        assert_eq!(first.position(place.clone()), Some(1));
        first.seek(place.clone(), StartAt::Offset(2.into())).await.unwrap();
        assert_eq!(
            (first.position(place.clone()), handover.consumer.position(place.clone())),
            (Some(2), Some(2))
        );
        first.commit_finished().await.unwrap();
        drop(handover);
        let mut offsets = Vec::new();
        while offsets.is_empty() {
            let (_, polled) =
                tokio::join!(tokio::time::timeout(A_MOMENT, first.next()), second.poll(A_MOMENT));
            offsets.extend(polled.unwrap().iter().map(|record| record.offset()));
        }
        assert_eq!(offsets, [2], "the next owner begins at the offset of the seek");
        let gone = first.seek(place.clone(), StartAt::Offset(1.into())).await.unwrap_err();
        assert_eq!((gone.kind(), first.position(place)), (ErrorKind::NotOwned, None));
    });
}

#[test]
fn l8_a_record_beyond_a_seek_during_a_handover_is_not_stored() {
    virtually(async {
        let events = Events::default();
        let (_cluster, mut first, read, handover, _second) =
            has_to_give_up(&events, false, "cooperative-sticky").await;
        let place = handover.partitions[0].clone();
        let records: Vec<_> =
            read.iter().flatten().filter(|record| record.partition() == place.partition).collect();
        first.store(&records[2]).unwrap();
        first.seek(place.clone(), StartAt::Offset(1.into())).await.unwrap();
        let refused = first.store(&records[2]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotOwned, "{refused}");
        assert!(refused.to_string().contains("goes on before offset 3"), "{refused}");
        first.store(&records[0]).unwrap();
        first.commit_finished().await.unwrap();
        assert_eq!(first.committed([place.clone()]).await.unwrap()[&place].offset, 1);
    });
}

/// The membership has ended, and the member owned only what it was revoking.
#[test]
fn h2_g1_a_commit_of_what_is_being_revoked_fails_at_once_when_the_membership_does() {
    virtually(async {
        let events = Events::default();
        let (cluster, mut first, read, handover, _second) = has_to_give_up(&events, false, "range").await;
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
            has_to_give_up(&events, false, "cooperative-sticky").await;
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
