//! The end of a worker, and the work of the next one.

use std::collections::BTreeSet;

use offtake::OffsetAndMetadata;
use offtake_broker::{ApiKey, Config, Fault, FaultRule};
use offtake_worker::{Error, Event, Failure, Retry, StopReason, Worker};

use crate::support::*;

/// Runs a worker with one record that is never done, until it is stopped. Returns the handled records and the summary.
async fn with_a_gap(cluster: &offtake_broker::Cluster, worker: Worker) -> (Ledger, offtake_worker::Summary) {
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match (record.partition(), record.offset()) {
            (_, 3) => Err(Failure::retry("never")),
            _ => Ok(()),
        }
    });
    let running = Running::start(worker.retry(Retry::fixed(secs(1)).unlimited()), handler);
    // Later records with its key wait for it.
    let most = all().into_iter().filter(|(_, offset)| offset % KEYS != 3).count();
    running.until("all but one key are done", |_| ledger.done().len() == most).await;
    let summary = running.stop().await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(committed_offsets(cluster).await, [(0, 3), (1, 3), (2, 3)]);
    (ledger, summary)
}

async fn the_rest(cluster: &offtake_broker::Cluster) -> (Ledger, offtake_worker::Summary) {
    let ledger = Ledger::default();
    let running = Running::start(worker(cluster), ledger.around(|_, _| async { Ok(()) }));
    running
        .until("all is finished", |running| {
            let partitions = running.handle.metrics().partitions.clone();
            partitions.len() == 3 && partitions.values().all(|partition| partition.committed == Some(RECORDS))
        })
        .await;
    (ledger, running.stop().await)
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_repeats_nothing() {
    let cluster = cluster().await;
    let (first, _) = with_a_gap(&cluster, worker(&cluster)).await;
    let (second, summary) = the_rest(&cluster).await;
    assert_eq!(summary.skipped as usize, 3 * 37 - summary.handled as usize);
    let (first, second): (BTreeSet<_>, BTreeSet<_>) =
        (first.done().into_keys().collect(), second.done().into_keys().collect());
    assert!(first.is_disjoint(&second), "done twice: {:?}", first.intersection(&second).collect::<Vec<_>>());
    assert_eq!(first.union(&second).count(), all().len());
    assert_eq!(committed_offsets(&cluster).await, everything());
    assert!(committed(&cluster).await.values().all(|committed| committed.metadata.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn probes_are_answered_by_the_health_of_its_consumer_and_nothing_waits_after_the_end() {
    let cluster = cluster().await;
    let worker = worker(&cluster).retry(Retry::fixed(secs(60)).unlimited()).concurrency(2);
    let handle = worker.handle();
    assert!(handle.health().is_none(), "it does not run");
    let running = Running::start(worker, |_, _| async { Err(Failure::retry("always")) });
    running.until("records wait", |running| running.handle.metrics().waiting_for_retry > 0).await;
    let health = handle.health().unwrap();
    assert!(health.is_live() && health.is_ready() && health.assigned == 3, "{health}");
    assert!(running.stop().await.is_clean());
    let health = handle.health().unwrap();
    assert!(!health.is_live() && !health.is_ready() && health.assigned == 0, "{health}");
    let metrics = handle.metrics();
    assert!(metrics.received > 0 && metrics.partitions.values().all(|of| of.queued == 0), "{metrics:?}");
    assert_eq!(
        (metrics.running, metrics.queued, metrics.queued_bytes, metrics.waiting_for_retry),
        (0, 0, 0, 0)
    );
    let invalid = crate::support::worker(&cluster).concurrency(0);
    let handle = invalid.handle();
    assert!(invalid.run(|_, _| async { Ok(()) }, std::future::pending::<()>()).await.is_err());
    assert!(handle.health().is_none());
}

#[tokio::test(start_paused = true)]
async fn metadata_that_is_damaged_foreign_or_gone_costs_repeats_and_loses_nothing() {
    for change in ["", "{\"by\":\"another\"}", "ow1.AAAA", "damaged", "ow9.later"] {
        let cluster = cluster().await;
        let (first, _) = with_a_gap(&cluster, worker(&cluster)).await;
        // By hand, as an operator would.
        let mut reader = builder(&cluster).build().await.unwrap();
        let committed = committed(&cluster).await;
        reader
            .assign((0..PARTITIONS).map(|partition| (orders(partition), 3)).collect::<Vec<_>>())
            .await
            .unwrap();
        for (partition, committed) in committed {
            assert!(committed.metadata.starts_with("ow1."), "{committed:?}");
            let metadata = match change {
                "damaged" => {
                    let (start, end) = committed.metadata.split_at(committed.metadata.len() / 2);
                    format!("{start}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..])
                }
                other => other.to_owned(),
            };
            let offset = OffsetAndMetadata::new(3).with_metadata(metadata);
            reader.commit_offsets((orders(partition), offset)).await.unwrap();
        }
        reader.close(secs(5)).await.unwrap();
        let (second, summary) = the_rest(&cluster).await;
        assert_eq!((summary.skipped, summary.handled), (0, 3 * 37), "{change}");
        let done: BTreeSet<_> = first.done().into_keys().chain(second.done().into_keys()).collect();
        assert_eq!(done, all(), "{change}");
        second.check_order(&first.done().into_keys().collect());
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_that_take_little_metadata_are_given_less() {
    let mut config = Config::default();
    config.offset_metadata_max_bytes = 20;
    let cluster = cluster_with(config).await;
    let (first, _) = with_a_gap(&cluster, worker(&cluster)).await;
    assert!(committed(&cluster).await.values().all(|committed| committed.metadata.is_empty()));
    let (second, _) = the_rest(&cluster).await;
    let done: BTreeSet<_> = first.done().into_keys().chain(second.done().into_keys()).collect();
    assert_eq!(done, all());
}

#[tokio::test(start_paused = true)]
async fn running_handlers_end_within_the_grace_and_none_begins() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match record.partition() {
            0 => tokio::time::sleep(secs(5)).await,
            1 => std::future::pending().await,
            _ => {}
        }
        Ok(())
    });
    let running = Running::start(worker(&cluster).grace(secs(10)), handler);
    running.until("some run", |_| ledger.begun().iter().any(|(partition, _)| *partition == 0)).await;
    running.until("some hang", |_| ledger.begun().iter().any(|(partition, _)| *partition == 1)).await;
    let (begun, done) = (ledger.begun(), ledger.done().len());
    let before = tokio::time::Instant::now();
    let summary = running.stop().await;
    assert!(before.elapsed() >= secs(10) && before.elapsed() < secs(12), "{:?}", before.elapsed());
    assert_eq!(ledger.begun(), begun);
    assert!(
        ledger.done().len() > done && summary.cancelled > 0 && summary.last_commit.is_ok(),
        "{summary:?}"
    );
    let (second, _) = the_rest(&cluster).await;
    let first: BTreeSet<_> = ledger.done().into_keys().collect();
    let second: BTreeSet<_> = second.done().into_keys().collect();
    assert!(first.is_disjoint(&second));
    assert_eq!(first.union(&second).count(), all().len());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_at_once_and_what_is_finished_is_committed() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        if record.offset() % KEYS == 0 { std::future::pending().await } else { Ok(()) }
    });
    let running = Running::start(worker(&cluster).concurrency(100).commit_interval(secs(3600)), handler);
    running.until("the others are done", |_| ledger.done().len() == all().len() * 4 / 5).await;
    let before = tokio::time::Instant::now();
    running.handle.stop();
    tokio::time::sleep(secs(1)).await;
    running.handle.stop_now();
    let summary = running.task.await.unwrap().unwrap();
    assert!(before.elapsed() < secs(3), "{:?}", before.elapsed());
    assert_eq!((summary.cancelled, summary.is_clean()), (3, true));
    let (second, _) = the_rest(&cluster).await;
    let second: BTreeSet<_> = second.done().into_keys().collect();
    let first: BTreeSet<_> = ledger.done().into_keys().collect();
    assert!(first.is_disjoint(&second));
    assert_eq!(first.union(&second).count(), all().len());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_before_it_runs_does_nothing() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let worker = worker(&cluster);
    let handle = worker.handle();
    handle.stop();
    let summary =
        worker.run(ledger.around(|_, _| async { Ok(()) }), std::future::pending::<()>()).await.unwrap();
    assert!(summary.is_clean() && summary.handled == 0 && ledger.entries().is_empty());
    handle.stop();
    handle.stop_now();
    assert_eq!(handle.metrics().handled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_ends_is_a_shutdown_whatever_it_ends_with() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let shutdown = async {
        tokio::time::sleep(secs(5)).await;
        "the end"
    };
    let summary = worker(&cluster).run(ledger.around(|_, _| async { Ok(()) }), shutdown).await.unwrap();
    assert_eq!(summary.handled, all().len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_ends_the_worker_and_what_was_finished_is_committed() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match (record.partition(), record.offset()) {
            (1, 17) => Err(Failure::fatal("no disk")),
            _ => Ok(()),
        }
    });
    let running = Running::start(worker(&cluster).commit_interval(secs(3600)), handler);
    let error = running.task.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Fatal { partition, offset: 17, reason } if *partition == orders(1) && reason == "no disk")
    );
    assert_eq!(error.to_string(), "the handler of offset 17 of orders-1 failed for good: no disk");
    let (second, _) = the_rest(&cluster).await;
    let first: BTreeSet<_> = ledger.done().into_keys().collect();
    let second: BTreeSet<_> = second.done().into_keys().collect();
    assert!(first.is_disjoint(&second));
    assert_eq!(first.union(&second).count(), all().len());
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_a_partition_stops_and_the_others_go_on() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match (record.partition(), record.offset()) {
            (1, 0) => Err(Failure::retry("never")),
            (2, 39) => Err(Failure::poison("what is it?")),
            _ => Ok(()),
        }
    });
    let running = Running::start(worker(&cluster), handler);
    running
        .until("both stopped", |running| {
            running.handle.metrics().partitions.values().filter(|partition| partition.is_stopped).count() == 2
        })
        .await;
    running
        .until("the other is done", |_| (0..RECORDS).all(|offset| ledger.done().contains_key(&(0, offset))))
        .await;
    let summary = running.stop().await;
    assert!(summary.last_commit.is_ok() && !summary.is_clean());
    let mut stopped = summary.stopped.iter();
    let (one, two) = (stopped.next().unwrap(), stopped.next().unwrap());
    assert_eq!((&one.partition, one.offset), (&orders(1), Some(0)));
    assert!(matches!(&one.why, StopReason::OutOfAttempts { attempts: 3, reason } if reason == "never"));
    assert!(matches!(&two.why, StopReason::Poison { reason } if reason == "what is it?"));
    assert_eq!(committed_offsets(&cluster).await, [(0, RECORDS), (1, 0), (2, 39)]);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_is_silent_at_the_end_is_told_and_does_not_hold_it_up() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let worker = worker(&cluster).commit_interval(secs(3600)).close_timeout(secs(4));
    let running = Running::start(worker, ledger.around(|_, _| async { Ok(()) }));
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    let rule = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Drop));
    let before = tokio::time::Instant::now();
    let summary = running.stop().await;
    assert!(summary.last_commit.is_err() && !summary.is_clean(), "{summary:?}");
    assert!(before.elapsed() < secs(10), "{:?}", before.elapsed());
    assert!(cluster.hits(rule) > 0);
}

