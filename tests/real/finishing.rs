//! Finished and committed records: in any order, in part, in time, with metadata; and the lag.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use offtake::{
    Builder, Consumer, Error, ErrorKind, Event, Listener, ListenerFuture, Next, OffsetAndMetadata,
    OwnedRecord, Position, Rebalance, ResetReason, StartAt, Ticket, TopicPartition,
};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, Rewrite};
use offtake_tests::{Boxed, JavaTool, Oversleep, RecordSpec, V2_8_2, V4_3_0, shared, unique};

use crate::library::{A_MOMENT, at, filled, program};
use crate::specimens::specimens;

const CLOSING: Duration = Duration::from_secs(5);

/// A cluster in the box, with this many records in each of two partitions.
async fn cluster(each: u8) -> Cluster {
    let cluster = Cluster::builder().topic("orders", 2).topic("bills", 1).start().await.unwrap();
    for value in 0..each {
        for partition in 0..2 {
            cluster.produce("orders", partition, None, Some(&[value])).unwrap();
        }
    }
    cluster
}

fn of_the_box(cluster: &Cluster, group: &str) -> Builder {
    Consumer::builder(cluster.bootstrap())
        .group(group)
        .property("auto.offset.reset", "earliest")
        .property("heartbeat.interval.ms", "100")
}

/// The group's committed offsets of the topic's two partitions.
async fn committed(consumer: &Consumer) -> [Option<i64>; 2] {
    let found = consumer.committed([at("orders", 0), at("orders", 1)]).await.unwrap();
    [0, 1].map(|partition| found.get(&at("orders", partition)).map(|offset| offset.offset))
}

async fn read(consumer: &mut Consumer, count: usize) -> Vec<OwnedRecord> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(consumer.poll(A_MOMENT).await.unwrap().iter().map(|record| record.detach()));
    }
    all
}

#[test]
fn h3_records_that_are_finished_in_any_order_are_committed_up_to_the_first_that_is_not() {
    program(async {
        let cluster = cluster(20).await;
        let build = || of_the_box(&cluster, "g").finish_each().property("max.poll.records", "7").build();
        let mut consumer = build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let records = read(&mut consumer, 40).await;
        consumer.commit_finished().await.unwrap();
        let begun = committed(&consumer).await;
        assert!(begun.iter().flatten().all(|offset| *offset == 0), "polling on finishes nothing: {begun:?}");
        for record in records.iter().filter(|record| record.offset() != 5 + i64::from(record.partition())) {
            record.finish().unwrap();
        }
        consumer.commit_finished().await.unwrap();
        assert_eq!(committed(&consumer).await, [Some(5), Some(6)]);
        assert_eq!(
            consumer.store(&records[0]).unwrap_err().kind(),
            ErrorKind::Misuse,
            "it would finish others"
        );
        consumer.close(CLOSING).await.unwrap();
        // The next owner reads from there; other threads finish its records while it polls.
        let mut consumer = build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let records = read(&mut consumer, 29).await;
        let threads: Vec<_> = (0..4)
            .map(|nth| {
                let tickets: Vec<Ticket> = records
                    .iter()
                    .rev()
                    .skip(nth)
                    .step_by(4)
                    .map(|record| record.ticket().unwrap())
                    .collect();
                std::thread::spawn(move || tickets.into_iter().for_each(|ticket| ticket.finish().unwrap()))
            })
            .collect();
        let handle = consumer.handle();
        while committed(&consumer).await != [Some(20), Some(20)] {
            assert!(consumer.poll(Duration::ZERO).await.unwrap().is_empty());
            handle.commit_finished().await.unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        consumer.close(CLOSING).await.unwrap();
        assert_eq!(records[0].finish().unwrap_err().kind(), ErrorKind::NotOwned, "it is over");
    });
}

#[test]
fn h3_an_automatic_commit_takes_what_is_finished_in_one_piece_and_so_does_close() {
    program(async {
        let cluster = cluster(10).await;
        let builder = of_the_box(&cluster, "g").finish_each().property("auto.commit.interval.ms", "50");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let records = read(&mut consumer, 20).await;
        for record in records.iter().filter(|record| [0, 1, 2, 7].contains(&record.offset())) {
            record.finish().unwrap();
        }
        while committed(&consumer).await != [Some(3), Some(3)] {
            assert!(consumer.poll(Duration::from_millis(20)).await.unwrap().is_empty());
        }
        records.iter().filter(|record| record.offset() < 6).for_each(|record| record.finish().unwrap());
        consumer.close(CLOSING).await.unwrap();
        let after = of_the_box(&cluster, "g").build().await.unwrap();
        assert_eq!(committed(&after).await, [Some(6), Some(6)]);
    });
}

/// On revocation, waits for the workers that handle the partition's records: here it does the work itself.
#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<Ticket>>>);

impl Waits {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Waits {
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        let this = self.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut open = this.lock();
            let ours = |ticket: &mut Ticket| {
                rebalance.partitions.contains(ticket.topic_partition()) && ticket.offset() < 8
            };
            open.extract_if(.., ours).for_each(|ticket| ticket.finish().unwrap());
            Ok(())
        })
    }
}

