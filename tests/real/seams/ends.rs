//! The end of a consumer: dropped or closed, and the results of its handles afterwards.

use std::time::{Duration, Instant};

use offtake::{Consumer, ErrorKind, Handle, OffsetAndMetadata, Position, StartAt, TopicPartition};
use offtake_tests::{Shared, V4_3_0, shared, unique};
use tokio::time::sleep;

use super::{PATIENCE, committed, member};
use crate::library::{A_MOMENT, at, filled, program};

/// A member whose commit interval never elapses, which was handed ten records per poll, of one partition with 30.
async fn with_two_polls(of: &Shared, group: &str, each: bool) -> (String, Consumer) {
    let topic = filled(of, 1, 30, "none");
    let builder = member(of, group)
        .property("auto.commit.interval.ms", "3600000")
        .property("session.timeout.ms", "45000")
        .property("max.poll.records", "10");
    let mut consumer = if each { builder.finish_each() } else { builder }.build().await.unwrap();
    consumer.subscribe([topic.as_str()]).await.unwrap();
    let mut polls = 0;
    while polls < 2 {
        let records = consumer.poll(A_MOMENT).await.unwrap();
        polls += usize::from(!records.is_empty());
        if each {
            records.iter().for_each(|record| record.finish().unwrap());
        }
    }
    (topic, consumer)
}

/// Asserts that it leaves long before its session would end, and by then this offset is committed.
async fn is_gone(of: &'static Shared, group: &str, finished: i64) {
    let dropped = Instant::now();
    let name = group.to_owned();
    let members = move || of.tool.describe_group(&name)["members"].as_array().map_or(0, Vec::len);
    while tokio::task::spawn_blocking(members.clone()).await.unwrap() > 0 {
        assert!(dropped.elapsed() < Duration::from_secs(10), "its session would end in 45 s");
    }
    assert_eq!(committed(of, group).await, finished);
}

/// SEAM15: the records of the last poll are unfinished; earlier ones are finished.
#[test]
fn seam15_a_dropped_consumer_commits_what_is_finished_and_leaves() {
    program(async {
        let of = shared(V4_3_0);
        let group = unique("group");
        let (_, consumer) = with_two_polls(of, &group, false).await;
        drop(consumer);
        is_gone(of, &group, 10).await;
    });
}

#[test]
fn seam15_a_dropped_consumer_commits_what_workers_have_finished() {
    program(async {
        let of = shared(V4_3_0);
        let group = unique("group");
        let (_, consumer) = with_two_polls(of, &group, true).await;
        drop(consumer);
        is_gone(of, &group, 20).await;
    });
}

/// SEAM15: like `?` in the middle of a loop: a pending wait is dropped, and nothing unfinished is committed.
#[test]
fn seam15_a_consumer_that_is_dropped_while_it_waits_commits_and_leaves() {
    program(async {
        let of = shared(V4_3_0);
        let group = unique("group");
        let (topic, mut consumer) = with_two_polls(of, &group, false).await;
        consumer.pause([at(&topic, 0)]).unwrap();
        let waiting = tokio::spawn(async move { consumer.poll(PATIENCE).await.map(|records| records.len()) });
        sleep(A_MOMENT).await;
        waiting.abort(); // and with it its consumer
        assert!(waiting.await.is_err());
        // The call marked the earlier records as finished.
        is_gone(of, &group, 20).await;
    });
}

/// Every call of a handle.
async fn all_say_closed(handle: &Handle, place: &TopicPartition, how: &str) {
    let offsets = [(place.clone(), OffsetAndMetadata::from(Position::at(1)))];
    let kind = |result: offtake::Result<()>| result.map_err(|error| error.kind());
    let said = [
        ("pause", kind(handle.pause([place.clone()]))),
        ("resume", kind(handle.resume([place.clone()]))),
        ("wake", kind(handle.wake())),
        ("seek", kind(handle.seek(place.clone(), StartAt::Earliest).await)),
        ("commit_offsets", kind(handle.commit_offsets(offsets.clone()).await)),
        ("commit_offsets_within", kind(handle.commit_offsets_within(offsets, Duration::from_secs(1)).await)),
        ("commit_finished", kind(handle.commit_finished().await)),
        ("committed", kind(handle.committed([place.clone()]).await.map(drop))),
    ];
    let odd: Vec<_> = said.iter().filter(|(_, said)| *said != Err(ErrorKind::Closed)).collect();
    assert!(odd.is_empty(), "{how}: {odd:?}");
    let nothing = (handle.assignment(), handle.paused(), handle.position(place), handle.lag(place));
    assert_eq!(nothing, (vec![], vec![], None, None), "{how}");
}

/// SEAM16: at once, every time.
#[test]
fn seam16_a_handle_says_closed_of_every_call_after_close() {
    program(async {
        let of = shared(V4_3_0);
        for nth in 0..10 {
            let (topic, consumer) = with_two_polls(of, &unique("group"), nth % 2 == 0).await;
            let handle = consumer.handle();
            consumer.close(PATIENCE).await.unwrap();
            all_say_closed(&handle, &at(&topic, 0), "closed").await;
        }
    });
}

/// SEAM16: after a drop too, though the engine may still be committing and leaving.
#[test]
fn seam16_a_handle_says_closed_of_every_call_after_a_drop() {
    program(async {
        let of = shared(V4_3_0);
        for nth in 0..10 {
            let (topic, consumer) = with_two_polls(of, &unique("group"), nth % 2 == 0).await;
            let handle = consumer.handle();
            drop(consumer);
            all_say_closed(&handle, &at(&topic, 0), "dropped").await;
        }
    });
}