/// It is repeated each interval, as the right may be given back. Which is told once, and again if it is another failure.
#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_again_and_again_is_told_once_in_a_while() {
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let rule = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Fail(TOPIC_AUTHORIZATION_FAILED)));
    let worker = worker(&cluster).commit_interval(secs(1));
    let running = Running::start(worker, ledger.around(|_, _| async { Ok(()) }));
    running.until("it was refused often", |_| cluster.hits(rule) >= 100).await;
    let errors = running.events().iter().filter(|event| matches!(event, Event::Error(_))).count();
    assert!((2..=4).contains(&errors), "once a minute: {errors}");
    cluster.withdraw(rule);
    let is_done = |running: &Running| {
        running.handle.metrics().partitions.values().all(|of| of.committed == Some(RECORDS))
    };
    running.until("all is committed", is_done).await;
    assert!(running.stop().await.is_clean());
}

/// Its partitions are being handed over while it stops. Found by the arena (8040002).
#[tokio::test(start_paused = true)]
async fn a_final_handover_without_a_commit_is_reported() {
    let cluster = cluster().await;
    let eager = |cluster| builder(cluster).property("partition.assignment.strategy", "range");
    let (ledger, ends) = (Ledger::default(), std::sync::Arc::new(tokio::sync::Notify::new()));
    let ended = std::sync::Arc::clone(&ends);
    let handler = ledger.around(move |record, _| {
        let ended = std::sync::Arc::clone(&ended);
        async move {
            if (record.partition(), record.offset()) == (0, RECORDS - 1) {
                ended.notified().await;
            }
            Ok(())
        }
    });
    let first =
        worker_of(eager(&cluster)).commit_interval(secs(3600)).close_timeout(secs(4)).revoke_grace(secs(60));
    let first = Running::start(first, handler);
    first.until("all but one are done", |_| ledger.done().len() == all().len() - 1).await;
    let second =
        Running::start(worker_of(eager(&cluster)), Ledger::default().around(|_, _| async { Ok(()) }));
    tokio::time::sleep(secs(3)).await;
    let rule = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Drop));
    first.handle.stop();
    tokio::time::sleep(secs(1)).await;
    ends.notify_one();
    let summary = first.task.await.unwrap().unwrap();
    assert_eq!(ledger.done().len(), all().len());
    assert!(cluster.hits(rule) > 0 && summary.last_commit.is_err() && !summary.is_clean(), "{summary:?}");
    second.handle.stop_now();
    second.task.await.unwrap().unwrap();
}