/// As in Java, a partition being revoked is still assigned until it is released: a seek moves the offset that a commit
/// counts as finished, and nothing else.
#[test]
fn h8_a_seek_while_partitions_are_revoked_counts_for_a_commit_and_for_nothing_after_it() {
    for (commits, then) in [(true, 3), (false, 10)] {
        program(async {
            let cluster = cluster(11).await;
            let mut first =
                of_the_box(&cluster, "g").property("max.poll.records", "1").build().await.unwrap();
            first.subscribe(["orders"]).await.unwrap();
            let mut seen = [0, 0];
            while seen != [10, 10] {
                let Next::Records(records) = first.next().await.unwrap() else { continue };
                for record in &records {
                    let partition = at("orders", record.partition());
                    seen[record.partition() as usize] += 1;
                    if record.offset() == 9 {
                        first.pause([partition]).unwrap();
                    }
                }
            }
            let mut second = of_the_box(&cluster, "g").build().await.unwrap();
            second.subscribe(["orders"]).await.unwrap();
            let mut begins = None;
            while begins.is_none() {
                if let Ok(Ok(Next::Revoking(revoking))) = tokio::time::timeout(A_MOMENT, first.next()).await {
                    for partition in &revoking.partitions {
                        first.seek(partition.clone(), StartAt::Offset(3.into())).await.unwrap();
                    }
                    if commits {
                        first.commit_finished().await.unwrap();
                    }
                }
                let records = second.poll(Duration::from_millis(10)).await.unwrap();
                begins = records.iter().next().map(|record| (record.partition(), record.offset()));
            }
            let (partition, offset) = begins.unwrap();
            assert_eq!(offset, then, "commits: {commits}");
            let late = first.seek(at("orders", partition), StartAt::Offset(3.into())).await;
            assert_eq!(late.unwrap_err().kind(), ErrorKind::NotOwned, "it is released");
        });
    }
}

