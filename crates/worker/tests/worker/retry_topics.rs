//! Records that are moved to retry topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::{AutoOffsetReset, OwnedRecord};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, NewRecord};
use offtake_worker::{Attempt, Event, Failure, Order, ProducerRecord, Retry, Transactions, Worker};
use tokio::time::Instant;

use crate::support::*;

const SHORT: &str = "orders.retry.1m";
const LONG: &str = "orders.retry.5m";

async fn cluster_with_retries() -> Cluster {
    let cluster = cluster().await;
    cluster.create_topic(SHORT, 2).unwrap();
    cluster.create_topic(LONG, 2).unwrap();
    cluster
}

fn retry() -> Retry {
    Retry::never().then_topics([(SHORT, secs(60)), (LONG, secs(300))])
}

fn retrying(cluster: &Cluster) -> Worker {
    worker(cluster).order(Order::Unordered).retry(retry()).dead_letters(dead_letters(cluster))
}

/// The partition and offset of the original record.
fn first_place(record: &OwnedRecord, attempt: &Attempt) -> (i32, i64) {
    match attempt.origin() {
        Some(origin) => (origin.partition.unwrap(), origin.offset.unwrap()),
        None => (record.partition(), record.offset()),
    }
}

/// The attempts at each record: time, number, and topic.
type Attempts = Arc<Mutex<BTreeMap<(i32, i64), Vec<(Duration, u32, String)>>>>;

fn noting(
    began: Instant,
    attempts: &Attempts,
    result: impl Fn(i64, u32) -> Result<(), Failure> + Clone + Send + Sync + 'static,
) -> impl Fn(OwnedRecord, Attempt) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>
+ Send
+ Sync
+ 'static {
    let attempts = Arc::clone(attempts);
    move |record, attempt| {
        let place = first_place(&record, &attempt);
        let entry = (began.elapsed(), attempt.number(), record.topic().to_owned());
        attempts.lock().unwrap().entry(place).or_default().push(entry);
        let first = attempt.first_failure().map(|first| first.reason.clone());
        let result = result(place.1, attempt.number());
        Box::pin(async move {
            assert_eq!(first.is_some(), attempt.number() > 1);
            assert!(first.is_none_or(|first| first == "the first"), "the first failure is kept");
            result
        })
    }
}

fn failure(number: u32) -> Failure {
    Failure::retry(if number == 1 { "the first" } else { "another" })
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_waits_its_time_in_each_topic_and_ends_in_the_dead_letters() {
    let cluster = cluster_with_retries().await;
    let (began, attempts) = (Instant::now(), Attempts::default());
    let handler = noting(began, &attempts, |offset, number| match (offset, number) {
        (7, _) | (11, 1) | (23, 1 | 2) => Err(failure(number)),
        (30, _) => Err(Failure::poison("the first")),
        _ => Ok(()),
    });
    let running = Running::start(retrying(&cluster), handler);
    running.until("it is given up", |running| running.handle.metrics().dead_lettered == 6).await;
    running.until("the others are done", |running| running.handle.metrics().handled == 38 * 3).await;
    let events = running.events();
    let summary = running.stop().await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!((summary.postponed, summary.dead_lettered), (3 * (2 + 1 + 2), 6));
    let attempts = attempts.lock().unwrap();
    for ((_, offset), attempts) in &*attempts {
        let numbers: Vec<_> = attempts.iter().map(|(_, number, _)| *number).collect();
        let topics: Vec<_> = attempts.iter().map(|(.., topic)| topic.as_str()).collect();
        let expected = match offset {
            7 | 23 => 3,
            11 => 2,
            _ => 1,
        };
        assert_eq!(numbers, (1..=expected).collect::<Vec<_>>(), "{offset}");
        assert_eq!(topics, ["orders", SHORT, LONG][..topics.len()], "{offset}");
        for (pair, delay) in attempts.windows(2).zip([60, 300]) {
            let waited = pair[1].0 - pair[0].0;
            assert!(waited >= secs(delay) && waited < secs(delay + 5), "{offset}: {waited:?}");
        }
    }
    let told = events.iter().filter(|event| matches!(event, Event::Postponed { .. })).count();
    assert_eq!(told, 15);
    let letters = letters(&cluster);
    assert_eq!(letters.len(), 6);
    for letter in letters.iter().filter(|letter| header(letter, "original_offset").as_deref() == Some("7")) {
        let said = ["original_topic", "error_attempts", "error_reason", "first_error_reason"];
        let said = said.map(|name| header(letter, name).unwrap());
        assert_eq!(said, ["orders", "3", "another", "the first"]);
        let names: BTreeSet<_> = letter.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), letter.headers.len(), "nothing is there twice");
    }
}

