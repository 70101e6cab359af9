//! The library as a member of a group: dropped futures, listeners, revoked and lost partitions, and ways to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::{
    Builder, Consumer, ErrorKind, Event, Listener, ListenerFuture, OffsetAndMetadata, Rebalance, StartAt,
    TopicPartition,
};
use offtake_tests::{Dice, Kafka, Oversleep, RecordSpec, Shared, V4_3_0, shared, unique};
use serde_json::json;
use tokio::time::sleep;

use crate::flow::{PATIENCE, Production};
use crate::library::{A_MOMENT, Read, at, filled, more, program, take};

fn modern(of: &Shared, group: &str) -> Builder {
    let builder = Consumer::builder(of.kafka.bootstrap()).group(group).property("group.protocol", "consumer");
    builder.property("auto.offset.reset", "earliest")
}

fn member(of: &Shared, group: &str) -> Builder {
    let builder = Consumer::builder(of.kafka.bootstrap()).group(group).property("session.timeout.ms", "6000");
    builder.property("heartbeat.interval.ms", "300").property("auto.offset.reset", "earliest")
}

/// A member, a listener call, and a partition.
type Word = (usize, &'static str, TopicPartition);

/// The listener calls, in order, across all members.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Word>>>);

impl Told {
    fn push(&self, who: usize, what: &'static str, partitions: &[TopicPartition]) {
        let mut told = self.0.lock().unwrap();
        told.extend(partitions.iter().map(|partition| (who, what, partition.clone())));
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, told, _)| *told == what).count()
    }

    /// `(assigned (revoked | lost))*` for each member and partition (FAILURES SAFE9), and never two owners.
    fn assert_grammar(&self) {
        let mut owners: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for (who, what, partition) in self.0.lock().unwrap().iter() {
            if *what == "ready" {
                assert_eq!(
                    owners.get(partition),
                    Some(who),
                    "{partition}: what was begun is ended in its time"
                );
            } else if *what == "assigned" {
                let before = owners.insert(partition.clone(), *who);
                assert_eq!(before, None, "{partition} is assigned to {who}");
            } else {
                assert_eq!(owners.remove(partition), Some(*who), "{partition} is {what} by {who}");
            }
        }
        assert!(owners.is_empty(), "{owners:?}");
        assert_eq!(self.count("ready"), self.count("assigned"), "each listener ran to its end");
    }
}

/// Takes its time in every call, so that futures are dropped in the middle of it.
struct Slow {
    who: usize,
    told: Told,
}

impl Slow {
    fn tell(&self, what: &'static str, rebalance: Rebalance) -> ListenerFuture {
        let (who, told) = (self.who, self.told.clone());
        Box::pin(async move {
            if what == "assigned" {
                told.push(who, what, &rebalance.partitions);
            }
            for _ in 0..10 {
                sleep(Duration::from_millis(3)).await;
            }
            rebalance.consumer.committed(rebalance.partitions.clone()).await?;
            told.push(who, if what == "assigned" { "ready" } else { what }, &rebalance.partitions);
            Ok(())
        })
    }
}

impl Listener for Slow {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        self.tell("assigned", rebalance)
    }
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        self.tell("revoked", rebalance)
    }
    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        self.tell("lost", rebalance)
    }
}

/// Polls and commits, and drops both futures all the time; closes once `enough` returns true.
async fn impatient(
    builder: Builder,
    topic: &str,
    mut dice: Dice,
    mut enough: impl FnMut(usize) -> bool,
) -> Read {
    let mut consumer = builder.build().await.unwrap();
    consumer.subscribe([topic]).await.unwrap();
    let mut read = Read::new();
    let mut dropped = 0;
    while !enough(read.values().map(Vec::len).sum()) {
        tokio::select! {
            records = consumer.poll(Duration::from_secs(10)) => {
                let records = records.unwrap();
                take(&mut read, &records);
                if dice.roll(3) == 0 {
                    tokio::select! {
                        committed = consumer.commit(&records) => committed.unwrap(),
                        () = sleep(Duration::from_micros(dice.roll(3000))) => {}
                    }
                }
            }
            () = sleep(Duration::from_micros(dice.roll(4000))) => dropped += 1,
        }
    }
    assert!(dropped > 20, "futures were dropped");
    consumer.close(PATIENCE).await.unwrap();
    read
}