#[test]
fn h2_h8_records_finished_before_the_listener_ends_are_committed_before_the_next_owner_begins() {
    for assignor in ["range", "cooperative-sticky"] {
        program(async {
            let cluster = cluster(10).await;
            let waits = Waits::default();
            let builder = of_the_box(&cluster, "g").property("partition.assignment.strategy", assignor);
            let mut first = builder.finish_each().listener(waits.clone()).build().await.unwrap();
            first.subscribe(["orders"]).await.unwrap();
            let mut read = 0;
            while read < 20 {
                let records = first.poll(A_MOMENT).await.unwrap();
                read += records.len();
                waits.lock().extend(records.iter().map(|record| record.ticket().unwrap()));
            }
            let builder = of_the_box(&cluster, "g").property("partition.assignment.strategy", assignor);
            let mut second = builder.build().await.unwrap();
            second.subscribe(["orders"]).await.unwrap();
            let begins = loop {
                let _ = first.poll(Duration::from_millis(10)).await.unwrap();
                let records = second.poll(Duration::from_millis(10)).await.unwrap();
                if let Some(record) = records.iter().next() {
                    break (record.partition(), record.offset());
                }
            };
            assert_eq!(begins.1, 8, "{assignor}: what the listener waited for does not come again");
            let mut late = std::mem::take(&mut *waits.lock());
            let late = late.extract_if(.., |ticket| ticket.topic_partition().partition == begins.0);
            for ticket in late {
                assert_eq!(ticket.finish().unwrap_err().kind(), ErrorKind::NotOwned, "{assignor}");
            }
        });
    }
}

#[test]
fn h2_a_seek_ends_what_may_be_said_of_the_records_before_it() {
    program(async {
        let cluster = cluster(10).await;
        let mut consumer = of_the_box(&cluster, "g").finish_each().build().await.unwrap();
        consumer.assign([at("orders", 0)]).await.unwrap();
        let before = read(&mut consumer, 10).await;
        before.iter().take(3).for_each(|record| record.finish().unwrap());
        consumer.seek(at("orders", 0), StartAt::Offset(Position::at(6))).await.unwrap();
        let after = read(&mut consumer, 4).await;
        assert_eq!(before[3].finish().unwrap_err().kind(), ErrorKind::NotOwned);
        after[0].finish().unwrap();
        consumer.commit_finished().await.unwrap();
        assert_eq!(committed(&consumer).await, [Some(7), None]);
    });
}

#[test]
fn h5_a_commit_that_fails_in_part_tells_which_part() {
    program(async {
        let cluster = cluster(10).await;
        for value in 0..10 {
            cluster.produce("bills", 0, None, Some(&[value])).unwrap();
        }
        let mut consumer =
            of_the_box(&cluster, "g").property("enable.auto.commit", "false").build().await.unwrap();
        consumer.assign([at("orders", 0), at("orders", 1), at("bills", 0)]).await.unwrap();
        read(&mut consumer, 30).await;
        let refusal =
            cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Rewrite::partitions_fail(29)).topic("orders"));
        let error = consumer.commit_finished().await.unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::Authorization, None), "{error}");
        assert!(error.to_string().contains("and 1 more"), "{error}");
        assert!(error.to_string().contains("1 of its partitions were committed"), "{error}");
        let report = error.commit_report().unwrap();
        assert_eq!(report.committed().collect::<Vec<_>>(), [&at("bills", 0)]);
        let failed: Vec<_> = report.failed().map(|(of, why)| (of.clone(), why.kind(), why.code())).collect();
        let code = Some(offtake_wire::ErrorCode::TopicAuthorizationFailed);
        let why = |partition| (at("orders", partition), ErrorKind::Authorization, code);
        assert_eq!(failed, [why(0), why(1)]);
        cluster.withdraw(refusal);
        consumer.commit_finished().await.unwrap();
        assert_eq!(committed(&consumer).await, [Some(10), Some(10)]);
    });
}

fn with(offset: i64, metadata: impl Into<String>) -> OffsetAndMetadata {
    OffsetAndMetadata::new(offset).with_metadata(metadata)
}

