//! Transactions with unknown outcomes, and transactions of which brokers refuse something.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use offtake::{Consumer, OwnedRecord};
use offtake_broker::{ApiKey, Config, Fault, FaultRule, NewRecord, Rewrite};
use offtake_worker::{Attempt, Event, ProducerRecord, StopReason, Transactions};
use tokio::runtime::Handle;

use crate::{support::*, transactional::*};

const INVALID_TXN_STATE: i16 = 48;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;

/// The coordinator no longer has the transaction, so that no response says whether it was committed. The group has exactly its
/// offsets, but from elsewhere.
#[tokio::test(start_paused = true)]
async fn safe11_offsets_that_are_equal_by_chance_are_not_taken_for_a_commit() {
    for version in [0, 2] {
        let cluster = cluster_of(version).await;
        let ledger = Ledger::default();
        let handler = ledger.around(|record, attempt| async move { result(&record, &attempt) });
        let worker = worker(&cluster).transactional(by(&cluster, "a")).commit_interval(secs(30));
        let running = Running::start(worker, handler);
        running.until("all is handled", |running| running.handle.metrics().handled == 120).await;
        let unanswered = cluster.inject(FaultRule::on(ApiKey::EndTxn, Fault::Drop).once());
        running.until("it was asked to commit", |_| cluster.hits(unanswered) > 0).await;
        let unknown = cluster.inject(FaultRule::on(ApiKey::EndTxn, Fault::Fail(INVALID_TXN_STATE)).once());
        let others = cluster.inject(FaultRule::on(ApiKey::OffsetFetch, Rewrite::committed_offset(RECORDS)));
        running.until("it was asked", |_| cluster.hits(others) > 0).await;
        assert_eq!((cluster.hits(unanswered), cluster.hits(unknown)), (1, 1));
        cluster.withdraw(others);
        running
            .until("all is committed", |running| {
                let partitions = &running.handle.metrics().partitions;
                partitions.len() == 3 && partitions.values().all(|of| of.committed == Some(RECORDS))
            })
            .await;
        assert!(running.stop().await.is_clean());
        assert_eq!(once(&seen(&cluster, "out").await), all(), "{version}");
        assert_eq!(committed_offsets(&cluster).await, everything());
        assert!(ledger.done().values().all(|times| *times == 1), "what was aborted goes into the next one");
    }
}

/// Brokers refuse a batch because of one record. The owners of the other records must not suffer.
#[tokio::test(start_paused = true)]
async fn a_result_that_is_refused_stops_its_own_partition_and_none_of_those_beside_it_in_its_batch() {
    for version in [0, 2] {
        let cluster = cluster_of(version).await;
        // It accepts no record without a key.
        let compacted = [("cleanup.policy", "compact")];
        cluster.with(|model, _| model.create_topic("keyed", 2, -1, &compacted)).unwrap();
        let worker = worker(&cluster).transactional(by(&cluster, "a")).commit_interval(secs(5));
        let running = Running::start(worker, |record, attempt| async move {
            let made_of = format!("{} {}", record.partition(), record.offset());
            let output = ProducerRecord::to("keyed").partition(0).value(&made_of);
            match (record.partition(), record.offset()) {
                (1, 9) => attempt.send(output),
                _ => attempt.send(output.key("k")),
            }
        });
        running
            .until("the others are done", |running| {
                let committed = |of: i32| running.handle.metrics().partitions[&orders(of)].committed;
                running.handle.metrics().partitions.len() == 3
                    && [(0, RECORDS), (1, 9), (2, RECORDS)].iter().all(|(of, to)| committed(*of) == Some(*to))
            })
            .await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let summary = running.stop().await;
        let stopped: Vec<_> = summary.stopped.iter().map(|of| (of.partition.partition, of.offset)).collect();
        assert_eq!(stopped, [(1, Some(9))]);
        assert!(summary.stopped.iter().all(|of| matches!(of.why, StopReason::ResultFailed { .. })));
        let expected: BTreeSet<_> = all().into_iter().filter(|(of, at)| *of != 1 || *at < 9).collect();
        assert_eq!(once(&seen(&cluster, "keyed").await), expected, "{version}");
    }
}