fn dropped_futures(member: impl Fn(&Shared, &str) -> Builder) {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("library"), 4, &[]);
        let production = Production::start(&of.tool, &topic, 4);
        let (group, told) = (unique("group"), Told::default());
        let builder = |who: usize| {
            let builder = member(of, &group).property("max.poll.records", "3");
            builder.listener(Slow { who, told: told.clone() })
        };
        // The first stays throughout; others join, read a little, and leave.
        let (end, ended) = tokio::sync::watch::channel(usize::MAX);
        let first = {
            let (topic, builder) = (topic.clone(), builder(0));
            tokio::spawn(async move {
                impatient(builder, &topic, Dice::new(1), |own| own >= *ended.borrow()).await
            })
        };
        while told.count("ready") < 4 {
            sleep(Duration::from_millis(5)).await;
        }
        let mut all: Vec<Read> = Vec::new();
        for who in 1..4 {
            all.push(impatient(builder(who), &topic, Dice::new(who as u64 * 77), |own| own >= 100).await);
        }
        let log = tokio::task::spawn_blocking(|| production.stop()).await.unwrap();
        let others: usize = all.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
        end.send_replace(log.len() - others);
        all.push(first.await.unwrap());
        let mut times: BTreeMap<(i32, i64), usize> = BTreeMap::new();
        for read in &all {
            for (index, offsets) in read {
                assert!(offsets.is_sorted(), "{index}: {offsets:?}");
                offsets.iter().for_each(|offset| *times.entry((*index, *offset)).or_default() += 1);
            }
        }
        assert!(times.keys().eq(log.keys()), "nothing is lost: {} of {}", times.len(), log.len());
        assert!(
            times.values().all(|times| *times == 1),
            "nothing is repeated: everyone commits before giving up"
        );
        assert_eq!(of.tool.committed(&group).values().sum::<i64>(), log.len() as i64);
        told.assert_grammar();
        let (revoked, lost) = (told.count("revoked"), told.count("lost"));
        assert!(revoked > 9 && lost == 0, "there were rebalances: {revoked} revoked, {lost} lost");
    });
}

#[test]
fn m7_dropped_polls_and_commits_lose_nothing_while_the_group_rebalances_eagerly() {
    dropped_futures(|of, group| member(of, group).property("partition.assignment.strategy", "range"));
}

#[test]
fn m7_dropped_polls_and_commits_lose_nothing_while_the_group_rebalances_cooperatively() {
    let cooperative = ("partition.assignment.strategy", "cooperative-sticky");
    dropped_futures(|of, group| member(of, group).property(cooperative.0, cooperative.1));
}

#[test]
fn m7_dropped_polls_and_commits_lose_nothing_while_the_broker_assigns() {
    dropped_futures(modern);
}

/// Begins every partition at its fifth record, and commits as if eight were finished.
struct FromFiveToEight;

impl Listener for FromFiveToEight {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        Box::pin(async move {
            for partition in rebalance.partitions {
                rebalance.consumer.seek(partition, StartAt::Offset(5.into())).await?;
            }
            Ok(())
        })
    }
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        Box::pin(async move {
            let eight = || OffsetAndMetadata::new(8).with_metadata("by hand");
            let offsets = rebalance.partitions.into_iter().map(|partition| (partition, eight()));
            rebalance.consumer.commit_offsets(offsets.collect::<Vec<_>>()).await?;
            Ok(())
        })
    }
}

#[test]
fn m9_listeners_seek_and_commit() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 3, 20, "gzip");
        let group = unique("group");
        let builder = member(of, &group).property("enable.auto.commit", "false").listener(FromFiveToEight);
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let mut read = Read::new();
        while read.values().map(Vec::len).sum::<usize>() < 45 {
            take(&mut read, &consumer.poll(A_MOMENT).await.unwrap());
        }
        assert!(read.values().all(|offsets| offsets.iter().copied().eq(5..20)), "{read:?}");
        consumer.close(PATIENCE).await.unwrap();
        assert!(
            of.tool.committed(&group).values().all(|offset| *offset == 8),
            "{:?}",
            of.tool.committed(&group)
        );
        assert_eq!(of.tool.committed(&group).len(), 3);
    });
}