/// Waiting records take no room, and delay neither the membership nor other topics, nor a stop.
#[tokio::test(start_paused = true)]
async fn waiting_records_take_no_room_and_survive_restarts_and_crashes() {
    let cluster = cluster_with_retries().await;
    let (began, attempts) = (Instant::now(), Attempts::default());
    let start = || {
        let handler = noting(began, &attempts, |_, number| match number {
            1 | 2 => Err(failure(number)),
            _ => Ok(()),
        });
        Running::start(retrying(&cluster).queue(10), handler)
    };
    let finished = all().len();
    let first = start();
    first.until("all wait", |first| first.handle.metrics().postponed == finished as u64).await;
    tokio::time::sleep(secs(5)).await;
    let metrics = first.handle.metrics();
    assert_eq!((metrics.queued, metrics.running), (0, 0), "nothing is kept that waits");
    for offset in 0..10 {
        cluster.append("orders", 0, &[NewRecord::new("x")]).unwrap();
        first
            .until("others go on", |first| first.handle.metrics().postponed as usize == finished + 1 + offset)
            .await;
    }
    assert!(began.elapsed() < secs(55), "{:?}", began.elapsed());
    assert!(first.stop().await.is_clean());
    tokio::time::sleep(secs(40)).await;
    let second = start();
    second.until("it began again", |second| second.handle.metrics().postponed > 5).await;
    second.task.abort();
    drop(second.task.await);
    tokio::time::sleep(secs(20)).await;
    let third = start();
    let done = || {
        let attempts = attempts.lock().unwrap();
        attempts.values().filter(|attempts| attempts.iter().any(|(_, number, _)| *number == 3)).count()
    };
    third.until("all is done", |_| done() == finished + 10).await;
    assert!(third.stop().await.is_clean());
    for ((_, offset), attempts) in &*attempts.lock().unwrap() {
        // A record that was being handled at the death is handled twice.
        let times: BTreeMap<_, _> = attempts.iter().map(|(at, number, _)| (*number, *at)).collect();
        assert!(times[&2] >= times[&1] + secs(60), "{offset}: {attempts:?}");
        assert!(
            times[&3] >= attempts.iter().find(|of| of.1 == 2).unwrap().0 + secs(300),
            "{offset}: {attempts:?}"
        );
    }
    assert!(letters(&cluster).is_empty());
}

/// With `latest`, a partition without a committed offset begins at its end. The next worker would then skip a record that was moved to a retry
/// topic, or one that arrived while no worker was running.
#[tokio::test(start_paused = true)]
async fn with_latest_nothing_is_passed_that_came_after_the_first_start() {
    let cluster = cluster_with_retries().await;
    let (began, attempts) = (Instant::now(), Attempts::default());
    let start = || {
        let handler = noting(began, &attempts, |_, number| match number {
            1 => Err(failure(number)),
            _ => Ok(()),
        });
        let worker = worker_of(builder(&cluster).auto_offset_reset(AutoOffsetReset::Latest));
        let worker = worker.order(Order::Unordered).retry(retry()).dead_letters(dead_letters(&cluster));
        Running::start(worker, handler)
    };
    let append = |partition| cluster.append("orders", partition, &[NewRecord::new("x")]).unwrap();
    let first = start();
    first.until("it begins at each end", |first| committed_by(first) == PARTITIONS as usize).await;
    append(0);
    first.until("it is put aside", |first| first.handle.metrics().postponed == 1).await;
    assert!(first.stop().await.is_clean());
    append(1);
    let second = start();
    let is_done = |partition| {
        let attempts = attempts.lock().unwrap();
        attempts.get(&(partition, RECORDS)).is_some_and(|attempts| attempts.iter().any(|of| of.1 == 2))
    };
    second.until("both are handled", |_| is_done(0) && is_done(1)).await;
    assert!(second.stop().await.is_clean());
    assert_eq!(attempts.lock().unwrap().len(), 2, "and nothing from before");
}

