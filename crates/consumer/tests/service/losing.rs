//! Tests of what the application does before it is told that the group took its partitions away.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::{
    Consumer, Error, ErrorKind, Event, Listener, ListenerFuture, Next, Rebalance, Records, StartAt,
};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    handing_over::revoking,
    support::{A_MOMENT, Events, cluster, member, poll_until, virtually},
};

const LIMIT: Duration = Duration::from_secs(20);

/// How the application finishes its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finishes {
    ByPoll,
    ByStore,
    Each,
}

/// How the group goes on without the member.
#[derive(Clone, Copy, Debug)]
enum Loses {
    PollInterval,
    /// `FENCED_INSTANCE_ID`, which is fatal.
    Fencing,
    /// `UNKNOWN_MEMBER_ID`: it joins again.
    Expiry,
}

impl Loses {
    /// Waits, without a `poll`, until it has.
    async fn wait(self, cluster: &Cluster) {
        let refuses = |code| cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(code)).once());
        match self {
            Self::PollInterval => sleep(2 * LIMIT).await,
            Self::Fencing | Self::Expiry => {
                let rule = refuses(if matches!(self, Self::Fencing) { 82 } else { 25 });
                while cluster.hits(rule) == 0 {
                    sleep(A_MOMENT).await;
                }
                sleep(A_MOMENT).await;
            }
        }
    }
}

/// A member that has read everything of two partitions and committed nothing.
async fn has_read(cluster: &Cluster, finishes: Finishes) -> (Consumer, Vec<Records>) {
    let builder = member(cluster, "c").max_poll_interval(LIMIT).enable_auto_commit(false);
    let builder = match finishes {
        Finishes::ByPoll => builder,
        Finishes::ByStore => builder.property("enable.auto.offset.store", false),
        Finishes::Each => builder.finish_each(),
    };
    let mut consumer = builder.build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    let mut read = Vec::new();
    while read.iter().map(Records::len).sum::<usize>() < 6 {
        read.push(consumer.poll(A_MOMENT).await.unwrap());
    }
    (consumer, read)
}

fn finish(consumer: &mut Consumer, read: &[Records], finishes: Finishes) {
    for record in read.iter().flat_map(Records::iter) {
        match finishes {
            Finishes::ByPoll => {}
            Finishes::ByStore => consumer.store(&record).unwrap(),
            Finishes::Each => record.ticket().unwrap().finish().unwrap(),
        }
    }
}

async fn commit_finished(consumer: &mut Consumer, through_handle: bool) -> Result<(), Error> {
    match through_handle {
        true => consumer.handle().commit_finished().await,
        false => consumer.commit_finished().await,
    }
}

/// As Java's `commitSync`, which throws until the application polls again.
#[test]
fn h2_g1_a_commit_of_what_is_finished_fails_if_the_group_has_taken_it_away() {
    for loses in [Loses::PollInterval, Loses::Fencing, Loses::Expiry] {
        for (finishes, through_handle) in [
            (Finishes::ByPoll, false),
            (Finishes::ByStore, false),
            (Finishes::Each, false),
            (Finishes::Each, true),
        ] {
            for finished_before in [false, true] {
                virtually(async {
                    let case = format!("{loses:?} {finishes:?} {through_handle} {finished_before}");
                    let cluster = cluster(2).await;
                    let (mut consumer, read) = has_read(&cluster, finishes).await;
                    if finished_before {
                        finish(&mut consumer, &read, finishes);
                    }
                    loses.wait(&cluster).await;
                    if !finished_before {
                        finish(&mut consumer, &read, finishes);
                    }
                    for _ in 0..2 {
                        let error = commit_finished(&mut consumer, through_handle).await.expect_err(&case);
                        assert_eq!(error.kind(), ErrorKind::NotOwned, "{case}: {error}");
                        let report = error.commit_report().expect(&case);
                        assert_eq!(report.failed().count(), 2, "{case}: {error}");
                    }
                    if matches!(loses, Loses::Fencing) {
                        return;
                    }
                    // Once it knows, and the records come again, the next commit succeeds.
                    let mut again = 0;
                    while again < 6 {
                        let records = consumer.poll(A_MOMENT).await.unwrap();
                        again += records.len();
                        finish(&mut consumer, &[records], finishes);
                    }
                    commit_finished(&mut consumer, through_handle).await.expect(&case);
                    let committed = consumer.committed([("orders", 0), ("orders", 1)]).await.unwrap();
                    let committed = committed.values().map(|committed| committed.offset).sum::<i64>();
                    assert_eq!(committed, 6, "{case}");
                });
            }
        }
    }
}