/// The client lost its permission to read a topic while it had records of it.
#[tokio::test(start_paused = true)]
async fn a_source_whose_offset_is_refused_stops_and_the_others_are_committed() {
    for version in [0, 2] {
        let cluster = cluster_of(version).await;
        cluster.create_topic("more", 1).unwrap();
        cluster.append("more", 0, &[NewRecord::new("0"), NewRecord::new("1")]).unwrap();
        let refusal = Rewrite::partitions_fail(TOPIC_AUTHORIZATION_FAILED);
        let rule = cluster.inject(FaultRule::on(ApiKey::TxnOffsetCommit, refusal).topic("more"));
        let worker =
            worker(&cluster).subscribe(["orders", "more"]).transactional(by(&cluster, "a")).concurrency(2);
        let running = Running::start(worker, |record, attempt| async move {
            match record.topic() {
                "more" => attempt.send(ProducerRecord::to("out").value("9 9")),
                _ => result(&record, &attempt),
            }
        });
        running
            .until("the others are done", |running| {
                let partitions = &running.handle.metrics().partitions;
                let committed = |of: i32| partitions.get(&orders(of)).and_then(|of| of.committed);
                (0..PARTITIONS).all(|of| committed(of) == Some(RECORDS))
            })
            .await;
        let summary = running.stop().await;
        assert!(cluster.hits(rule) > 0 && summary.last_commit.is_ok(), "{summary:?}");
        let stopped: Vec<_> =
            summary.stopped.iter().map(|of| (of.partition.to_string(), of.offset)).collect();
        assert_eq!(stopped, [("more-0".to_owned(), Some(0))]);
        assert!(matches!(summary.stopped[0].why, StopReason::OffsetRefused { .. }), "{summary:?}");
        assert_eq!(once(&seen(&cluster, "out").await), all(), "{version}: and nothing of what is not passed");
        assert_eq!(committed_offsets(&cluster).await, everything());
    }
}

/// A member that gets no response of its group for a session loses its partitions, and may get them back under its former
/// identity (KIP-848). It then reads the committed offsets from before its transaction's offsets arrived, and the group accepts
/// these.
#[tokio::test(start_paused = true)]
async fn safe11_late_transaction_offsets_of_a_lost_and_returned_partition_are_not_committed() {
    let cluster = cluster_of(2).await;
    let inside = cluster.clone();
    let builder = Consumer::builder(cluster.bootstrap())
        .group("job")
        .spawn_on(Handle::current())
        .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
        .property("auto.offset.reset", "earliest")
        .property("request.timeout.ms", 2000)
        .property("group.protocol", "consumer");
    let patient = by(&cluster, "a")
        .property("delivery.timeout.ms", 900_000)
        .property("request.timeout.ms", 800_000)
        .property("max.block.ms", 800_000)
        .property("transaction.timeout.ms", 800_000);
    let late = cluster.inject(FaultRule::on(ApiKey::TxnOffsetCommit, Fault::HoldRequest).once());
    let ledger = Ledger::default();
    let handler = ledger.around(|record, attempt| async move { result(&record, &attempt) });
    let running = Running::start(worker_of(builder).transactional(patient), handler);
    running.until("its offsets are on their way", |_| cluster.hits(late) > 0).await;
    let unheard = cluster.inject(FaultRule::on(ApiKey::ConsumerGroupHeartbeat, Fault::ApplyThenLose));
    let is_lost = |running: &Running| running.events().iter().any(|event| matches!(event, Event::Lost(_)));
    running.until("its session is over", is_lost).await;
    cluster.withdraw(unheard);
    running.until("all is handled again", |_| ledger.done().values().all(|times| *times >= 2)).await;
    cluster.release(late);
    running
        .until("all is committed", |running| {
            let partitions = &running.handle.metrics().partitions;
            partitions.len() == 3 && partitions.values().all(|of| of.committed == Some(RECORDS))
        })
        .await;
    let events = running.events();
    assert!(running.stop().await.is_clean());
    assert_eq!(once(&seen(&cluster, "out").await), all());
    let was_lost = |event: &Event| matches!(event, Event::Error(error) if error.to_string().contains("was lost meanwhile"));
    assert!(events.iter().any(was_lost), "the group took them: {events:?}");
}

/// Such brokers accept no mark, by which a worker would find out later whether a transaction was committed.
#[tokio::test(start_paused = true)]
async fn brokers_that_take_no_metadata_take_transactions_without_a_mark() {
    for (most, version) in [(16, 2), (15, 0), (15, 2), (0, 2)] {
        let mut config = Config::default();
        (config.offset_metadata_max_bytes, config.transaction_version) = (most, version);
        let cluster = cluster_with(config).await;
        cluster.create_topic("out", 2).unwrap();
        let ledger = Ledger::default();
        let handler = ledger.around(|record, attempt| async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            result(&record, &attempt)
        });
        let by = by(&cluster, "a").property("max.block.ms", 3000);
        let worker = worker(&cluster).transactional(by).queue(30).concurrency(2);
        let running = Running::start(worker, handler);
        running.until("something is committed", |running| running.handle.metrics().commits > 1).await;
        // The outcomes of the next ones are unknown.
        let lost = FaultRule::on(ApiKey::EndTxn, Fault::Drop).probably(0.4);
        let rule = cluster.inject(lost);
        while committed_offsets(&cluster).await != everything() {
            assert!(!running.task.is_finished());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(cluster.hits(rule) > 0);
        cluster.withdraw(rule);
        let events = running.events();
        let summary = running.stop().await;
        assert!(summary.stopped.is_empty(), "{summary:?}");
        assert_eq!(once(&seen(&cluster, "out").await), all(), "{most}");
        assert_eq!(committed_offsets(&cluster).await, everything());
        let is_refused = |event: &&Event| matches!(event, Event::Error(error) if error.code().is_some_and(|code| code.code() == OFFSET_METADATA_TOO_LARGE));
        let repeated = ledger.done().values().any(|times| *times > 1);
        match most {
            16 => assert!(!events.iter().any(|event| is_refused(&event)) && !repeated),
            _ => assert!(events.iter().filter(is_refused).count() == 1 && repeated, "{events:?}"),
        }
    }
}

