//! Handlers that are slow, fail, panic and hang: of single records, of batches, on threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use offtake_worker::{Batch, Breaker, BreakerState, Event, Failure, Handled, Order, Retry};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn whatever_handlers_do_each_record_is_done_once_and_keys_keep_their_order() {
    for order in [Order::Key, Order::Partition] {
        let cluster = cluster().await;
        let ledger = Ledger::default();
        let handler = ledger.around(|record, attempt| async move {
            let is_first = attempt.number() == 1;
            tokio::time::sleep(Duration::from_millis(record.offset().unsigned_abs() % 17)).await;
            match record.offset() {
                offset if offset % 7 == 1 && attempt.number() < 3 => Err(Failure::retry("not now")),
                offset if offset % 11 == 3 && is_first => panic!("at {offset}"),
                offset if offset % 13 == 5 && is_first => std::future::pending().await,
                offset if offset % 10 == 9 && is_first => {
                    "nine".parse::<i32>()?;
                    Ok(())
                }
                _ => Ok(()),
            }
        });
        let running = Running::start(worker(&cluster).order(order).timeout(secs(1)), handler);
        running.until("all is done", |_| ledger.done().len() == all().len()).await;
        let summary = running.stop().await;
        assert!(summary.is_clean(), "{summary:?}");
        assert_eq!(summary.handled, all().len() as u64);
        assert!(ledger.done().values().all(|times| *times == 1));
        ledger.check_order(&BTreeSet::new());
        assert_eq!(committed_offsets(&cluster).await, everything());
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_and_events_tell_what_happened() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, attempt| async move {
        match (record.offset(), attempt.number()) {
            (2, 1) => Err(Failure::retry("not now")),
            (3, 1) => panic!("never"),
            (4, 1) => std::future::pending().await,
            (2 | 3, 2) => {
                assert!(attempt.first_failure().is_some_and(|first| first.at_ms >= WALL_MS));
                Ok(())
            }
            _ => Ok(()),
        }
    });
    let running = Running::start(worker(&cluster).timeout(secs(1)), handler);
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    running
        .until("it is committed", |running| {
            let partitions = running.handle.metrics().partitions.clone();
            partitions.len() == 3 && partitions.values().all(|partition| partition.committed == Some(RECORDS))
        })
        .await;
    let metrics = running.handle.metrics();
    assert_eq!((metrics.received, metrics.handled, metrics.failed), (120, 120, 9));
    assert_eq!((metrics.retried, metrics.panicked, metrics.timed_out), (9, 3, 3));
    assert_eq!((metrics.running, metrics.queued, metrics.queued_bytes), (0, 0, 0));
    assert_eq!((metrics.queue_time.count(), metrics.handler_time.count()), (120, 129));
    assert!(metrics.handler_time.quantile(1.0).unwrap() >= secs(1));
    let events = running.events();
    let retried: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Retried { offset, attempt: 1, reason, delay, .. }
                if *delay == Duration::from_millis(200) =>
            {
                Some((*offset, reason.clone()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(retried.len(), 9);
    assert!(retried.contains(&(3, "the handler panicked: never".to_owned())), "{retried:?}");
    assert!(retried.contains(&(4, "the handler took longer than 1s".to_owned())), "{retried:?}");
    assert!(matches!(&events[0], Event::Assigned(change) if change.partitions.len() == 3));
    assert!(running.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_cost_no_membership_and_the_queue_stays_bounded() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|_, _| async {
        tokio::time::sleep(secs(20)).await; // three sessions
        Ok(())
    });
    let builder = builder(&cluster).property("max.poll.interval.ms", 7000);
    let running = Running::start(worker_of(builder).queue(16), handler);
    let most = AtomicUsize::new(0);
    running
        .until("all is done", |running| {
            most.fetch_max(running.handle.metrics().queued, Ordering::Relaxed);
            ledger.done().len() == all().len()
        })
        .await;
    let most = most.into_inner();
    // The queue stays within its limit, plus the records of a poll of a quarter of it.
    assert!(most > 4 && most < 16 + 4, "{most} waited");
    assert!(!running.events().iter().any(|event| matches!(event, Event::Lost(_) | Event::Revoked(_))));
    assert!(running.stop().await.is_clean());
    assert!(ledger.done().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_waits_for_a_service_that_is_down_and_dead_letters_nothing() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let began = tokio::time::Instant::now();
    let handler = ledger.around(move |_, _| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match began.elapsed() {
            down if down > secs(1) && down < secs(90) => Err(Failure::retry("down")),
            _ if began.elapsed() < secs(1) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    });
    let breaker = Breaker::open_at(0.5).of_last(10).pause(secs(30));
    let retry = Retry::fixed(Duration::from_millis(500)).attempts(2);
    let worker = worker(&cluster).retry(retry).breaker(breaker).dead_letters(dead_letters(&cluster));
    let running = Running::start(worker, handler);
    running.until("it is open", |running| running.handle.metrics().breaker == BreakerState::Open).await;
    let before = ledger.entries().len();
    tokio::time::sleep(secs(20)).await;
    assert!(ledger.entries().len() <= before + 8, "what was on its way ends; nothing else begins");
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    let states: Vec<_> = running
        .events()
        .iter()
        .filter_map(|event| if let Event::Breaker { state } = event { Some(*state) } else { None })
        .collect();
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.dead_lettered == 0, "{summary:?}");
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(states[..3], [Open, HalfOpen, Open]);
    assert_eq!(states.last(), Some(&Closed));
    for pair in states.windows(2) {
        assert!(matches!(pair, [Open, HalfOpen] | [HalfOpen, Open | Closed] | [Closed, Open]), "{states:?}");
    }
    ledger.check_order(&BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn batches_have_a_result_for_each_record() {
    let cluster = cluster().await;
    let done = Arc::new(Mutex::new(BTreeMap::<(i32, i64), usize>::new()));
    let (counted, batches) = (Arc::clone(&done), Arc::new(AtomicUsize::new(0)));
    let made = Arc::clone(&batches);
    let handler = move |batch: Batch| {
        let (done, made) = (Arc::clone(&counted), Arc::clone(&made));
        async move {
            made.fetch_add(1, Ordering::Relaxed);
            assert!(batch.len() <= 10 && !batch.is_empty());
            tokio::time::sleep(Duration::from_millis(50)).await;
            if batch.attempts().any(|(record, attempt)| record.offset() == 20 && attempt.number() == 1) {
                return Err(Failure::retry("all of it"));
            }
            let mut failed = BTreeSet::new();
            let results = batch.attempts().map(|(record, attempt)| {
                let key = record.offset() % KEYS;
                if record.offset() % 9 == 4 && attempt.number() == 1 {
                    failed.insert(key);
                    return Err(Failure::retry("one of them"));
                }
                if !failed.contains(&key) {
                    *done.lock().unwrap().entry((record.partition(), record.offset())).or_default() += 1;
                }
                Ok(())
            });
            Ok(Handled::Each(results.collect()))
        }
    };
    let worker = worker(&cluster).concurrency(2);
    let handle = worker.handle();
    let task = tokio::spawn(worker.run_batches(10, handler, std::future::pending::<()>()));
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(done.lock().unwrap().len(), all().len(), "{:?}", handle.metrics());
    handle.stop();
    let summary = task.await.unwrap().unwrap();
    assert!(summary.is_clean(), "{summary:?}");
    assert!(done.lock().unwrap().values().all(|times| *times == 1));
    assert!(batches.load(Ordering::Relaxed) < all().len() / 2, "they are batches");
    assert_eq!(committed_offsets(&cluster).await, everything());
}

/// Its result waits beside the request to stop, and is taken before what runs is cancelled.
#[tokio::test(start_paused = true)]
async fn a_handler_that_ends_as_it_stops_the_worker_at_once_is_done() {
    let cluster = cluster().await;
    let worker = worker(&cluster).order(Order::Unordered);
    let stops = worker.handle();
    let running = Running::start(worker, move |record, _| {
        let stops = stops.clone();
        async move {
            let is_last = (record.partition(), record.offset()) == (0, 7);
            tokio::time::sleep(Duration::from_millis(if is_last { 500 } else { 1 })).await;
            if is_last {
                stops.stop_now();
            }
            Ok(())
        }
    });
    let summary = running.task.await.unwrap().unwrap();
    assert_eq!((summary.handled, summary.cancelled), (all().len() as u64, 0));
    assert_eq!(committed_offsets(&cluster).await, everything());
}

/// Threads are not in virtual time.
#[tokio::test]
async fn blocking_handlers_have_threads_and_are_told_when_to_end() {
    let cluster = cluster().await;
    let done = Arc::new(Mutex::new(BTreeSet::new()));
    let (counted, cancelled) = (Arc::clone(&done), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&cancelled);
    let handler = move |record: offtake::OwnedRecord, attempt: offtake_worker::Attempt| {
        let at = (record.partition(), record.offset());
        match at {
            (0, 7) if attempt.number() == 1 => panic!("on its thread"),
            (0, 8) if attempt.number() == 1 => {
                while !attempt.cancelled() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                told.fetch_add(1, Ordering::Relaxed);
                return Err(Failure::retry("too slow"));
            }
            _ => {}
        }
        assert!(counted.lock().unwrap().insert(at));
        Ok(())
    };
    let worker = worker(&cluster).timeout(Duration::from_millis(50));
    let handle = worker.handle();
    let task = tokio::spawn(worker.run_blocking(handler, std::future::pending::<()>()));
    while done.lock().unwrap().len() < all().len() {
        assert!(!task.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    handle.stop();
    let summary = task.await.unwrap().unwrap();
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!((summary.retried, cancelled.load(Ordering::Relaxed)), (2, 1));
    assert_eq!(committed_offsets(&cluster).await, everything());
}

/// A thread cannot be cancelled: the next owner of the partition, this worker or another member, begins when the thread has
/// ended.
#[tokio::test]
async fn nothing_of_a_partition_begins_while_a_thread_that_was_cancelled_is_at_it() {
    let cluster = cluster().await;
    let (busy, begun) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
    let handler = |name: &'static str| {
        let (busy, begun) = (Arc::clone(&busy), Arc::clone(&begun));
        move |record: offtake::OwnedRecord, attempt: offtake_worker::Attempt| {
            let at = (record.partition(), record.key().map(<[u8]>::to_vec));
            assert!(
                busy.lock().unwrap().insert(at.clone()),
                "{name} begins with {at:?} beside another thread"
            );
            begun.fetch_add(1, Ordering::Relaxed);
            while name == "first" && !attempt.cancelled() {
                std::thread::sleep(Duration::from_millis(2));
            }
            // It does not end at once when it is cancelled.
            std::thread::sleep(Duration::from_millis(if name == "first" { 300 } else { 1 }));
            busy.lock().unwrap().remove(&at);
            Ok(())
        }
    };
    let start = |name| {
        let worker = worker(&cluster).revoke_grace(Duration::from_millis(100)).concurrency(8);
        let handle = worker.handle();
        (handle, tokio::spawn(worker.run_blocking(handler(name), std::future::pending::<()>())))
    };
    let (first, first_task) = start("first");
    while begun.load(Ordering::Relaxed) < 8 {
        assert!(!first_task.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (second, second_task) = start("second");
    while second.metrics().handled < 20 {
        assert!(!second_task.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(first.metrics().cancelled > 0, "threads were at what was taken away");
    first.stop_now();
    assert!(first_task.await.unwrap().is_ok());
    while committed_offsets(&cluster).await != everything() {
        assert!(!second_task.is_finished());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.stop();
    assert!(second_task.await.unwrap().unwrap().is_clean());
}

/// Its thread has begun, but the worker learns of that only after it was stopped.
#[tokio::test]
async fn a_blocking_handler_that_is_cancelled_as_it_begins_is_told() {
    let cluster = cluster().await;
    let (starts, mut threads) = tokio::sync::mpsc::unbounded_channel();
    let (begins, begun) = std::sync::mpsc::channel();
    let (goes_on, may_go_on) = std::sync::mpsc::channel();
    let (says, said) = std::sync::mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let handler = move |_: offtake::OwnedRecord, attempt: offtake_worker::Attempt| {
        begins.send(()).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
        says.send(attempt.cancelled()).unwrap();
        Ok(())
    };
    let worker = worker(&cluster).concurrency(1).block_with(move |job| drop(starts.send(job)));
    let handle = worker.handle();
    let task = tokio::spawn(worker.run_blocking(handler, std::future::pending::<()>()));
    let thread = std::thread::spawn(threads.recv().await.unwrap());
    // Nothing else runs meanwhile.
    begun.recv().unwrap();
    handle.stop_now();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    goes_on.send(()).unwrap();
    assert!(said.recv().unwrap(), "nobody waits for it");
    thread.join().unwrap();
    assert_eq!(task.await.unwrap().unwrap().cancelled, 1);
}

#[tokio::test]
async fn blocking_handlers_of_a_worker_that_is_dropped_are_told() {
    let cluster = cluster().await;
    let (begun, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begins, tells) = (Arc::clone(&begun), Arc::clone(&told));
    let handler = move |_: offtake::OwnedRecord, attempt: offtake_worker::Attempt| {
        begins.fetch_add(1, Ordering::Relaxed);
        while !attempt.cancelled() {
            std::thread::sleep(Duration::from_millis(2));
        }
        tells.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let task = tokio::spawn(worker(&cluster).run_blocking(handler, std::future::pending::<()>()));
    while begun.load(Ordering::Relaxed) < 8 {
        assert!(!task.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    while told.load(Ordering::Relaxed) < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(begun.load(Ordering::Relaxed), 8);
}