#[test]
fn h2_revoked_partitions_can_neither_be_committed_nor_stored_and_nothing_is_sent() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 10, "none");
        let group = unique("group");
        let builder = || member(of, &group).property("enable.auto.commit", "false");
        let mut consumer = builder().build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let mut held = Vec::new();
        while held.iter().map(offtake::Records::len).sum::<usize>() < 20 {
            held.push(consumer.poll(A_MOMENT).await.unwrap());
        }
        // Another member gets one of the two.
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let other = {
            let (builder, topic) = (builder(), topic.clone());
            tokio::spawn(async move {
                let mut other = builder.build().await.unwrap();
                other.subscribe([topic.as_str()]).await.unwrap();
                let mut stopped = stopped;
                while stopped.try_recv().is_err() {
                    other.poll(Duration::from_millis(50)).await.unwrap();
                }
                other.close(PATIENCE).await.unwrap();
            })
        };
        while consumer.assignment().len() != 1 {
            consumer.poll(Duration::from_millis(50)).await.unwrap();
        }
        let parts = || held.iter().flat_map(offtake::Records::partitions);
        for part in parts() {
            // Records of a reassigned partition belong to the previous assignment.
            let refused = consumer.store(part).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NotOwned, "{refused}");
        }
        for records in held.iter().filter(|records| !records.is_empty()) {
            let refused = consumer.commit(records).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NotOwned, "{refused}");
        }
        assert!(of.tool.committed(&group).values().all(|offset| *offset == 0), "nothing was committed");
        let _ = stop.send(());
        other.await.unwrap();
        consumer.unsubscribe().await.unwrap();
        let refused = consumer.commit_offsets([(at(&topic, 0), OffsetAndMetadata::new(10))]);
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::NotOwned);
        consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn m1_a_member_that_does_not_poll_loses_its_partitions_and_comes_back_when_it_does() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 10, "none");
        let (group, told) = (unique("group"), Told::default());
        let (tell, mut events) = tokio::sync::mpsc::unbounded_channel();
        let builder =
            member(of, &group).property("max.poll.interval.ms", "5000").property("max.poll.records", "5");
        let builder = builder.listener(Slow { who: 0, told: told.clone() });
        let mut consumer = builder.events(move |event| drop(tell.send(event))).build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let mut read = Read::new();
        while read.is_empty() {
            take(&mut read, &consumer.poll(A_MOMENT).await.unwrap());
        }
        // The application is busy with these five for too long.
        let busy = Instant::now();
        loop {
            match events.recv().await.expect("the engine lives") {
                Event::PollIntervalExceeded { .. } => break,
                _ => assert!(busy.elapsed() < PATIENCE),
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while of.tool.describe_group(&group)["members"] != json!([]) {
            assert!(
                Instant::now() < deadline,
                "it leaves, long before its session ends: {:?}",
                busy.elapsed()
            );
        }
        assert_eq!(told.count("lost"), 0, "listeners run in poll");
        // The records of the last poll were never finished: they are delivered again.
        read.clear();
        while read.values().map(Vec::len).sum::<usize>() < 20 {
            take(&mut read, &consumer.poll(A_MOMENT).await.unwrap());
        }
        assert_eq!(told.count("lost"), 2);
        assert!(read.values().all(|offsets| offsets.iter().copied().eq(0..10)), "{read:?}");
        consumer.close(PATIENCE).await.unwrap();
        told.assert_grammar();
        assert!(of.tool.committed(&group).values().all(|offset| *offset == 10));
    });
}

/// A consumer that has joined and read all records, this many.
async fn joined(builder: Builder, topic: &str, count: usize) -> Consumer {
    let mut consumer = builder.build().await.unwrap();
    consumer.subscribe([topic]).await.unwrap();
    let mut read = 0;
    while read < count {
        read += consumer.poll(A_MOMENT).await.unwrap().len();
    }
    consumer
}

fn members(of: &Shared, group: &str) -> usize {
    of.tool.describe_group(group)["members"].as_array().map_or(0, Vec::len)
}

#[test]
fn n3_a_consumer_that_is_dropped_leaves_its_group() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 10, "none");
        let group = unique("group");
        let builder = member(of, &group).property("session.timeout.ms", "45000");
        let consumer = joined(builder, &topic, 20).await;
        assert_eq!(members(of, &group), 1);
        let handle = consumer.handle();
        let dropped = Instant::now();
        drop(consumer);
        while members(of, &group) > 0 {
            assert!(dropped.elapsed() < Duration::from_secs(10), "its session would end in 45 s");
        }
        let committed = handle.committed([at(&topic, 0)]).await.unwrap_err();
        assert_eq!(committed.kind(), ErrorKind::Closed);
    });
}