/// A letter is written meanwhile. Found by the arena (20026095): the next owner wrote it again, and the summary was clean.
#[tokio::test(start_paused = true)]
async fn a_handover_commits_what_is_finished_while_its_commit_is_on_its_way() {
    let cluster = cluster().await;
    let eager = |cluster| builder(cluster).property("partition.assignment.strategy", "range");
    let last = (0, RECORDS - 1);
    let ledger = Ledger::default();
    let handler = ledger.around(move |record, _| async move {
        match (record.partition(), record.offset()) == last {
            true => Err(Failure::poison("no such customer")),
            false => Ok(()),
        }
    });
    let letter = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Hold).nth(1));
    let letters =
        dead_letters(&cluster).property("delivery.timeout.ms", 60_000).property("request.timeout.ms", 50_000);
    let first = worker_of(eager(&cluster)).commit_interval(secs(3600)).dead_letters(letters);
    let first = Running::start(first.close_timeout(secs(20)).revoke_grace(secs(60)), handler);
    first.until("its letter is under way", |_| cluster.hits(letter) > 0).await;
    first.until("the others are done", |_| ledger.done().len() == all().len() - 1).await;
    let others = Ledger::default();
    let second = Running::start(worker_of(eager(&cluster)), others.around(|_, _| async { Ok(()) }));
    tokio::time::sleep(secs(4)).await;
    let commit = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Hold).nth(1));
    first.handle.stop_now();
    first.until("what is finished is being committed", |_| cluster.hits(commit) > 0).await;
    cluster.release(letter);
    first.until("the letter is written", |first| first.handle.metrics().dead_lettered == 1).await;
    cluster.release(commit);
    let summary = first.task.await.unwrap().unwrap();
    assert!(summary.last_commit.is_ok(), "{summary:?}");
    tokio::time::sleep(secs(20)).await;
    assert!(others.begun().is_empty(), "{:?}", others.begun());
    second.handle.stop_now();
    second.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_dropped_with_its_future_leaves_nothing_running() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|_, _| async {
        tokio::time::sleep(secs(1)).await;
        Ok(())
    });
    let running = Running::start(worker(&cluster), handler);
    running.until("some run", |_| !ledger.begun().is_empty()).await;
    running.task.abort();
    assert!(running.task.await.unwrap_err().is_cancelled());
    let entries = ledger.entries();
    tokio::time::sleep(secs(20)).await;
    assert_eq!(ledger.entries(), entries);
    let (second, _) = the_rest(&cluster).await;
    let done: BTreeSet<_> = ledger.done().into_keys().chain(second.done().into_keys()).collect();
    assert_eq!(done, all());
}

