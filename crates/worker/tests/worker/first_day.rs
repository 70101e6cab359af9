//! The first steps of somebody who writes a service.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::Consumer;
use offtake_broker::{Cluster, NewRecord};
use offtake_worker::{Breaker, Error, Event, Failure, Handled, Order, Retry, StopReason};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_panic_with_whatever_value_is_a_failure_that_is_retried() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, attempt| async move {
        match (record.offset(), attempt.number()) {
            (3, 1) => std::panic::panic_any(7_u32),
            (4, 1) => std::panic::panic_any(()),
            (5, 1) => std::panic::panic_any(String::from("words")),
            _ => Ok(()),
        }
    });
    let running = Running::start(worker(&cluster), handler);
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    let reasons: Vec<_> = running
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Retried { offset, reason, .. } => Some((offset, reason)),
            _ => None,
        })
        .collect();
    assert_eq!(running.handle.metrics().panicked, 9);
    for (offset, reason) in reasons {
        let words = if offset == 5 { ": words" } else { "" };
        assert_eq!(reason, format!("the handler panicked{words}"));
    }
    assert!(running.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_has_ended_already_begins_nothing() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let summary = worker(&cluster).run(ledger.around(|_, _| async { Ok(()) }), async {}).await.unwrap();
    assert!(summary.is_clean() && summary.handled == 0 && ledger.entries().is_empty());
    // Invalid settings are reported all the same.
    let error = worker(&cluster).concurrency(0).run(|_, _| async { Ok(()) }, async {}).await.unwrap_err();
    assert!(error.to_string().contains("`concurrency` is 0"), "{error}");
    assert!(committed_offsets(&cluster).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_records_is_waited_at_and_left() {
    let cluster = cluster().await;
    cluster.create_topic("empty", 2).unwrap();
    let ledger = Ledger::default();
    let running = Running::start(worker(&cluster).subscribe("empty"), ledger.around(|_, _| async { Ok(()) }));
    let is_assigned = |event: &Event| matches!(event, Event::Assigned(change) if change.owned.len() == 2);
    running.until("it is assigned", |running| running.events().iter().any(is_assigned)).await;
    tokio::time::sleep(secs(60)).await;
    cluster.produce("empty", 0, None, Some(b"first")).unwrap();
    running.until("it is handled", |_| ledger.done().len() == 1).await;
    let before = tokio::time::Instant::now();
    assert!(running.stop().await.is_clean());
    assert!(before.elapsed() < secs(1), "{:?}", before.elapsed());
}

/// The same topic is named twice, and an event handler stops the worker that reports the event.
#[tokio::test(start_paused = true)]
async fn a_topic_may_be_named_twice_and_events_and_handlers_may_stop_their_worker() {
    for by_event in [true, false] {
        let cluster = cluster().await;
        let ledger = Ledger::default();
        let worker = worker(&cluster).subscribe(["orders", "orders"]);
        let (of_events, of_handlers) = (worker.handle(), worker.handle());
        let worker = worker.events(move |event| {
            if by_event && matches!(event, Event::Committed { .. }) {
                of_events.stop();
            }
        });
        let handler = ledger.around(move |record, _| {
            if !by_event && record.offset() == 20 {
                of_handlers.stop();
            }
            async { Ok(()) }
        });
        let ended = tokio::time::timeout(secs(30), worker.run(handler, std::future::pending::<()>())).await;
        assert!(ended.unwrap().unwrap().is_clean());
        assert!(!ledger.done().is_empty() && ledger.done().values().all(|times| *times == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_too_few_results_or_too_many_is_each_handled() {
    let cluster = cluster().await;
    let done = Arc::<Mutex<BTreeMap<(i32, i64), u32>>>::default();
    let noted = Arc::clone(&done);
    let worker = worker(&cluster).order(Order::Unordered).retry(Retry::fixed(secs(1)).attempts(3));
    let events = Arc::<Mutex<Vec<Event>>>::default();
    let told = Arc::clone(&events);
    let ran = worker.events(move |event| told.lock().unwrap().push(event)).run_batches(
        10,
        move |batch| {
            let noted = Arc::clone(&noted);
            async move {
                // For partition 0 the last result is missing, for 1 there is one too many, and for 2 there are never any.
                let results = match batch.iter().next().unwrap().partition() {
                    0 => batch.len().div_ceil(2),
                    1 => batch.len() + 1,
                    _ => 0,
                };
                for (record, attempt) in batch.attempts().take(results) {
                    noted.lock().unwrap().insert((record.partition(), record.offset()), attempt.number());
                }
                Ok(Handled::Each((0..results).map(|_| Ok(())).collect()))
            }
        },
        tokio::time::sleep(secs(60)),
    );
    let summary = ran.await.unwrap();
    let done = done.lock().unwrap().clone();
    assert!((0..RECORDS).all(|offset| done.contains_key(&(1, offset))), "{done:?}");
    assert!(done.iter().all(|((partition, _), attempt)| *partition == 0 || *attempt == 1));
    let stopped = summary.stopped.iter().find(|stopped| stopped.partition == orders(2)).unwrap();
    assert!(
        matches!(&stopped.why, StopReason::OutOfAttempts { attempts: 3, reason } if reason.contains("gave no result")),
        "{stopped:?}"
    );
    assert!(committed_offsets(&cluster).await.contains(&(1, RECORDS)));
    let was_retried =
        |event: &Event| matches!(event, Event::Retried { reason, .. } if reason.contains("no result"));
    assert!(events.lock().unwrap().iter().any(was_retried));
}

#[tokio::test(start_paused = true)]
async fn times_without_an_end_are_no_panic_and_do_not_hold_up_what_is_done() {
    const MAX: Duration = Duration::MAX;
    for transactional in [false, true] {
        let cluster = cluster().await;
        cluster.create_topic("later", 1).unwrap();
        cluster.create_topic("out", 2).unwrap();
        let ledger = Ledger::default();
        let mut worker = worker(&cluster)
            .timeout(MAX)
            .grace(MAX)
            .close_timeout(MAX)
            .revoke_grace(MAX)
            .commit_interval(MAX)
            .order(Order::Unordered)
            .retry(Retry::fixed(MAX).attempts(2).then_topics([("later", MAX)]))
            .breaker(Breaker::open_at(1.0).of_last(usize::MAX).pause(MAX));
        worker = match transactional {
            true => crate::transactional::transactional_of(worker, &cluster, "a"),
            false => worker.dead_letters(dead_letters(&cluster)),
        };
        let handler = ledger.around(|record, _| async move {
            match record.offset() {
                5 => Err(Failure::retry("later")),
                9 => Err(Failure::poison("never")),
                _ => Ok(()),
            }
        });
        let running = Running::start(worker, handler);
        running.until("all but three are done", |_| ledger.done().len() == all().len() - 6).await;
        let stopped = tokio::time::timeout(secs(60), running.stop()).await;
        assert!(stopped.unwrap().is_clean());
        assert_eq!(committed_offsets(&cluster).await, [(0, 5), (1, 5), (2, 5)]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_for_an_attempt_is_refused_and_none_for_the_end_costs_repeats() {
    let cluster = cluster().await;
    let error = worker(&cluster)
        .timeout(Duration::ZERO)
        .run(|_, _| async { Ok(()) }, std::future::pending::<()>())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Client(error) if error.to_string().contains("`timeout` is 0")),
        "{error}"
    );
    let ledger = Ledger::default();
    let worker = worker(&cluster)
        .grace(Duration::ZERO)
        .close_timeout(Duration::ZERO)
        .revoke_grace(Duration::ZERO)
        .retry(Retry::exponential(Duration::ZERO..Duration::ZERO));
    let running = Running::start(worker, ledger.around(|_, _| async { Ok(()) }));
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    let before = tokio::time::Instant::now();
    let summary = running.stop().await;
    assert!(before.elapsed() < secs(3), "{:?}", before.elapsed());
    let again = Ledger::default();
    let running = Running::start(crate::support::worker(&cluster), again.around(|_, _| async { Ok(()) }));
    tokio::time::sleep(secs(20)).await;
    assert!(running.stop().await.is_clean());
    let repeated = again.done().len();
    assert!(summary.last_commit.is_err() || repeated == 0, "{summary:?} {repeated}");
}

/// As many partitions as a large topic has: each is read, committed and given up.
#[tokio::test(start_paused = true)]
async fn ten_thousand_partitions_are_read_and_committed() {
    const MANY: i32 = 10_000;
    let cluster = Cluster::builder().brokers(1).topic("wide", MANY).in_memory().start().await.unwrap();
    for partition in 0..MANY {
        cluster.append("wide", partition, &[NewRecord::new("0")]).unwrap();
    }
    let inside = cluster.clone();
    let builder = Consumer::builder(cluster.bootstrap())
        .group("job")
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
        .property("auto.offset.reset", "earliest");
    let ledger = Ledger::default();
    let worker = offtake_worker::Worker::new(builder).subscribe("wide").replay(7, WALL_MS);
    let running = Running::start(worker, ledger.around(|_, _| async { Ok(()) }));
    running.until("all is done", |_| ledger.done().len() == 10_000).await;
    let before = tokio::time::Instant::now();
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.handled == 10_000, "{summary:?}");
    assert!(before.elapsed() < secs(10), "{:?}", before.elapsed());
    assert!(ledger.done().values().all(|times| *times == 1));
}

/// Invalid topic names, and a group without a name: the error names them, and nothing waits silently.
#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_are_told() {
    for name in ["", "a b", "orders,payments", ".."] {
        let cluster = cluster().await;
        let worker = worker(&cluster).subscribe(["orders", name]);
        let (told, ledger) = (Arc::<Mutex<Vec<String>>>::default(), Ledger::default());
        let noted = Arc::clone(&told);
        let worker = worker.events(move |event| {
            if let Event::Error(error) = event {
                noted.lock().unwrap().push(error.to_string());
            }
        });
        let ran = worker.run(ledger.around(|_, _| async { Ok(()) }), tokio::time::sleep(secs(30))).await;
        let refused = ran.err().map(|error| error.to_string());
        let told = told.lock().unwrap().clone();
        let names_it = |text: &String| text.contains(name) && text.contains("topic");
        assert!(refused.as_ref().is_some_and(names_it), "{name:?}: {refused:?} {told:?}");
    }
    let cluster = cluster().await;
    let worker = worker_of(builder(&cluster).group(""));
    let ran = worker.run(|_, _| async { Ok(()) }, tokio::time::sleep(secs(30))).await;
    let refused = ran.expect_err("a group without a name").to_string();
    assert!(refused.contains("group"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_may_be_of_all_that_there_is() {
    let cluster = cluster().await;
    let worker = worker(&cluster).order(Order::Partition);
    let handler = |_| async { Ok(Handled::All) };
    let summary = worker.run_batches(usize::MAX, handler, tokio::time::sleep(secs(20))).await.unwrap();
    assert!(summary.is_clean() && summary.handled == all().len() as u64, "{summary:?}");
}