#[test]
fn h13_metadata_comes_back_as_it_was_and_too_much_of_it_fails_for_good() {
    for version in [V2_8_2, V4_3_0] {
        let of = shared(version);
        let topic = filled(of, 2, 5, "none");
        program(async {
            let consumer = Consumer::builder(of.kafka.bootstrap()).group(unique("group"));
            let consumer = consumer.property("default.api.timeout.ms", "15000");
            let mut consumer = consumer.property("enable.auto.commit", "false").build().await.unwrap();
            consumer.assign([at(&topic, 0), at(&topic, 1)]).await.unwrap();
            let both = [at(&topic, 0), at(&topic, 1)];
            for metadata in ["", "host-7", "a\0b\0", "\u{1F980} é \u{7f}", &"m".repeat(4096)] {
                let offsets = [(both[0].clone(), with(3, metadata)), (both[1].clone(), with(4, ""))];
                consumer.commit_offsets(offsets.clone()).await.unwrap();
                let found = consumer.committed(both.clone()).await.unwrap();
                assert_eq!(found, BTreeMap::from(offsets), "{version:?}: {metadata:?}");
            }
            for length in [4097, 40_000] {
                let offsets =
                    [(both[0].clone(), with(4, "m".repeat(length))), (both[1].clone(), with(5, "fits"))];
                let began = Instant::now();
                let error = consumer.commit_offsets(offsets).await.unwrap_err();
                assert!(began.elapsed() < Duration::from_secs(10), "there is nothing to wait for: {error}");
                assert!(!error.is_retriable() && !error.is_fatal(), "{error}");
                assert_eq!(error.code(), Some(offtake_wire::ErrorCode::OffsetMetadataTooLarge), "{error}");
                assert!(error.to_string().contains("shorten the metadata"), "{error}");
                let report = error.commit_report().unwrap();
                assert_eq!(report.committed().collect::<Vec<_>>(), [&both[1]], "{version:?}");
            }
            // Old coordinators treat a refused partition as pending until its next commit.
            consumer.commit_offsets([(both[0].clone(), with(2, "again"))]).await.unwrap();
            let found = consumer.committed(both.clone()).await.unwrap();
            assert_eq!(
                (&found[&both[0]], &found[&both[1]]),
                (&with(2, "again"), &with(5, "fits")),
                "{version:?}"
            );
            consumer.close(CLOSING).await.unwrap();
        });
    }
}

#[test]
fn c1_a_commit_is_retried_until_its_own_deadline() {
    program(async {
        let cluster = cluster(10).await;
        let mut consumer =
            of_the_box(&cluster, "g").property("enable.auto.commit", "false").build().await.unwrap();
        consumer.assign([at("orders", 0)]).await.unwrap();
        let records = loop {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        let loading = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Rewrite::partitions_fail(14)));
        for within in [Duration::from_millis(300), Duration::from_millis(1200)] {
            let (machine, began) = (Oversleep::new(), Instant::now());
            let error = consumer.commit_within(&records, within).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            let took = began.elapsed();
            let bound = within + Duration::from_millis(700) + machine.allowance();
            assert!(took >= within && took < bound, "{within:?}: {took:?}");
            let offsets = [(at("orders", 0), with(4, ""))];
            let error =
                consumer.commit_offsets_within(offsets, Duration::from_millis(100)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        }
        let tries = cluster.hits(loading);
        assert!(tries > 4, "it was tried {tries} times");
        // If the coordinator is back before the deadline, no error is reported.
        let commit = consumer.commit_async(&records).unwrap();
        cluster.withdraw(loading);
        commit.await.unwrap();
        assert_eq!(committed(&consumer).await, [Some(10), None]);
    });
}