/// What was committed before does not make a commit fail.
#[test]
fn h2_a_loss_is_no_failure_of_a_commit_that_has_nothing_of_it() {
    virtually(async {
        let cluster = cluster(2).await;
        let (mut consumer, _) = has_read(&cluster, Finishes::ByPoll).await;
        consumer.commit_finished().await.unwrap();
        sleep(2 * LIMIT).await;
        consumer.commit_finished().await.unwrap();
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        poll_until(&mut consumer, |consumer| consumer.position(("orders", 0)) == Some(4)).await;
        consumer.commit_finished().await.unwrap();
        // One commit fails for the partition of which there is more, and only for that.
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        poll_until(&mut consumer, |consumer| consumer.position(("orders", 0)) == Some(5)).await;
        sleep(2 * LIMIT).await;
        let error = consumer.commit_finished().await.unwrap_err();
        let report = error.commit_report().unwrap();
        let failed: Vec<_> = report.failed().map(|(partition, _)| partition.partition).collect();
        assert_eq!(failed, [0], "{error}");
    });
}

#[test]
fn h2_n1_a_commit_after_a_close_that_was_given_up_says_so() {
    virtually(async {
        let cluster = cluster(2).await;
        let (mut consumer, _) = has_read(&cluster, Finishes::ByPoll).await;
        let closed = consumer.handle().close(Duration::from_secs(1)).await;
        assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(consumer.commit_finished().await.unwrap_err().kind(), ErrorKind::Closed);
    });
}

/// Notes which of its calls were made.
#[derive(Clone, Default)]
struct Hears(Arc<Mutex<Vec<&'static str>>>);

impl Hears {
    fn hears(&self, what: &'static str) -> ListenerFuture {
        self.0.lock().unwrap().push(what);
        Box::pin(async { Ok(()) })
    }
}

impl Listener for Hears {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        self.hears("revoked")
    }

    fn lost(&self, _: Rebalance) -> ListenerFuture {
        self.hears("lost")
    }
}

/// As in Java, where `close` and `unsubscribe` call `onPartitionsLost` for a member that the group has removed.
#[test]
fn d2_n1_closing_and_unsubscribing_after_an_unnoticed_loss_call_lost() {
    for loses in [Loses::PollInterval, Loses::Expiry] {
        for how in ["close", "unsubscribe", "close of a handle"] {
            virtually(async {
                let (cluster, hears, events) = (cluster(2).await, Hears::default(), Events::default());
                let builder = events.of(member(&cluster, "c")).max_poll_interval(LIMIT);
                let mut consumer = builder.listener(hears.clone()).build().await.unwrap();
                consumer.subscribe("orders").await.unwrap();
                poll_until(&mut consumer, |consumer| consumer.position(("orders", 1)) == Some(3)).await;
                loses.wait(&cluster).await;
                match how {
                    "close" => consumer.close(LIMIT).await.unwrap(),
                    "unsubscribe" => consumer.unsubscribe().await.unwrap(),
                    _ => {
                        let handle = consumer.handle();
                        let polled = async { while consumer.poll(A_MOMENT).await.is_ok() {} };
                        tokio::join!(async { handle.close(LIMIT).await.unwrap() }, polled);
                    }
                }
                assert_eq!(*hears.0.lock().unwrap(), ["lost"], "{loses:?}, {how}");
                assert_eq!(events.count(|event| matches!(event, Event::Lost(_))), 1, "{loses:?}, {how}");
                assert_eq!(events.count(|event| matches!(event, Event::Revoked(_))), 0, "{loses:?}, {how}");
            });
        }
    }
}

/// A revocation waits for a `poll`, and before that comes the group goes on.
#[test]
fn d2_a_revocation_that_nobody_took_in_time_is_a_loss() {
    for strategy in ["range", "cooperative-sticky"] {
        virtually(async {
            let (cluster, hears) = (cluster(2).await, Hears::default());
            let of = |name| member(&cluster, name).property("partition.assignment.strategy", strategy);
            let mut first =
                of("first").max_poll_interval(LIMIT).listener(hears.clone()).build().await.unwrap();
            first.subscribe("orders").await.unwrap();
            poll_until(&mut first, |consumer| consumer.position(("orders", 1)) == Some(3)).await;
            let mut second = of("second").build().await.unwrap();
            second.subscribe("orders").await.unwrap();
            poll_until(&mut second, |consumer| consumer.assignment().len() == 2).await;
            first.poll(A_MOMENT).await.unwrap();
            let heard = hears.0.lock().unwrap().clone();
            assert!(!heard.is_empty() && heard.iter().all(|what| *what == "lost"), "{strategy}: {heard:?}");
        });
    }
}