/// The committed offset was deleted by retention, so that the worker begins at the end of the log. It stops before any record
/// arrives. A record that arrives then belongs to the next worker, and is not skipped by another reset to the end.
#[tokio::test(start_paused = true)]
async fn with_latest_nothing_is_passed_that_came_after_a_reset_to_the_end() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let start = || {
        let worker = worker_of(builder(&cluster).auto_offset_reset(AutoOffsetReset::Latest));
        Running::start(worker, ledger.around(|_, _| async { Ok(()) }))
    };
    let before = Running::start(worker(&cluster), |_, _| async { Ok(()) });
    before.until("all is done", |before| before.handle.metrics().handled == all().len() as u64).await;
    assert!(before.stop().await.is_clean());
    let append = || cluster.append("orders", 0, &[NewRecord::new("x")]).unwrap();
    append();
    append();
    let end = RECORDS + 2;
    assert_eq!(cluster.with(|model, _| model.delete_records_before("orders", 0, end)), Some(end));
    let first = start();
    let is_reset =
        |event: &Event| matches!(event, Event::Consumer(offtake::Event::Reset { from: Some(_), .. }));
    first.until("it is reset", |first| first.events().iter().any(is_reset)).await;
    assert!(first.stop().await.is_clean());
    assert_eq!(committed_offsets(&cluster).await[0], (0, end));
    append();
    let second = start();
    second.until("it is handled", |_| ledger.done().contains_key(&(0, end))).await;
    assert!(second.stop().await.is_clean());
    assert_eq!(ledger.done().len(), 1);
}

/// Waiting records of a retry topic are not skipped if retention has deleted the records before them.
#[tokio::test(start_paused = true)]
async fn with_latest_a_retry_topic_that_retention_has_overtaken_goes_on_with_what_it_holds() {
    let cluster = cluster_with_retries().await;
    let (began, attempts) = (Instant::now(), Attempts::default());
    let handler = noting(began, &attempts, |_, number| match number {
        1 => Err(failure(number)),
        _ => Ok(()),
    });
    let worker = worker_of(builder(&cluster).auto_offset_reset(AutoOffsetReset::Latest));
    let worker = worker.order(Order::Unordered).retry(retry()).dead_letters(dead_letters(&cluster));
    let running = Running::start(worker, handler);
    running.until("it begins at each end", |running| committed_by(running) == PARTITIONS as usize).await;
    cluster.append("orders", 0, &[(); 20].map(|()| NewRecord::new("x"))).unwrap();
    running.until("they are put aside", |running| running.handle.metrics().postponed == 20).await;
    let mut left = 0;
    for partition in 0..2 {
        let (_, _, end) = cluster.with(|model, _| model.offsets_of(SHORT, partition)).unwrap();
        let from = (end - 2).max(0);
        assert_eq!(cluster.with(|model, _| model.delete_records_before(SHORT, partition, from)), Some(from));
        left += end - from;
    }
    running.until("the rest is handled", |running| running.handle.metrics().handled == left as u64).await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.stopped.is_empty(), "{summary:?}");
}