#[test]
fn a_commit_that_is_not_waited_for_can_be_asked_about_and_tells_of_its_failure_if_it_is_not() {
    program(async {
        let cluster = cluster(10).await;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<Error>();
        let builder =
            of_the_box(&cluster, "g").property("enable.auto.commit", "false").events(move |event| {
                if let Event::Error(error) = event {
                    let _ = tell.send(error);
                }
            });
        let mut consumer = builder.build().await.unwrap();
        consumer.assign([at("orders", 0)]).await.unwrap();
        let records = loop {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        // Several at a time: each has its outcome, the last one takes effect.
        let commits: Vec<_> = (0..5).map(|_| consumer.commit_async(&records).unwrap()).collect();
        for commit in commits {
            commit.await.unwrap();
        }
        let refused =
            || cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Rewrite::partitions_fail(29)).once());
        refused();
        let error = consumer.commit_async(&records).unwrap().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
        assert!(told.try_recv().is_err(), "who waits is told, and nobody else");
        refused();
        drop(consumer.commit_async(&records).unwrap());
        assert_eq!(told.recv().await.unwrap().kind(), ErrorKind::Authorization);
        // Dropped after the answer has arrived.
        refused();
        let commit = consumer.commit_async(&records).unwrap();
        // A commit with other offsets waits for it, and is sent separately.
        let end = records.partitions().last().unwrap().next_offset();
        consumer.commit_offsets([(at("orders", 0), with(end, "another"))]).await.unwrap();
        assert!(told.try_recv().is_err());
        drop(commit);
        assert_eq!(told.recv().await.unwrap().kind(), ErrorKind::Authorization);
    });
}

#[test]
fn h9_an_offset_that_poll_has_not_come_to_is_not_committed() {
    program(async {
        let cluster = cluster(10).await;
        let mut consumer = of_the_box(&cluster, "g")
            .property("enable.auto.commit", "false")
            .property("max.poll.records", "4")
            .build()
            .await
            .unwrap();
        let orders = at("orders", 0);
        consumer.assign([orders.clone()]).await.unwrap();
        // It begins there, or at the beginning, whichever answer arrives first.
        consumer.commit_offsets([(orders.clone(), with(2, ""))]).await.unwrap();
        read(&mut consumer, 4).await;
        let position = consumer.position(orders.clone()).unwrap();
        for beyond in [position + 1, position + 5, 1000] {
            let error = consumer.commit_offsets([(orders.clone(), with(beyond, ""))]).await.unwrap_err();
            assert_eq!((error.kind(), error.partition()), (ErrorKind::Misuse, Some(&orders)), "{error}");
        }
        let error = consumer.commit_offsets([(orders.clone(), with(-1, ""))]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misuse, "{error}");
        assert_eq!(committed(&consumer).await, [Some(2), None]);
        consumer.commit_offsets([(orders.clone(), with(position, ""))]).await.unwrap();
        // An application that means to skip seeks.
        consumer.seek(orders.clone(), StartAt::Offset(Position::at(8))).await.unwrap();
        consumer.commit_offsets([(orders.clone(), with(8, ""))]).await.unwrap();
        assert_eq!(read(&mut consumer, 2).await[0].offset(), 8);
        assert_eq!(committed(&consumer).await, [Some(8), None]);
    });
}

/// Reads all records of `topic` with two partitions, and asks for the lag.
async fn lag_is_nothing_at_the_end(bootstrap: &str, tool: &JavaTool, topic: &str, most: &str) {
    for isolation in ["read_committed", "read_uncommitted"] {
        let (group, ends) = (unique("group"), tool.list_offsets(topic, "latest", isolation));
        let builder = Consumer::builder(bootstrap).group(&group).property("isolation.level", isolation);
        let builder = builder.property("auto.offset.reset", "earliest").property("max.poll.records", most);
        let mut consumer = builder.property("enable.auto.commit", "false").build().await.unwrap();
        consumer.assign([at(topic, 0), at(topic, 1)]).await.unwrap();
        let mut last = BTreeMap::new();
        while consumer.lags().into_values().filter(|lag| *lag == Some(0)).count() < 2 {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            for part in records.partitions() {
                last.insert(part.partition(), part.clone());
            }
            // Committed at once, the offset is after the markers.
            if !records.is_empty() {
                consumer.commit(&records).await.unwrap();
            }
        }
        for (partition, end) in (0_i32..).zip(&ends) {
            let place = at(topic, partition);
            assert_eq!(consumer.position(&place), Some(*end), "{isolation} {partition}");
        }
        let committed = consumer.committed([at(topic, 0), at(topic, 1)]).await.unwrap();
        for (place, offset) in committed {
            assert!(last.contains_key(&place.partition));
            assert_eq!(offset.offset, ends[place.partition as usize], "{isolation} {place}");
        }
        consumer.close(CLOSING).await.unwrap();
    }
}