/// Offsets of a deleted topic are refused. Those of other topics do not wait for it, even if the group does not learn of the
/// deletion.
#[tokio::test(start_paused = true)]
async fn a_source_topic_that_is_deleted_holds_up_no_transactions_of_others() {
    for (version, is_heard) in [(0, true), (2, true), (0, false), (2, false)] {
        let cluster = cluster_of(version).await;
        cluster.create_topic("more", 2).unwrap();
        for partition in 0..2 {
            cluster.append("more", partition, &[NewRecord::new("0"), NewRecord::new("1")]).unwrap();
        }
        let (is_gone, inside) = (Arc::new(AtomicBool::new(false)), cluster.clone());
        let worker = worker_of(builder(&cluster).property("session.timeout.ms", 45_000));
        let worker = worker.subscribe(["orders", "more"]).transactional(by(&cluster, "a")).concurrency(4);
        let running = Running::start(worker, move |record, attempt| {
            // The topic is deleted while its records are at handlers.
            if record.topic() == "more" && !is_gone.swap(true, Ordering::SeqCst) {
                inside.with(|model, _| model.delete_topic("more")).unwrap();
                if !is_heard {
                    inside.inject(FaultRule::on(ApiKey::JoinGroup, Fault::Drop));
                }
            }
            async move {
                match record.topic() {
                    "more" => attempt.send(ProducerRecord::to("out").value("9 9")),
                    _ => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        result(&record, &attempt)
                    }
                }
            }
        });
        let began = tokio::time::Instant::now();
        running
            .until("the others are committed", |running| {
                let partitions = &running.handle.metrics().partitions;
                let committed = |of: i32| partitions.get(&orders(of)).and_then(|of| of.committed);
                (0..PARTITIONS).all(|of| committed(of) == Some(RECORDS))
            })
            .await;
        let took = began.elapsed();
        assert!(took < secs(30), "{took:?}: `max.block.ms` is a minute");
        let events = running.events();
        let is_told = |event: &Event| {
            matches!(event, Event::Error(error) if error.partition().is_some_and(|of| of.topic == "more")
                && error.to_string().contains("there is no such topic"))
        };
        assert_eq!(events.iter().filter(|event| is_told(event)).count(), 1, "{events:?}");
        let stopped: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Stopped(stopped) => Some((stopped.partition.to_string(), stopped.offset, stopped.why)),
                _ => None,
            })
            .collect();
        assert!(is_heard || !stopped.is_empty(), "it is this member's still");
        for (partition, offset, why) in stopped {
            assert!(partition.starts_with("more-") && offset == Some(0), "{partition} {offset:?}");
            assert!(matches!(why, StopReason::OffsetRefused { .. }), "{why:?}");
        }
        assert!(running.stop().await.last_commit.is_ok());
        assert_eq!(once(&seen(&cluster, "out").await), all());
    }
}

/// The producer gives up a transaction before its coordinator does, which would fence it if `transaction.version` is below 2.
#[tokio::test(start_paused = true)]
async fn by_default_results_that_cannot_be_written_for_minutes_end_no_worker() {
    for version in [0, 2] {
        let cluster = cluster_of(version).await;
        let inside = cluster.clone();
        let by = Transactions::by("a").producer(move |builder| {
            let inside = inside.clone();
            let dial = offtake_producer::dial::InMemory::new(move |port| inside.connect(port));
            builder.dial(dial).spawn_on(Handle::current()).replay(7, WALL_MS)
        });
        let no_leader = Rewrite::partitions_fail(6); // NOT_LEADER_OR_FOLLOWER
        let rule = cluster.inject(FaultRule::on(ApiKey::Produce, no_leader));
        let handler = |record: OwnedRecord, attempt: Attempt| async move { result(&record, &attempt) };
        let running = Running::start(worker(&cluster).transactional(by), handler);
        tokio::time::sleep(secs(300)).await;
        assert!(cluster.hits(rule) > 0);
        cluster.withdraw(rule);
        let is_done = |running: &Running| {
            running.handle.metrics().partitions.values().all(|of| of.committed == Some(RECORDS))
        };
        running.until("all is committed", is_done).await;
        assert!(running.stop().await.is_clean(), "{version}");
        let seen = seen(&cluster, "out").await;
        assert_eq!(seen.values().map(Vec::len).sum::<usize>(), all().len(), "{version}");
    }
}
