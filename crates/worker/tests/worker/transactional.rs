//! Results, letters and offsets in one transaction: each record has its effect once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use offtake::{Consumer, ErrorKind, Header};
use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule};
use offtake_worker::{
    Attempt, Batch, DeadLetters, Error, Event, Failure, Handled, Order, ProducerRecord, Retry, StopReason,
    Transactions, Worker, dead_letters::Origin,
};
use tokio::runtime::Handle;

use crate::support::*;

/// The committed records of a topic, by partition and in order: for each, the partition and offset of its source record.
pub(crate) type Seen = BTreeMap<i32, Vec<(i32, i64)>>;

pub(crate) async fn cluster_of(transaction_version: i16) -> Cluster {
    let mut config = Config::default();
    config.transaction_version = transaction_version;
    let cluster = cluster_with(config).await;
    cluster.create_topic("out", 2).unwrap();
    cluster
}

pub(crate) fn by(cluster: &Cluster, id: &str) -> Transactions {
    let inside = cluster.clone();
    let by = Transactions::by(id)
        .property("request.timeout.ms", 2000)
        .property("delivery.timeout.ms", 10_000)
        .property("transaction.timeout.ms", 20_000);
    by.producer(move |builder| {
        let inside = inside.clone();
        let dial = offtake_producer::dial::InMemory::new(move |port| inside.connect(port));
        builder.dial(dial).spawn_on(Handle::current()).replay(7, WALL_MS)
    })
}

pub(crate) fn transactional(cluster: &Cluster, id: &str) -> Worker {
    transactional_of(worker(cluster), cluster, id)
}

pub(crate) fn transactional_of(worker: Worker, cluster: &Cluster, id: &str) -> Worker {
    worker.transactional(by(cluster, id)).dead_letters(DeadLetters::to("orders.dlq"))
}

/// Sends a record with the place of its source record.
pub(crate) fn result(record: &offtake::OwnedRecord, attempt: &Attempt) -> Result<(), Failure> {
    let made_of = format!("{} {}", record.partition(), record.offset());
    attempt.send(ProducerRecord::to("out").maybe_key(record.key()).value(&made_of))
}

/// The records that consumers of committed records see.
pub(crate) async fn seen(cluster: &Cluster, topic: &str) -> Seen {
    let inside = cluster.clone();
    let mut consumer = Consumer::builder(cluster.bootstrap())
        .spawn_on(Handle::current())
        .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
        .property("isolation.level", "read_committed")
        .build()
        .await
        .unwrap();
    consumer.assign([(topic, 0, 0), (topic, 1, 0)]).await.unwrap();
    let mut seen = Seen::new();
    loop {
        let records = consumer.poll(Duration::from_millis(500)).await.unwrap();
        if records.is_empty() {
            return seen;
        }
        for record in &records {
            let headers: Vec<Header<'_>> = record.headers().collect();
            let made_of = match Origin::read(headers) {
                Some(origin) => (origin.partition.unwrap(), origin.offset.unwrap()),
                None => {
                    let text = std::str::from_utf8(record.value().unwrap()).unwrap();
                    let (partition, offset) = text.split_once(' ').unwrap();
                    (partition.parse().unwrap(), offset.parse().unwrap())
                }
            };
            seen.entry(record.partition()).or_default().push(made_of);
        }
    }
}

pub(crate) fn once(seen: &Seen) -> BTreeSet<(i32, i64)> {
    let all: Vec<_> = seen.values().flatten().copied().collect();
    let once: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(all.len(), once.len(), "{:?}", all);
    once
}

/// Asserts that the results of each source partition are in the order of its log.
fn check_order(seen: &Seen) {
    for results in seen.values() {
        for partition in 0..PARTITIONS {
            let offsets: Vec<_> = results.iter().filter(|(of, _)| *of == partition).collect();
            assert!(offsets.is_sorted(), "{offsets:?}");
        }
    }
}

pub(crate) fn poison() -> BTreeSet<(i32, i64)> {
    all().into_iter().filter(|(_, offset)| offset % 17 == 5).collect()
}