/// The remaining records of a retry topic whose end was cut off were handled before.
#[tokio::test(start_paused = true)]
async fn with_latest_a_retry_topic_that_was_cut_is_not_read_anew() {
    let cluster = cluster_with_retries().await;
    let (began, attempts) = (Instant::now(), Attempts::default());
    let handler = noting(began, &attempts, |_, number| match number {
        1 => Err(failure(number)),
        _ => Ok(()),
    });
    let worker = worker_of(builder(&cluster).auto_offset_reset(AutoOffsetReset::Latest));
    let worker = worker.order(Order::Unordered).retry(retry()).dead_letters(dead_letters(&cluster));
    let running = Running::start(worker, handler);
    running.until("it begins at each end", |running| committed_by(running) == PARTITIONS as usize).await;
    cluster.append("orders", 0, &[(); 20].map(|()| NewRecord::new("x"))).unwrap();
    running.until("they are handled", |running| running.handle.metrics().handled == 20).await;
    let is_reset = |event: &Event| {
        use offtake::Event::{Reset, Truncated};
        matches!(event, Event::Consumer(Reset { from: Some(_), .. } | Truncated { .. }))
    };
    let mut cuts = 0;
    for partition in 0..2 {
        let (_, _, end) = cluster.with(|model, _| model.offsets_of(SHORT, partition)).unwrap();
        if end > 2 {
            cluster.with(|model, _| model.truncate_to(SHORT, partition, end - 2)).unwrap();
            cuts += 1;
        }
    }
    running
        .until("each is noticed", |running| {
            running.events().iter().filter(|event| is_reset(event)).count() >= cuts
        })
        .await;
    cluster.append("orders", 0, &[NewRecord::new("x")]).unwrap();
    running.until("the next one is handled", |running| running.handle.metrics().handled >= 21).await;
    assert!(running.stop().await.is_clean());
    assert!(attempts.lock().unwrap().values().all(|of| of.len() == 2), "{attempts:?}");
}

/// With `none`, a partition without a committed offset is an error; a retry topic is read all the same.
#[tokio::test(start_paused = true)]
async fn with_none_a_retry_topic_begins_at_its_first_record() {
    let cluster = cluster_with_retries().await;
    let before = Running::start(worker(&cluster), |_, _| async { Ok(()) });
    before.until("all is done", |before| before.handle.metrics().handled == all().len() as u64).await;
    assert!(before.stop().await.is_clean());
    let (began, attempts) = (Instant::now(), Attempts::default());
    let handler = noting(began, &attempts, |_, number| match number {
        1 => Err(failure(number)),
        _ => Ok(()),
    });
    let none = worker_of(builder(&cluster).auto_offset_reset(AutoOffsetReset::None));
    let none = none.order(Order::Unordered).retry(retry()).dead_letters(dead_letters(&cluster));
    let running = Running::start(none, handler);
    cluster.append("orders", 0, &[NewRecord::new("x")]).unwrap();
    running.until("it is handled again", |running| running.handle.metrics().handled == 1).await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.stopped.is_empty(), "{summary:?}");
}

fn committed_by(running: &Running) -> usize {
    let metrics = running.handle.metrics();
    metrics
        .partitions
        .iter()
        .filter(|(name, of)| name.topic.as_str() == "orders" && of.committed.is_some())
        .count()
}