#[test]
fn c6_a_group_that_refuses_the_consumer_still_does_after_an_outage_of_the_cluster() {
    for is_out_first in [false, true] {
        virtually(async {
            let cluster = cluster(1).await;
            let builder = member(&cluster, "c").property("metadata.max.age.ms", 1000);
            let mut consumer = builder.build().await.unwrap();
            cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(30))); // GROUP_AUTHORIZATION_FAILED
            if is_out_first {
                cluster.crash(1);
            }
            consumer.subscribe("orders").await.unwrap();
            for _ in 0..3 {
                let _ = timeout(Duration::from_secs(10), async {
                    while consumer.poll(A_MOMENT).await.is_ok() {}
                })
                .await;
                cluster.crash(1);
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(10) {
                    let _ = consumer.poll(A_MOMENT).await;
                }
                cluster.restart(1);
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(10) {
                    let _ = consumer.poll(A_MOMENT).await;
                }
                for _ in 0..10 {
                    sleep(A_MOMENT).await;
                    let error = consumer.poll(A_MOMENT).await.expect_err("the group refuses it");
                    assert_eq!(error.kind(), ErrorKind::Group, "{error}");
                }
            }
        });
    }
}

#[test]
fn c6_polls_of_a_consumer_that_is_closed_do_not_spin() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        poll_until(&mut consumer, |consumer| consumer.assignment().len() == 1).await;
        let handle = consumer.handle();
        let ((), error) = tokio::join!(async { handle.close(LIMIT).await.unwrap() }, async {
            loop {
                if let Err(error) = consumer.poll(A_MOMENT).await {
                    break error;
                }
            }
        });
        assert_eq!(error.kind(), ErrorKind::Closed);
        // The first answer was of the poll that closed it.
        let _ = consumer.poll(LIMIT).await;
        for _ in 0..3 {
            let began = Instant::now();
            assert_eq!(consumer.poll(LIMIT).await.unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(began.elapsed(), A_MOMENT, "retry.backoff.ms");
        }
        let began = Instant::now();
        assert_eq!(consumer.poll(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

/// The offsets of records that were handed out before a seek belong to an assigned partition, as for `commit`.
#[test]
fn h2_offsets_for_a_transaction_are_those_of_the_records_also_after_a_seek() {
    virtually(async {
        let cluster = cluster(2).await;
        let (mut consumer, read) = has_read(&cluster, Finishes::ByStore).await;
        consumer.seek(("orders", 0), StartAt::Earliest).await.unwrap();
        for records in read.iter().filter(|records| !records.is_empty()) {
            consumer.offsets_for_transaction(records).await.unwrap();
            consumer.commit(records).await.unwrap();
        }
        sleep(2 * LIMIT).await;
        for records in read.iter().filter(|records| !records.is_empty()) {
            let error = consumer.offsets_for_transaction(records).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotOwned, "{error}");
        }
    });
}

/// The offset is committed before the partitions are given up, although nothing else follows; and afterwards there is nothing to store.
#[test]
fn h2_what_is_stored_during_a_handover_is_committed_and_nothing_is_stored_after_it() {
    virtually(async {
        let cluster = cluster(2).await;
        let of = |name| {
            let builder = member(&cluster, name).property("enable.auto.offset.store", false);
            let builder = builder.property("partition.assignment.strategy", "cooperative-sticky");
            builder.property("auto.commit.interval.ms", 3_600_000)
        };
        let (mut first, mut second) =
            (of("first").build().await.unwrap(), of("second").build().await.unwrap());
        first.subscribe("orders").await.unwrap();
        let mut read = Vec::new();
        while read.iter().map(Records::len).sum::<usize>() < 6 {
            if let Next::Records(records) = first.next().await.unwrap() {
                read.push(records);
            }
        }
        second.subscribe("orders").await.unwrap();
        let handover = revoking(&mut first, &mut second).await;
        let place = handover.partitions[0].clone();
        let records: Vec<_> =
            read.iter().flatten().filter(|record| record.partition() == place.partition).collect();
        first.store(&records[0]).unwrap();
        first.store(&records[1]).unwrap();
        drop(handover);
        let error = first.store(&records[2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotOwned, "{error}");
        let mut again = 0;
        for _ in 0..100 {
            let (_, polled) = tokio::join!(timeout(A_MOMENT, first.next()), second.poll(A_MOMENT));
            again += polled.unwrap().len();
        }
        assert_eq!(again, 1, "the one that was not stored");
    });
}