/// Handlers that send a record before they fail, in various ways.
pub(crate) async fn handle(record: offtake::OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
    result(&record, &attempt)?;
    tokio::time::sleep(Duration::from_millis(record.offset().unsigned_abs() * 7 % 50)).await;
    match (record.offset() % 17, attempt.number()) {
        (5, _) => Err(Failure::poison("never")),
        (3 | 9, 1) => Err(Failure::retry("not now")),
        (7, 1) => panic!("no"),
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn each_record_has_its_result_once_in_order_or_its_dead_letter() {
    for version in [0, 2] {
        for order in [Order::Key, Order::Partition, Order::Unordered] {
            let cluster = cluster_of(version).await;
            let running = Running::start(transactional(&cluster, "a").order(order), handle);
            let finished = all().len() as u64;
            running
                .until("all is finished", |running| {
                    let metrics = running.handle.metrics();
                    metrics.handled + metrics.dead_lettered == finished
                        && metrics.partitions.values().all(|of| of.committed == Some(RECORDS))
                })
                .await;
            let events = running.events();
            let summary = running.stop().await;
            assert!(summary.is_clean(), "{summary:?}");
            let (results, letters) = (seen(&cluster, "out").await, seen(&cluster, "orders.dlq").await);
            check_order(&results);
            assert_eq!(once(&letters), poison());
            assert_eq!(once(&results), &all() - &poison());
            assert_eq!(committed_offsets(&cluster).await, everything());
            let told = events.iter().filter(|event| {
                matches!(event, Event::DeadLettered { to, to_offset: Some(_), .. } if to.topic == "orders.dlq")
            });
            assert_eq!((told.count(), summary.dead_lettered), (poison().len(), poison().len() as u64));
        }
    }
}

/// Whatever happens to a transaction, its records are not handled again.
#[tokio::test(start_paused = true)]
async fn aborted_results_go_into_the_next_transaction_and_unknown_outcomes_are_queried() {
    for (api, harm) in [
        (ApiKey::TxnOffsetCommit, Fault::Fail(22)), // ILLEGAL_GENERATION
        (ApiKey::EndTxn, Fault::Drop),
        (ApiKey::EndTxn, Fault::ApplyThenLose),
        (ApiKey::OffsetFetch, Fault::Late(Duration::from_millis(900))),
    ] {
        for version in [0, 2] {
            let cluster = cluster_of(version).await;
            let ledger = Ledger::default();
            let handler = ledger.around(|record, attempt| async move { result(&record, &attempt) });
            let by = by(&cluster, "a").property("max.block.ms", 3000);
            let worker = worker(&cluster).transactional(by).queue(30).concurrency(2);
            // Offsets are fetched only once or twice.
            let often = if api == ApiKey::OffsetFetch { 1.0 } else { 0.4 };
            let rule = cluster.inject(FaultRule::on(api, harm.clone()).probably(often));
            let running = Running::start(worker, handler);
            running
                .until("all is committed", |running| {
                    let partitions = &running.handle.metrics().partitions;
                    partitions.len() == 3 && partitions.values().all(|of| of.committed == Some(RECORDS))
                })
                .await;
            assert!(cluster.hits(rule) > 0, "{api:?} {harm:?}");
            cluster.withdraw(rule);
            assert!(running.stop().await.is_clean());
            assert_eq!(once(&seen(&cluster, "out").await), all(), "{api:?} {harm:?}");
            assert!(ledger.done().values().all(|times| *times == 1), "{api:?} {harm:?}: handled again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k10_a_worker_that_starts_with_an_id_fences_the_previous_one() {
    let cluster = cluster_of(2).await;
    let first = Running::start(transactional(&cluster, "a"), |record, attempt| async move {
        tokio::time::sleep(secs(1)).await;
        result(&record, &attempt)
    });
    first.until("it is at work", |running| running.handle.metrics().handled > 8).await;
    let second =
        Running::start(
            transactional(&cluster, "a"),
            |record, attempt| async move { result(&record, &attempt) },
        );
    match first.task.await.unwrap() {
        Err(Error::Client(error)) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
        other => panic!("{other:?}"),
    }
    second
        .until("it has all", |running| {
            let partitions = &running.handle.metrics().partitions;
            partitions.len() == 3 && partitions.values().all(|of| of.committed == Some(RECORDS))
        })
        .await;
    assert!(second.stop().await.is_clean());
    assert_eq!(once(&seen(&cluster, "out").await), all());
}

#[tokio::test(start_paused = true)]
async fn a_result_that_brokers_refuse_stops_its_partition_before_its_record() {
    let cluster = cluster_of(2).await;
    let running = Running::start(transactional(&cluster, "a"), |record, attempt| async move {
        match (record.partition(), record.offset()) {
            (0, 7) => attempt.send(ProducerRecord::to("out").value(&vec![0; 2 << 20])),
            (1, 9) => attempt.send(ProducerRecord::to("no such topic").value("x")),
            _ => result(&record, &attempt),
        }
    });
    running
        .until("the other one is done", |running| {
            let metrics = running.handle.metrics();
            let stopped = metrics.partitions.values().filter(|of| of.is_stopped).count();
            stopped == 2 && metrics.partitions.get(&orders(2)).is_some_and(|of| of.committed == Some(RECORDS))
        })
        .await;
    let summary = running.stop().await;
    let stopped: Vec<_> = summary.stopped.iter().map(|of| (of.partition.partition, of.offset)).collect();
    assert_eq!(stopped, [(0, Some(7)), (1, Some(9))]);
    assert!(summary.stopped.iter().all(|of| matches!(of.why, StopReason::ResultFailed { .. })));
    assert_eq!(committed_offsets(&cluster).await, [(0, 7), (1, 9), (2, RECORDS)]);
    let expected: BTreeSet<_> =
        all().into_iter().filter(|(of, at)| *at < [7, 9, RECORDS][*of as usize]).collect();
    assert_eq!(once(&seen(&cluster, "out").await), expected);
}

/// A transaction waits for it, and with it everything else that would be committed.
#[tokio::test(start_paused = true)]
async fn a_topic_of_results_that_is_missing_is_told_long_before_its_partition_stops_and_as_a_reason_at_the_end()
 {
    let cluster = cluster_of(2).await;
    let running = Running::start(transactional(&cluster, "a"), |record, attempt| async move {
        match (record.partition(), record.offset()) {
            (1, 9) => attempt.send(ProducerRecord::to("typo").value("x")),
            _ => result(&record, &attempt),
        }
    });
    let began = tokio::time::Instant::now();
    let is_told = |event: &Event| matches!(event, Event::Error(error) if error.to_string().contains("typo"));
    running.until("it is told", |running| running.events().iter().any(is_told)).await;
    assert!(began.elapsed() < secs(5), "{:?}", began.elapsed());
    let summary = running.stop().await;
    let error = summary.last_commit.unwrap_err().to_string();
    assert!(error.contains("a topic that records were sent to does not exist"), "{error}");
    assert!(summary.stopped.is_empty() && seen(&cluster, "out").await.is_empty());
}

/// The results after a record that is retried wait for it, count in the queue, and are sent when it is finished.
#[tokio::test(start_paused = true)]
async fn results_behind_a_record_that_is_retried_wait_and_the_queue_stays_bounded() {
    let cluster = cluster_of(2).await;
    let worker =
        transactional(&cluster, "a").queue(40).retry(Retry::fixed(secs(60)).attempts(2)).concurrency(4);
    let running = Running::start(worker, |record, attempt| async move {
        match (record.partition(), record.offset(), attempt.number()) {
            (0, 0, 1) => Err(Failure::retry("later")),
            _ => result(&record, &attempt),
        }
    });
    tokio::time::sleep(secs(50)).await;
    let metrics = running.handle.metrics();
    assert_eq!(metrics.partitions[&orders(0)].committed, Some(0), "where it began");
    assert!(metrics.queued <= 40 + 10, "{metrics:?}");
    assert!(once(&seen(&cluster, "out").await).iter().all(|(of, _)| *of != 0));
    running
        .until("all is committed", |running| {
            running.handle.metrics().partitions.values().all(|of| of.committed == Some(RECORDS))
        })
        .await;
    let metrics = running.handle.metrics();
    assert_eq!((metrics.queued, metrics.queued_bytes), (0, 0), "nothing is kept that is committed");
    assert!(running.stop().await.is_clean());
    let results = seen(&cluster, "out").await;
    check_order(&results);
    assert_eq!(once(&results), all());
}

/// A record that stops its partition does not keep the results after it in the queue.
#[tokio::test(start_paused = true)]
async fn results_behind_a_record_that_stopped_its_partition_are_dropped_and_others_go_on() {
    let cluster = cluster_of(2).await;
    let worker = worker(&cluster).transactional(by(&cluster, "a")).queue(12).concurrency(2);
    let running = Running::start(worker, |record, attempt| async move {
        match (record.partition(), record.offset()) {
            (0, 3) => Err(Failure::retry("always")),
            _ => result(&record, &attempt),
        }
    });
    running
        .until("the others are done", |running| {
            let metrics = running.handle.metrics();
            (1..3)
                .all(|of| metrics.partitions.get(&orders(of)).is_some_and(|of| of.committed == Some(RECORDS)))
        })
        .await;
    let has_stopped =
        |running: &Running| running.events().iter().any(|event| matches!(event, Event::Stopped(_)));
    running.until("the record has stopped its partition", has_stopped).await;
    running.until("nothing of it is kept", |running| running.handle.metrics().queued == 0).await;
    let summary = running.stop().await;
    assert_eq!(summary.stopped.len(), 1);
    let expected: BTreeSet<_> = all().into_iter().filter(|(of, at)| *of > 0 || *at < 3).collect();
    assert_eq!(once(&seen(&cluster, "out").await), expected);
}

#[tokio::test(start_paused = true)]
async fn batches_and_blocking_handlers_send_too() {
    let cluster = cluster_of(2).await;
    let worker = transactional(&cluster, "a").order(Order::Partition);
    let summary = worker
        .run_batches(
            7,
            |batch| async move {
                for (record, attempt) in batch.attempts() {
                    result(record, attempt)?;
                }
                let first = batch.iter().next().map(|record| record.offset()).unwrap_or_default();
                if batch.attempts().any(|(record, attempt)| record.offset() == 9 && attempt.number() == 1) {
                    return Ok(batch.each(|record| match record.offset() {
                        9 => Err(Failure::retry("not now")),
                        _ => Ok(()),
                    }));
                }
                batch.send(ProducerRecord::to("orders.dlq").value(&format!("{first} 0")))?;
                Ok(Handled::All)
            },
            tokio::time::sleep(secs(20)),
        )
        .await
        .unwrap();
    assert!(summary.is_clean() && summary.handled == all().len() as u64, "{summary:?}");
    assert_eq!(once(&seen(&cluster, "out").await), all());
    assert!(!seen(&cluster, "orders.dlq").await.is_empty());

    let cluster = cluster_of(2).await;
    let worker = transactional(&cluster, "a");
    let blocking = |record: offtake::OwnedRecord, attempt: Attempt| result(&record, &attempt);
    let summary = worker.run_blocking(blocking, tokio::time::sleep(secs(20))).await.unwrap();
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(once(&seen(&cluster, "out").await), all());
}

/// Records made of a whole batch cannot be sent for a part of it.
#[tokio::test(start_paused = true)]
async fn a_batch_that_sends_as_a_whole_and_fails_in_part_ends_the_worker_and_says_what_failed() {
    let cluster = cluster_of(1).await;
    let worker = transactional(&cluster, "a").order(Order::Unordered);
    let handler = |batch: Batch| async move {
        batch.send(ProducerRecord::to("out").value("0 0"))?;
        Ok(batch.each(|record| match record.offset() % 4 {
            3 => Err(Failure::retry(format!("no stock for {}", record.offset()))),
            _ => Ok(()),
        }))
    };
    match worker.run_batches(7, handler, secs_from_now(20)).await {
        Err(Error::Fatal { reason, .. }) => {
            assert!(reason.contains("`Batch::send`") && reason.contains("no stock for 3"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(seen(&cluster, "out").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn results_sent_without_transactions_or_too_late_are_refused() {
    let cluster = cluster_of(2).await;
    let ended =
        worker(&cluster).run(|record, attempt| async move { result(&record, &attempt) }, secs_from_now(20));
    match ended.await {
        Err(Error::Fatal { reason, .. }) => assert!(reason.contains("Worker::transactional"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let kept = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keeping = std::sync::Arc::clone(&kept);
    let worker = transactional(&cluster, "a");
    let handler = move |_, attempt: Attempt| {
        keeping.lock().unwrap().push(attempt);
        async { Ok(()) }
    };
    assert!(worker.run(handler, secs_from_now(20)).await.unwrap().is_clean());
    let kept = std::mem::take(&mut *kept.lock().unwrap());
    assert!(!kept.is_empty());
    assert!(kept.iter().all(|attempt| attempt.send(ProducerRecord::to("out")).is_err()));
    assert!(seen(&cluster, "out").await.is_empty());
}

async fn secs_from_now(seconds: u64) {
    tokio::time::sleep(secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_reaches_no_coordinator_tells_it_and_may_be_stopped() {
    let cluster = cluster_of(2).await;
    let rule = cluster.inject(FaultRule::on(ApiKey::InitProducerId, Fault::Fail(15))); // COORDINATOR_NOT_AVAILABLE
    let worker = || worker(&cluster).transactional(by(&cluster, "a").property("max.block.ms", 3000));
    let running = Running::start(worker(), |record, attempt| async move { result(&record, &attempt) });
    running
        .until("it is told", |running| {
            let events = running.events();
            events.iter().filter(|event| matches!(event, Event::Error(_))).count() > 2
        })
        .await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.handled == 0);
    let running = Running::start(worker(), |record, attempt| async move { result(&record, &attempt) });
    tokio::time::sleep(secs(10)).await;
    cluster.withdraw(rule);
    running.until("it goes on", |running| running.handle.metrics().handled == all().len() as u64).await;
    assert!(running.stop().await.is_clean());
    assert_eq!(once(&seen(&cluster, "out").await), all());
}
