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

/// Notes its calls, with their partitions.
#[derive(Clone, Default)]
struct Hears(Arc<Mutex<Vec<String>>>);

impl Hears {
    fn hears(&self, what: &str, of: &Rebalance) -> ListenerFuture {
        let partitions: Vec<_> = of.partitions.iter().map(|it| it.partition).collect();
        self.0.lock().unwrap().push(format!("{what} {partitions:?}"));
        Box::pin(async { Ok(()) })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Listener for Hears {
    fn revoked(&self, of: Rebalance) -> ListenerFuture {
        self.hears("revoked", &of)
    }

    fn lost(&self, of: Rebalance) -> ListenerFuture {
        self.hears("lost", &of)
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
                assert_eq!(hears.take(), ["lost [0, 1]"], "{loses:?}, {how}");
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
            let heard = hears.take();
            assert!(
                !heard.is_empty() && heard.iter().all(|what| what.starts_with("lost")),
                "{strategy}: {heard:?}"
            );
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

/// One partition was to be revoked, and nobody took that in time; the other is still owned when the consumer is closed.
#[test]
fn d2_n1_closing_commits_what_is_still_owned_although_another_partition_was_lost() {
    virtually(async {
        let (cluster, hears) = (cluster(2).await, Hears::default());
        let of = |name| {
            let builder =
                member(&cluster, name).property("partition.assignment.strategy", "cooperative-sticky");
            builder.property("auto.commit.interval.ms", 3_600_000)
        };
        let mut first = of("first").max_poll_interval(LIMIT).listener(hears.clone()).build().await.unwrap();
        first.subscribe("orders").await.unwrap();
        let at_end = |consumer: &Consumer, partition| consumer.position(("orders", partition)) == Some(3);
        poll_until(&mut first, |consumer| at_end(consumer, 0) && at_end(consumer, 1)).await;
        first.poll(A_MOMENT).await.unwrap();
        // The answer to its SyncGroup, which takes a partition away, comes three seconds late. It polls meanwhile.
        let late =
            FaultRule::on(ApiKey::SyncGroup, Fault::Late(Duration::from_secs(3))).client("first").once();
        let late = cluster.inject(late);
        let mut second = of("second").build().await.unwrap();
        second.subscribe("orders").await.unwrap();
        let polls = tokio::spawn(async move {
            loop {
                second.poll(A_MOMENT).await.unwrap();
            }
        });
        while cluster.hits(late) == 0 {
            first.poll(A_MOMENT).await.unwrap();
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2800) {
            first.poll(A_MOMENT).await.unwrap();
        }
        // From here on it does not poll. It is closed a second before that is too long.
        let last_poll = Instant::now();
        tokio::time::sleep_until(last_poll + LIMIT - Duration::from_secs(1)).await;
        assert!(first.owns_assignment(), "it is a member");
        assert_eq!(first.health().assigned, 1, "of the one partition");
        first.close(Duration::from_secs(10)).await.unwrap();
        polls.abort();
        let third = member(&cluster, "third").build().await.unwrap();
        let committed = third.committed([("orders", 0), ("orders", 1)]).await.unwrap();
        let heard = hears.0.lock().unwrap().clone();
        assert!(!committed.is_empty(), "what it still owned is committed; its listener heard {heard:?}");
    });
}

/// All that is finished is committed, and the call says so. The next one says that it is not.
#[test]
fn h2_a_commit_that_landed_while_its_partition_was_lost_does_not_make_the_next_one_fail() {
    virtually(async {
        let cluster = cluster(2).await;
        let builder = member(&cluster, "c").max_poll_interval(LIMIT).enable_auto_commit(false);
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        let mut read = 0;
        while read < 6 {
            read += consumer.poll(A_MOMENT).await.unwrap().len();
        }
        // The application takes almost as long as it may, and the coordinator answers its commit a little late.
        sleep(LIMIT - Duration::from_secs(1)).await;
        cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Delay(Duration::from_secs(2))).once());
        consumer.commit_finished().await.expect("the commit landed");
        assert_eq!(consumer.health().assigned, 0, "the group went on meanwhile");
        let committed = consumer.committed([("orders", 0), ("orders", 1)]).await.unwrap();
        assert_eq!(committed.values().map(|it| it.offset).sum::<i64>(), 6, "all of it is committed");
        consumer.commit_finished().await.expect("nothing is finished that is not committed");
    });
}

/// As in Java, which decides after the commit whether a member that revokes still is one.
#[test]
fn d2_g1_a_revocation_whose_commit_shows_that_the_group_went_on_is_a_loss() {
    for strategy in ["range", "cooperative-sticky"] {
        for (how, code) in [("unknown member", 25), ("fenced", 82)] {
            virtually(async {
                let (cluster, hears) = (cluster(2).await, Hears::default());
                let of = |name| {
                    let builder = member(&cluster, name).property("partition.assignment.strategy", strategy);
                    builder.property("auto.commit.interval.ms", 3_600_000)
                };
                let mut first = of("first").listener(hears.clone()).build().await.unwrap();
                first.subscribe("orders").await.unwrap();
                let at_end =
                    |consumer: &Consumer, partition| consumer.position(("orders", partition)) == Some(3);
                poll_until(&mut first, |consumer| at_end(consumer, 0) && at_end(consumer, 1)).await;
                let refuses = FaultRule::on(ApiKey::OffsetCommit, Fault::Fail(code)).client("first").once();
                let refuses = cluster.inject(refuses);
                let mut second = of("second").build().await.unwrap();
                second.subscribe("orders").await.unwrap();
                let mut lost = 0;
                for _ in 0..200 {
                    let (one, _) = tokio::join!(first.poll(A_MOMENT), second.poll(A_MOMENT));
                    lost += usize::from(one.is_err());
                    if !hears.0.lock().unwrap().is_empty() {
                        break;
                    }
                }
                let _ = (refuses, lost);
                let heard = hears.0.lock().unwrap().clone();
                assert!(
                    heard.iter().all(|what| what.starts_with("lost")),
                    "{strategy}, {how}: heard {heard:?}, and is {:?}",
                    first.health().membership
                );
            });
        }
    }
}

/// The group goes on without the member while it hands partitions over: they are lost, and the events say so.
#[test]
fn d2_g1_a_handover_whose_partitions_were_lost_meanwhile_is_reported_as_lost() {
    for code in [25, 82] {
        virtually(async {
            let (cluster, events) = (cluster(2).await, Events::default());
            let of = |name| {
                let builder = member(&cluster, name).enable_auto_commit(false);
                builder.property("partition.assignment.strategy", "range")
            };
            let mut first = events.of(of("first")).build().await.unwrap();
            first.subscribe("orders").await.unwrap();
            poll_until(&mut first, |consumer| consumer.position(("orders", 1)) == Some(3)).await;
            let mut second = of("second").build().await.unwrap();
            second.subscribe("orders").await.unwrap();
            let handover = revoking(&mut first, &mut second).await;
            let refuses =
                cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(code)).client("first").once());
            while cluster.hits(refuses) == 0 {
                sleep(A_MOMENT).await;
            }
            sleep(A_MOMENT).await;
            drop(handover);
            sleep(A_MOMENT).await;
            let lost = events.count(|event| matches!(event, Event::Lost(_)));
            let revoked = events.count(|event| matches!(event, Event::Revoked(_)));
            println!("EVENTS {code}: lost {lost} revoked {revoked}");
            assert_eq!((lost, revoked), (1, 0), "{code}");
        });
    }
}