/// The end does not wait for letters that cannot be written: their records are redelivered.
#[tokio::test(start_paused = true)]
async fn letters_to_a_topic_that_is_missing_or_took_none_do_not_hold_up_the_end() {
    for is_told in [false, true] {
        let cluster = cluster().await;
        let ledger = Ledger::default();
        let handler = ledger.around(move |record, _| async move {
            match record.offset() {
                // Later records with the same key wait for it. The other partition's record fails only after the first letter has failed for good.
                7 if record.partition() == 0 || is_told && record.partition() == 1 => {
                    if record.partition() == 1 {
                        tokio::time::sleep(secs(15)).await;
                    }
                    Err(Failure::poison("no"))
                }
                _ => Ok(()),
            }
        });
        let topic = if is_told { "orders.dlq" } else { "no.such.dlq" };
        // The leaders have too few replicas: the producer retries for `delivery.timeout.ms` (10 s).
        let rule = FaultRule::on(ApiKey::Produce, Fault::Fail(19)).topic("orders.dlq");
        let rule = is_told.then(|| cluster.inject(rule));
        let running =
            Running::start(worker(&cluster).dead_letters(dead_letters_to(topic, &cluster)), handler);
        let goal = all().len() - if is_told { 14 } else { 7 };
        running.until("what can be done is", |_| ledger.done().len() >= goal).await;
        let is_written = |running: &Running| running.handle.metrics().writing_dead_letters == 1;
        match is_told {
            false => running.until("it is being written", is_written).await,
            true => {
                let has_failed = |running: &Running| {
                    let is_told = |event: &Event| matches!(event, Event::Error(error) if error.to_string().contains("written again"));
                    running.events().iter().any(is_told)
                };
                running.until("the first could not be written", has_failed).await;
                let are_written = |running: &Running| running.handle.metrics().writing_dead_letters == 2;
                running.until("another one is being written", are_written).await;
            }
        }
        let before = tokio::time::Instant::now();
        let summary = running.stop().await;
        assert!(before.elapsed() < secs(3), "{:?}", before.elapsed());
        assert!(summary.is_clean() && summary.dead_lettered == 0, "{summary:?}");
        assert_eq!(committed(&cluster).await[&0].offset, 7, "it is not passed");
        if let Some(rule) = rule {
            assert!(cluster.hits(rule) > 0);
            cluster.withdraw(rule);
        }
        let again = Ledger::default();
        let running = Running::start(worker(&cluster), again.around(|_, _| async { Ok(()) }));
        running.until("it comes again", |_| again.done().contains_key(&(0, 7))).await;
        assert!(running.stop().await.is_clean());
    }
}

