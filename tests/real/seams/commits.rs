//! Finished records are committed at every interval, whatever the application awaits; and a flood of commits floods
//! nothing else.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_core::Stream;
use offtake::{Consumer, Event, Next, Ticket};
use offtake_tests::{
    AnswerFault, Api, FaultRule, JavaTool, Kafka, RecordSpec, Shared, V4_3_0, shared, unique,
};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{PATIENCE, committed, member};
use crate::library::{A_MOMENT, filled, program};

/// How long the application may wait; longer than a test waits for a commit.
const WAITS: Duration = Duration::from_secs(12);
/// Twenty intervals.
const SOON: Duration = Duration::from_secs(10);

/// 200 records, an interval of 500 ms, and a consumer that has handed out all of them.
async fn all_read(each: bool) -> (&'static Shared, String, Consumer, Vec<Ticket>) {
    let of = shared(V4_3_0);
    let topic = filled(of, 2, 100, "none");
    let group = unique("group");
    let builder = member(of, &group).property("auto.commit.interval.ms", "500");
    let mut consumer = if each { builder.finish_each() } else { builder }.build().await.unwrap();
    consumer.subscribe([topic.as_str()]).await.unwrap();
    let (mut read, mut tickets) = (0, Vec::new());
    while read < 200 {
        let records = consumer.poll(A_MOMENT).await.unwrap();
        read += records.len();
        if each {
            tickets.extend(records.iter().map(|record| record.ticket().unwrap()));
        }
    }
    (of, group, consumer, tickets)
}

/// Asserts that all 200 are committed while the application waits, and continues to wait.
async fn are_committed_meanwhile(of: &'static Shared, group: &str, waiting: JoinHandle<()>) {
    let began = Instant::now();
    loop {
        let now = committed(of, group).await;
        assert!(!waiting.is_finished(), "it waits for {WAITS:?}");
        if now == 200 {
            break;
        }
        assert!(began.elapsed() < SOON, "{now} of 200 are committed after {SOON:?}");
        sleep(Duration::from_millis(50)).await;
    }
    waiting.abort();
}

#[test]
fn seam1_finished_records_are_committed_while_a_long_poll_waits() {
    program(async {
        let (of, group, mut consumer, _) = all_read(false).await;
        let waiting = tokio::spawn(async move {
            assert!(consumer.poll(WAITS).await.unwrap().is_empty());
        });
        are_committed_meanwhile(of, &group, waiting).await;
    });
}

#[test]
fn seam1_finished_records_are_committed_while_next_waits() {
    program(async {
        let (of, group, mut consumer, _) = all_read(false).await;
        let waiting = tokio::spawn(async move {
            loop {
                let next = consumer.next().await.unwrap();
                assert!(!matches!(next, Next::Records(_)), "{next:?}");
            }
        });
        are_committed_meanwhile(of, &group, waiting).await;
    });
}

#[test]
fn seam1_finished_records_are_committed_while_a_stream_waits() {
    program(async {
        let (of, group, mut consumer, _) = all_read(false).await;
        let waiting = tokio::spawn(async move {
            let mut stream = consumer.stream();
            let item = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await;
            panic!("there is nothing to read: {item:?}");
        });
        are_committed_meanwhile(of, &group, waiting).await;
    });
}

/// The usual loop: tickets to workers, and back to `next` at once.
#[test]
fn seam1_records_finished_by_workers_are_committed_while_next_waits() {
    program(async {
        let (of, group, mut consumer, tickets) = all_read(true).await;
        let waiting = tokio::spawn(async move {
            loop {
                let next = consumer.next().await.unwrap();
                assert!(!matches!(next, Next::Records(_)), "{next:?}");
            }
        });
        let workers = tokio::spawn(async move {
            for ticket in tickets {
                sleep(Duration::from_millis(1)).await;
                ticket.finish().unwrap();
            }
        });
        workers.await.unwrap();
        are_committed_meanwhile(of, &group, waiting).await;
    });
}

/// SEAM17: commits that are not awaited, at a slow coordinator: the later ones are merged, none is refused.
#[test]
fn seam17_a_flood_of_commits_that_nobody_awaits_is_neither_refused_nor_told() {
    let kafka = Kafka::builder().proxied().start();
    let tool = JavaTool::start(&kafka);
    let topic = tool.create_topic("orders", 1, &[]);
    let values: Vec<_> = (0..10).map(|_| RecordSpec::to(&topic).partition(0).value("v")).collect();
    tool.produce(&values);
    let of = Shared { kafka, tool };
    program(async {
        let group = unique("group");
        let errors = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&errors);
        let builder = member(&of, &group).property("enable.auto.commit", "false").events(move |event| {
            if matches!(event, Event::Error(_)) {
                told.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let records = loop {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        of.kafka
            .proxy(1)
            .rule(FaultRule::next(Api::OFFSET_COMMIT, AnswerFault::Delay(Duration::from_secs(3))));
        let began = Instant::now();
        for _ in 0..80_000 {
            drop(consumer.commit_async(&records).unwrap());
        }
        let flood = began.elapsed();
        // One that is awaited, in the middle of them.
        consumer.commit(&records).await.unwrap();
        eprintln!("80,000 in {flood:?}, the one after them in {:?}", began.elapsed());
        assert!(began.elapsed() >= Duration::from_secs(3), "the coordinator was slow");
        assert_eq!(errors.load(Ordering::Relaxed), 0, "nothing went wrong");
        // And with all of them kept, to be awaited later. Ten times as many may take ten times as long, and not a hundred.
        let mut times = Vec::new();
        for count in [2000, 20_000] {
            let began = Instant::now();
            let kept: Vec<_> = (0..count).map(|_| consumer.commit_async(&records).unwrap()).collect();
            for commit in kept {
                commit.await.unwrap();
            }
            times.push(began.elapsed());
        }
        let [of_few, took] = times[..] else { unreachable!("two are timed") };
        eprintln!("2,000 that are awaited in {of_few:?}, 20,000 in {took:?}");
        assert!(
            took < Duration::from_secs(5) + 40 * of_few,
            "a commit costs more the more there are: {took:?}"
        );
        consumer.close(PATIENCE).await.unwrap();
        assert_eq!(errors.load(Ordering::Relaxed), 0, "nothing went wrong");
        assert_eq!(committed(&of, &group).await, records.len() as i64);
    });
}