/// What was finished before the application was told is lost too.
#[test]
fn h2_g1_a_commit_while_the_application_handles_the_loss_fails() {
    for (loses, finishes) in [
        (Loses::Expiry, Finishes::ByPoll),
        (Loses::Expiry, Finishes::ByStore),
        (Loses::Expiry, Finishes::Each),
        (Loses::PollInterval, Finishes::ByPoll),
        (Loses::PollInterval, Finishes::Each),
    ] {
        virtually(async {
            let case = format!("{loses:?} {finishes:?}");
            let cluster = cluster(2).await;
            let (mut consumer, read) = has_read(&cluster, finishes).await;
            finish(&mut consumer, &read, finishes);
            consumer.commit_finished().await.unwrap();
            cluster.produce("orders", 0, None, Some(b"more")).unwrap();
            let more = consumer.poll(LIMIT).await.unwrap();
            finish(&mut consumer, &[more], finishes);
            loses.wait(&cluster).await;
            let lost = loop {
                if let Next::Lost(lost) = consumer.next().await.unwrap() {
                    break lost;
                }
            };
            for _ in 0..2 {
                let error = consumer.commit_finished().await.expect_err(&case);
                assert_eq!(error.kind(), ErrorKind::NotOwned, "{case}: {error}");
                assert_eq!(error.commit_report().expect(&case).failed().count(), 1, "{case}: {error}");
            }
            lost.done();
            loop {
                if let Next::Records(records) = consumer.next().await.unwrap()
                    && !records.is_empty()
                {
                    break;
                }
            }
            consumer.commit_finished().await.unwrap();
        });
    }
}

/// Notes the end of a `lost` that takes a second.
struct TakesItsTime(Arc<Mutex<bool>>);

impl Listener for TakesItsTime {
    fn lost(&self, _: Rebalance) -> ListenerFuture {
        let ended = self.0.clone();
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            *ended.lock().unwrap() = true;
            Ok(())
        })
    }
}

/// The application is away in the middle of a revocation, for longer than the group waits. The time for `lost` begins when it is called.
#[test]
fn d2_g1_a_revocation_that_was_too_late_leaves_time_for_lost() {
    virtually(async {
        let (cluster, events, ended) = (cluster(2).await, Events::default(), Arc::default());
        let of = |name| {
            let builder = member(&cluster, name).max_poll_interval(LIMIT);
            builder.property("auto.commit.interval.ms", 3_600_000)
        };
        let first = of("first").listener(TakesItsTime(Arc::clone(&ended)));
        let mut first = events.of(first).build().await.unwrap();
        first.subscribe("orders").await.unwrap();
        poll_until(&mut first, |consumer| consumer.position(("orders", 1)) == Some(3)).await;
        let hangs = FaultRule::on(ApiKey::OffsetCommit, Fault::Late(LIMIT)).client("first");
        let hangs = cluster.inject(hangs.once());
        let mut second = of("second").build().await.unwrap();
        second.subscribe("orders").await.unwrap();
        while cluster.hits(hangs) == 0 {
            let (one, other) = tokio::join!(first.poll(A_MOMENT), second.poll(A_MOMENT));
            assert!(one.unwrap().is_empty() && other.unwrap().is_empty());
        }
        sleep(2 * LIMIT).await;
        while !*ended.lock().unwrap() {
            first.poll(A_MOMENT).await.unwrap();
        }
        assert_eq!(events.count(|event| matches!(event, Event::RebalanceOverdue { .. })), 0);
    });
}