/// Committed, aborted and open transactions, the last two at the end of one partition; the other has no records.
fn transactions(tool: &JavaTool, topic: &str) -> String {
    let spec = |value: &str| RecordSpec::to(topic).partition(0).value(value);
    let [done, gone, open] = [unique("done"), unique("gone"), unique("open")];
    tool.produce(&[spec("plain"), spec("plain")]);
    for _ in 0..3 {
        tool.begin(&done);
        tool.produce_within(&done, &[spec("committed"), spec("committed")]);
        tool.commit(&done);
    }
    tool.begin(&gone);
    tool.produce_within(&gone, &[spec("aborted")]);
    tool.abort(&gone);
    tool.begin(&open);
    tool.produce_within(&open, &[spec("open")]);
    // The markers are written after the answer; the last one lies before the open record.
    let deadline = Instant::now() + Duration::from_secs(60);
    while tool.list_offsets(topic, "latest", "read_committed")[0] != 13 {
        assert!(Instant::now() < deadline, "the markers were not written");
    }
    open
}

/// Commits, and waits for the markers, which brokers write after their answer.
fn commit(tool: &JavaTool, transaction: &str, topic: &str) {
    tool.commit(transaction);
    let ends = |isolation| tool.list_offsets(topic, "latest", isolation);
    let deadline = Instant::now() + Duration::from_secs(60);
    while ends("read_committed") != ends("read_uncommitted") {
        assert!(Instant::now() < deadline, "the markers were not written");
    }
}

#[test]
fn safe14_k6_lag_ends_at_nothing_under_both_isolation_levels_in_the_box() {
    let at = Boxed::start(&["orders:2"]);
    let open = transactions(&at.tool, "orders");
    for most in ["1", "500"] {
        program(lag_is_nothing_at_the_end(at.bootstrap(), &at.tool, "orders", most));
    }
    commit(&at.tool, &open, "orders");
    program(lag_is_nothing_at_the_end(at.bootstrap(), &at.tool, "orders", "3"));
}

#[test]
fn safe14_k6_lag_ends_at_nothing_under_both_isolation_levels_on_kafka() {
    let of = shared(V4_3_0);
    let topic = of.tool.create_topic(&unique("lag"), 2, &[]);
    let open = transactions(&of.tool, &topic);
    for most in ["1", "500"] {
        program(lag_is_nothing_at_the_end(&of.kafka.bootstrap(), &of.tool, &topic, most));
    }
    commit(&of.tool, &open, &topic);
    program(lag_is_nothing_at_the_end(&of.kafka.bootstrap(), &of.tool, &topic, "3"));
}

/// Adds events and records, in order, until the position is reached.
async fn tell_of(consumer: &mut Consumer, of: &TopicPartition, until: i64, story: &mut Vec<String>) {
    let mut come = false;
    while !come {
        let records = consumer.poll(A_MOMENT).await.unwrap();
        for event in records.resets() {
            if let Event::Reset { from, to, reason, skipped, .. } = event {
                story.push(format!("reset from {from:?} to {to}: {reason:?}, {skipped:?} skipped"));
            }
        }
        let offsets: Vec<_> = records.iter().map(|record| record.offset()).collect();
        if let [first, .., last] = offsets[..] {
            story.push(format!("read {first} to {last}"));
        }
        come = consumer.position(of) == Some(until) && records.is_empty();
    }
}