/// All of the last steps together take the grace and `close_timeout`, also if nothing of them succeeds.
#[tokio::test(start_paused = true)]
async fn the_end_takes_no_longer_than_the_grace_and_the_close_timeout() {
    for hangs in [false, true] {
        let cluster = cluster().await;
        let handler = move |record: offtake::OwnedRecord, _| async move {
            match record.offset() {
                7 if record.partition() == 0 => Err(Failure::poison("no")),
                8 if hangs && record.partition() == 1 => {
                    std::future::pending::<()>().await;
                    Ok(())
                }
                _ => Ok(()),
            }
        };
        cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Drop).topic("orders.dlq"));
        let letters_to = dead_letters(&cluster).property("delivery.timeout.ms", 600_000);
        let worker = worker(&cluster).dead_letters(letters_to).grace(secs(6)).close_timeout(secs(8));
        let running = Running::start(worker.commit_interval(secs(3600)), handler);
        let is_written = |running: &Running| running.handle.metrics().writing_dead_letters == 1;
        running.until("it is being written", is_written).await;
        for api in [ApiKey::OffsetCommit, ApiKey::LeaveGroup] {
            cluster.inject(FaultRule::on(api, Fault::Drop));
        }
        let before = tokio::time::Instant::now();
        let summary = running.stop().await;
        // A consumer that cannot leave its group is closed a moment later.
        assert!(before.elapsed() <= secs(15), "{:?}", before.elapsed());
        assert!(summary.last_commit.is_err() && summary.cancelled == u64::from(hangs), "{summary:?}");
    }
}