#[test]
fn n1_closing_in_the_middle_of_a_rebalance_is_bounded_and_leaves() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 10, "none");
        let group = unique("group");
        let holder = joined(member(of, &group), &topic, 20).await;
        // The holder does not poll, so another member that joins has to wait for it.
        let mut waits = member(of, &group).build().await.unwrap();
        waits.subscribe([topic.as_str()]).await.unwrap();
        while members(of, &group) < 2 {
            waits.poll(Duration::from_millis(20)).await.unwrap();
        }
        let (machine, began) = (Oversleep::new(), Instant::now());
        waits.close(Duration::from_secs(2)).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(2300) + machine.allowance(), "{took:?}");
        // The member that was to revoke everything closes instead, and commits the records that it handed out.
        let began = Instant::now();
        holder.close(Duration::from_secs(5)).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(5300) + machine.allowance(), "{took:?}");
        let deadline = Instant::now() + Duration::from_secs(4);
        while members(of, &group) > 0 {
            assert!(Instant::now() < deadline, "both have left, long before their sessions end");
        }
        assert_eq!(of.tool.committed(&group).values().sum::<i64>(), 20);
    });
}

#[test]
fn n2_closing_is_bounded_when_the_broker_is_silent_and_when_it_is_gone() {
    let kafka = Kafka::builder().proxied().start();
    let tool = offtake_tests::JavaTool::start(&kafka);
    let topic = tool.create_topic("orders", 2, &[]);
    tool.produce(&[
        RecordSpec::to(&topic).partition(0).value("v"),
        RecordSpec::to(&topic).partition(1).value("v"),
    ]);
    let of = Shared { kafka, tool };
    program(async {
        for silent in [true, false] {
            let group = unique("group");
            let builder = member(&of, &group).property("default.api.timeout.ms", "3000");
            let mut consumer = joined(builder, &topic, 2).await;
            let proxy = of.kafka.proxy(1);
            if silent {
                proxy.stall();
            } else {
                proxy.refuse();
            }
            let (machine, began) = (Oversleep::new(), Instant::now());
            assert!(consumer.poll(Duration::from_millis(200)).await.unwrap_or_default().is_empty());
            let took = began.elapsed();
            assert!(took < Duration::from_millis(450) + machine.allowance(), "LIVE7: {took:?}");
            let began = Instant::now();
            let closed = consumer.close(Duration::from_secs(1)).await;
            let took = began.elapsed();
            // LIVE7: its timeout + 100 ms; the rest is for busy machines.
            let bound = Duration::from_millis(1400) + machine.allowance();
            assert!(took < bound, "silent: {silent}: {took:?} of {bound:?}");
            let error = closed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "what it could not commit, it says");
            assert!(error.to_string().contains("did not confirm"), "{error}");
            // Data that the proxy held back ends with its connections: otherwise it would arrive when the proxy passes
            // data again, late or not.
            proxy.cut_all();
            proxy.flow();
            proxy.admit();
            assert_eq!(of.tool.committed(&group).values().sum::<i64>(), 0, "what was said is so");
        }
    });
}

#[test]
fn n6_commits_in_flight_are_awaited_by_close() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 1, 100, "none");
        let group = unique("group");
        let builder =
            member(of, &group).property("enable.auto.commit", "false").property("max.poll.records", "1");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let mut count = 0;
        while count < 100 {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            count += records.len();
            consumer.commit_async(&records).unwrap();
        }
        consumer.close(PATIENCE).await.unwrap();
        assert_eq!(of.tool.committed(&group).into_values().collect::<Vec<_>>(), [100]);
    });
}

#[test]
fn a_second_subscription_replaces_the_first() {
    program(async {
        let of = shared(V4_3_0);
        let [one, two] = [filled(of, 1, 10, "none"), filled(of, 1, 10, "none")];
        let told = Told::default();
        let builder = member(of, &unique("group")).listener(Slow { who: 0, told: told.clone() });
        let mut consumer = joined(builder, &one, 10).await;
        consumer.subscribe([two.as_str()]).await.unwrap();
        let mut topics = BTreeSet::new();
        while !topics.contains(&two) {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            topics.extend(records.iter().map(|record| record.topic().to_owned()));
        }
        assert_eq!(consumer.assignment(), [at(&two, 0)]);
        more(of, &one, 1, 10, "none");
        assert!(consumer.poll(A_MOMENT).await.unwrap().iter().all(|record| record.topic() == two));
        consumer.close(PATIENCE).await.unwrap();
        told.assert_grammar();
        assert_eq!(told.count("revoked"), 2);
    });
}