#[test]
fn l1_a_position_that_is_reset_is_told_between_the_records_before_and_after() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 1, 20, "none");
        let (place, mut story) = (at(&topic, 0), Vec::new());
        let told = Arc::new(Mutex::new(0));
        let count = told.clone();
        let builder = Consumer::builder(of.kafka.bootstrap()).group(unique("group")).events(move |event| {
            *count.lock().unwrap() += i32::from(matches!(event, Event::Reset { .. }));
        });
        let mut consumer = builder.property("auto.offset.reset", "earliest").build().await.unwrap();
        consumer.assign([place.clone()]).await.unwrap();
        tell_of(&mut consumer, &place, 20, &mut story).await;
        // The records that the application goes back to are deleted.
        of.tool.delete_records(&topic, 0, 12);
        consumer.seek(place.clone(), StartAt::Offset(Position::at(5))).await.unwrap();
        tell_of(&mut consumer, &place, 20, &mut story).await;
        consumer.seek(place.clone(), StartAt::Policy).await.unwrap();
        tell_of(&mut consumer, &place, 20, &mut story).await;
        let expected = [
            format!("reset from None to 0: {:?}, None skipped", ResetReason::NothingCommitted),
            "read 0 to 19".to_owned(),
            format!("reset from Some(5) to 12: {:?}, Some(7) skipped", ResetReason::OutOfRange),
            "read 12 to 19".to_owned(),
            format!("reset from None to 12: {:?}, None skipped", ResetReason::Asked),
            "read 12 to 19".to_owned(),
        ];
        assert_eq!(story, expected);
        assert_eq!(*told.lock().unwrap(), 3, "and at once, for those who watch");
        consumer.close(CLOSING).await.unwrap();
    });
}

#[test]
fn n2_a_commit_to_a_coordinator_that_is_away_ends_in_time_and_counts_when_it_is_back() {
    program(async {
        let cluster = cluster(10).await;
        let mut consumer =
            of_the_box(&cluster, "g").property("enable.auto.commit", "false").build().await.unwrap();
        consumer.assign([at("orders", 0)]).await.unwrap();
        read(&mut consumer, 10).await;
        let silent = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Fail(16)));
        let (machine, began) = (Oversleep::new(), Instant::now());
        let error = consumer.commit_finished_within(Duration::from_millis(500)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let took = began.elapsed();
        assert!(took < Duration::from_millis(1500) + machine.allowance(), "{took:?}");
        cluster.withdraw(silent);
        consumer.commit_finished().await.unwrap();
        assert_eq!(committed(&consumer).await, [Some(10), None]);
    });
}

/// With all kinds of batches: transactions, tombstones, every codec, gaps.
#[test]
fn batches_that_other_threads_finish_are_committed() {
    let at = shared(V4_3_0);
    let (topics, group) = (specimens(V4_3_0), unique("batches"));
    let end = |topic: &String| {
        let ends = at.tool.list_offsets(topic, "latest", "read_uncommitted");
        (0..)
            .zip(ends)
            .map(|(index, end)| (TopicPartition::new(topic.as_str(), index), end))
            .collect::<Vec<_>>()
    };
    let ends: Vec<_> = topics.iter().flat_map(end).collect();
    program(async {
        for again in [false, true] {
            let consumer = Consumer::builder(at.kafka.bootstrap()).group(&group).finish_each();
            let mut consumer = consumer.property("auto.offset.reset", "earliest").build().await.unwrap();
            consumer.subscribe(topics.iter().map(String::as_str)).await.unwrap();
            let mut threads = Vec::new();
            while !ends.iter().all(|(of, end)| consumer.position(of).is_some_and(|position| position >= *end))
            {
                for batch in consumer.poll_batches(A_MOMENT).await.unwrap() {
                    threads.push(std::thread::spawn(move || batch.finish()));
                }
            }
            assert_eq!(threads.is_empty(), again, "what is committed is not read again");
            for thread in threads {
                thread.join().unwrap().unwrap();
            }
            consumer.close(CLOSING).await.unwrap();
        }
    });
}