#[tokio::test(start_paused = true)]
async fn attempts_in_place_come_before_each_topic_and_count_in_all() {
    let cluster = cluster_with_retries().await;
    let (began, attempts) = (Instant::now(), Attempts::default());
    let retry = Retry::fixed(secs(1)).attempts(2).then_topics([(SHORT, secs(60))]).allow_reordering();
    let handler = noting(began, &attempts, |offset, number| match (offset, number) {
        (7, _) => Err(failure(number)),
        _ => Ok(()),
    });
    let running = Running::start(retrying(&cluster).order(Order::Key).retry(retry), handler);
    running.until("it is given up", |running| running.handle.metrics().dead_lettered == 3).await;
    assert!(running.stop().await.is_clean());
    let attempts = attempts.lock().unwrap();
    let of_seven: Vec<_> =
        attempts[&(0, 7)].iter().map(|(_, number, topic)| (*number, topic.as_str())).collect();
    assert_eq!(of_seven, [(1, "orders"), (2, "orders"), (3, SHORT), (4, SHORT)]);
    assert_eq!(header(&letters(&cluster)[0], "error_attempts").as_deref(), Some("4"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_topic_that_is_missing_is_waited_for() {
    let cluster = cluster().await;
    let running = Running::start(retrying(&cluster), |record, attempt| async move {
        match (record.partition(), record.offset(), attempt.number()) {
            (0, 7, 1) if record.topic() == "orders" => Err(Failure::retry("no")),
            _ => Ok(()),
        }
    });
    let is_told = |event: &Event| matches!(event, Event::Error(error) if error.to_string().contains(SHORT));
    running.until("what is missing is told", |running| running.events().iter().any(is_told)).await;
    tokio::time::sleep(secs(300)).await;
    let events = running.events();
    assert!(!events.iter().any(|event| matches!(event, Event::Stopped(_))), "{events:?}");
    assert_eq!(running.handle.metrics().postponed, 0);
    cluster.create_topic(SHORT, 1).unwrap();
    cluster.create_topic(LONG, 1).unwrap();
    running.until("it is handled there", |running| running.handle.metrics().handled == 120).await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.postponed == 1, "{summary:?}");
    assert_eq!(committed_offsets(&cluster).await[0], (0, RECORDS));
}

#[tokio::test(start_paused = true)]
async fn in_transactions_a_record_is_passed_when_it_is_in_its_retry_topic() {
    let cluster = cluster_with_retries().await;
    cluster.create_topic("out", 1).unwrap();
    let inside = cluster.clone();
    let by = Transactions::by("a").producer(move |builder| {
        let inside = inside.clone();
        let dial = offtake_producer::dial::InMemory::new(move |port| inside.connect(port));
        builder.dial(dial).spawn_on(tokio::runtime::Handle::current()).replay(7, WALL_MS)
    });
    let worker = worker(&cluster).order(Order::Unordered).retry(retry()).transactional(by);
    let worker = worker.dead_letters(offtake_worker::DeadLetters::to("orders.dlq"));
    let running = Running::start(worker, |record, attempt| async move {
        let (partition, offset) = first_place(&record, &attempt);
        attempt.send(ProducerRecord::to("out").value(&format!("{partition} {offset}")))?;
        match (offset % 10, attempt.number()) {
            (7, _) | (3, 1) => Err(Failure::retry("no")),
            _ => Ok(()),
        }
    });
    running
        .until("all is finished", |running| {
            let metrics = running.handle.metrics();
            metrics.dead_lettered == 12 && metrics.handled == all().len() as u64 - 12 && metrics.queued == 0
        })
        .await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.postponed == 12 + 12 * 2, "{summary:?}");
    let results = cluster.with(|model, _| model.records("out", 0));
    let once: BTreeSet<_> = results.iter().filter_map(|(_, record)| record.value.clone()).collect();
    assert_eq!(once.len(), all().len() - 12);
}

/// The worker knows the records finished beyond the committed offset before it reads anything of a retry topic, however many
/// partitions that has and however late the responses arrive: it does not handle them again.
#[tokio::test(start_paused = true)]
async fn a_wide_retry_topic_is_read_once_after_a_restart() {
    const WIDE: i32 = 40;
    let cluster = cluster().await;
    cluster.create_topic(SHORT, WIDE).unwrap();
    let due = || NewRecord::new("x").timestamp(WALL_MS - 100_000);
    for partition in 0..WIDE {
        cluster.append(SHORT, partition, &[due(), due(), due(), due(), due()]).unwrap();
    }
    let handled = Arc::new(Mutex::new(BTreeMap::<_, usize>::new()));
    let start = |hangs: bool| {
        let handled = Arc::clone(&handled);
        let retry = Retry::never().then_topics([(SHORT, secs(60))]);
        let worker = worker(&cluster).order(Order::Unordered).retry(retry).concurrency(1000);
        Running::start(worker.dead_letters(dead_letters(&cluster)), move |record, _| {
            let handled = Arc::clone(&handled);
            async move {
                if record.topic() == SHORT {
                    if hangs && record.offset() == 1 {
                        std::future::pending::<()>().await;
                    }
                    *handled.lock().unwrap().entry((record.partition(), record.offset())).or_default() += 1;
                }
                Ok(())
            }
        })
    };
    let count = || handled.lock().unwrap().len();
    let first = start(true);
    first.until("all but what hangs is handled", |_| count() == WIDE as usize * 4).await;
    first.handle.stop_now();
    assert!(first.task.await.unwrap().unwrap().is_clean());
    cluster.inject(FaultRule::on(ApiKey::OffsetFetch, Fault::Delay(secs(1))));
    let second = start(false);
    second.until("the rest is handled", |_| count() == WIDE as usize * 5).await;
    tokio::time::sleep(secs(10)).await;
    let summary = second.stop().await;
    assert!(summary.is_clean() && summary.cancelled == 0, "{summary:?}");
    assert_eq!((summary.handled, summary.skipped), (WIDE as u64, WIDE as u64 * 3));
    assert!(handled.lock().unwrap().values().all(|times| *times == 1));
}
