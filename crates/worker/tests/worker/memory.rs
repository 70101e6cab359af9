//! More is written than a producer has memory for.

use std::{collections::BTreeSet, time::Duration};

use offtake::ErrorKind;
use offtake_broker::{ApiKey, Fault, FaultRule};
use offtake_worker::{Attempt, Failure, Order, ProducerRecord, StopReason, Worker};

use crate::{
    support::*,
    transactional::{by, cluster_of, once, seen},
};

/// Sends the place of its record, and a kilobyte.
fn long_result(record: &offtake::OwnedRecord, attempt: &Attempt) -> Result<(), Failure> {
    let made_of = format!("{} {}", record.partition(), record.offset());
    attempt.send(ProducerRecord::to("out").value(&made_of).header("padding", &[0; 1000]))
}

fn has_committed_all(running: &Running) -> bool {
    let partitions = &running.handle.metrics().partitions;
    partitions.len() == 3 && partitions.values().all(|of| of.committed == Some(RECORDS))
}

/// A transaction is slow, and meanwhile everything is handled: more than five times the memory.
#[tokio::test(start_paused = true)]
async fn results_beyond_the_buffer_go_into_the_next_transaction() {
    for version in [0, 2] {
        let cluster = cluster_of(version).await;
        let by = by(&cluster, "a").property("buffer.memory", 20_000);
        let slow = Fault::Delay(secs(1));
        let rule = cluster.inject(FaultRule::on(ApiKey::EndTxn, slow).once());
        let ledger = Ledger::default();
        let handler = ledger.around(|record, attempt| async move { long_result(&record, &attempt) });
        let running = Running::start(worker(&cluster).transactional(by), handler);
        running.until("all is committed", has_committed_all).await;
        assert_eq!(cluster.hits(rule), 1);
        assert!(running.stop().await.is_clean());
        assert_eq!(once(&seen(&cluster, "out").await), all());
        assert!(ledger.done().values().all(|times| *times == 1), "handled again");
    }
}

/// The same holds for the last transaction, and for the one before partitions are handed over.
#[tokio::test(start_paused = true)]
async fn results_beyond_the_buffer_are_committed_before_the_end() {
    let cluster = cluster_of(2).await;
    let by = |id| by(&cluster, id).property("buffer.memory", 20_000);
    let start = |id| {
        let worker = worker(&cluster).transactional(by(id)).commit_interval(secs(3600));
        Running::start(worker, |record, attempt| async move { long_result(&record, &attempt) })
    };
    let first = start("a");
    first.until("all is handled", |first| first.handle.metrics().handled == all().len() as u64).await;
    let second = start("b");
    second.until("it has some", |second| !second.handle.metrics().partitions.is_empty()).await;
    tokio::time::sleep(secs(5)).await;
    let committed = committed_offsets(&cluster).await;
    assert!(committed.iter().any(|(_, offset)| *offset == RECORDS), "before the handover: {committed:?}");
    assert!(first.stop().await.is_clean());
    assert_eq!(committed_offsets(&cluster).await, everything());
    assert!(second.stop().await.is_clean());
    assert_eq!(once(&seen(&cluster, "out").await), all());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_sends_more_than_a_transaction_has_room_for_stops_its_partition_and_no_other() {
    let cluster = cluster_of(2).await;
    let by = by(&cluster, "a").property("buffer.memory", 20_000);
    let running = Running::start(worker(&cluster).transactional(by), |record, attempt| async move {
        let times = if (record.partition(), record.offset()) == (1, 9) { 19 } else { 1 };
        (0..times).try_for_each(|_| long_result(&record, &attempt))
    });
    running
        .until("the others are done", |running| {
            let metrics = running.handle.metrics();
            let committed = [0, 2].map(|of| metrics.partitions.get(&orders(of)).and_then(|of| of.committed));
            committed == [Some(RECORDS); 2] && metrics.partitions.values().any(|of| of.is_stopped)
        })
        .await;
    let summary = running.stop().await;
    let [stopped] = &summary.stopped[..] else { panic!("{summary:?}") };
    assert_eq!((stopped.partition.partition, stopped.offset), (1, Some(9)));
    let StopReason::ResultFailed { error } = &stopped.why else { panic!("{stopped:?}") };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("more than `buffer.memory` (20000 bytes)"), "{error}");
    assert_eq!(committed_offsets(&cluster).await, [(0, RECORDS), (1, 9), (2, RECORDS)]);
    let expected: BTreeSet<_> = all().into_iter().filter(|(of, at)| *of != 1 || *at < 9).collect();
    assert_eq!(once(&seen(&cluster, "out").await), expected);
}

/// A burst of letters while brokers are slow.
#[tokio::test(start_paused = true)]
async fn dead_letters_wait_for_room() {
    for is_transactional in [false, true] {
        let cluster = cluster_of(2).await;
        let worker: Worker = match is_transactional {
            true => {
                let by = by(&cluster, "a").property("buffer.memory", 5000);
                let letters = offtake_worker::DeadLetters::to("orders.dlq");
                worker(&cluster).transactional(by).dead_letters(letters)
            }
            false => worker(&cluster).dead_letters(dead_letters(&cluster).property("buffer.memory", 5000)),
        };
        cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Delay(Duration::from_millis(300))));
        let running =
            Running::start(worker.order(Order::Unordered), |_, _| async { Err(Failure::poison("never")) });
        running.until("all are written", has_committed_all).await;
        let summary = running.stop().await;
        assert!(summary.is_clean() && summary.stopped.is_empty(), "{summary:?}");
        assert_eq!(summary.dead_lettered, all().len() as u64);
        assert_eq!(once(&seen(&cluster, "orders.dlq").await), all());
    }
}

/// The next owner of the partition writes them.
#[tokio::test(start_paused = true)]
async fn letters_that_wait_for_room_are_not_written_once_their_partition_is_lost() {
    let cluster = cluster().await;
    let letters_to = dead_letters(&cluster).property("buffer.memory", 5000);
    let worker = worker(&cluster).order(Order::Unordered).dead_letters(letters_to);
    let slow = FaultRule::on(ApiKey::Produce, Fault::Delay(secs(1)));
    cluster.inject(slow.topic("orders.dlq").times(20));
    let running = Running::start(worker, |_, _| async { Err(Failure::poison("never")) });
    running
        .until("all are to be written", |running| running.handle.metrics().writing_dead_letters > 100)
        .await;
    let unknown_member = Fault::Fail(25);
    let rule = cluster.inject(FaultRule::on(ApiKey::Heartbeat, unknown_member).once());
    running.until("all are written", has_committed_all).await;
    assert_eq!(cluster.hits(rule), 1);
    assert!(running.stop().await.is_clean());
    let written = letters(&cluster).len();
    let (least, at_the_producer) = (all().len(), 20);
    assert!((least..least + at_the_producer).contains(&written), "{written}");
}
