//! The library in a program: the guarantees of `poll` to a loop that seeks, pauses, stores, commits and asks for offsets.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_core::Stream;
use offtake::{Consumer, ErrorKind, Records, StartAt, TopicPartition};
use offtake_tests::{Oversleep, RecordSpec, Shared, V2_8_2, V4_3_0, Version, shared, unique};
use serde_json::json;

/// The time limit of each test of the library.
const BOUND: Duration = Duration::from_secs(180);
pub(crate) const A_MOMENT: Duration = Duration::from_millis(500);

/// Runs a program to its end, within the limit of the tests of the library.
pub(crate) fn program<T>(body: impl Future<Output = T>) -> T {
    within(BOUND, body)
}

/// Runs a program to its end, within this time.
pub(crate) fn within<T>(limit: Duration, body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Behind a pointer: otherwise, the runtime's loop would be compiled once more for each program.
    let body: Pin<&mut dyn Future<Output = T>> = pin!(body);
    runtime.block_on(async { tokio::time::timeout(limit, body).await.expect("it ends in time") })
}

/// A topic with this many partitions and the values `0`, `1`, … in each.
pub(crate) fn filled(of: &Shared, partitions: i32, each: u64, codec: &str) -> String {
    let topic = of.tool.create_topic(&unique("library"), partitions, &[]);
    more(of, &topic, partitions, each, codec);
    topic
}

pub(crate) fn more(of: &Shared, topic: &str, partitions: i32, each: u64, codec: &str) {
    let spec = |nth: u64| {
        let value = move |index| RecordSpec::to(topic).partition(index).value(nth.to_string());
        (0..partitions).map(move |index| value(index).timestamp(1_700_000_000_000 + nth as i64))
    };
    of.tool.produce_in(codec, &(0..each).flat_map(spec).collect::<Vec<_>>());
}

pub(crate) fn at(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(topic, index)
}

/// Offsets by partition, in order of arrival.
pub(crate) type Read = BTreeMap<i32, Vec<i64>>;

pub(crate) fn take(read: &mut Read, records: &Records) {
    for record in records {
        read.entry(record.partition()).or_default().push(record.offset());
    }
}

/// Polls until this many records have arrived.
async fn read(consumer: &mut Consumer, count: usize) -> Read {
    let mut all = Read::new();
    while all.values().map(Vec::len).sum::<usize>() < count {
        take(&mut all, &consumer.poll(A_MOMENT).await.unwrap());
    }
    all
}

async fn by_hand(of: &Shared, topic: &str, partitions: i32, most: usize) -> Consumer {
    let builder = Consumer::builder(of.kafka.bootstrap()).property("max.poll.records", most);
    let mut consumer = builder.property("auto.offset.reset", "earliest").build().await.unwrap();
    consumer.assign((0..partitions).map(|index| at(topic, index))).await.unwrap();
    consumer
}

#[test]
fn a_stream_gives_every_record_in_order() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 3, 100, "lz4");
        let mut consumer = by_hand(of, &topic, 3, 7).await;
        let mut all = Read::new();
        let mut stream = consumer.stream();
        while all.values().map(Vec::len).sum::<usize>() < 300 {
            let item = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await;
            take(&mut all, &item.expect("it has no end").unwrap());
            stream.consumer().pause([at(&topic, 0)]).unwrap(); // it can be used between two items
            stream.consumer().resume([at(&topic, 0)]).unwrap();
        }
        drop(stream);
        assert!(all.values().all(|offsets| offsets.iter().copied().eq(0..100)), "{all:?}");
        consumer.close(BOUND).await.unwrap();
    });
}

#[test]
fn i11_records_buffered_at_a_pause_come_in_order_after_the_resume() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("library"), 2, &[]);
        (0..20).for_each(|_| more(of, &topic, 2, 10, "gzip"));
        // One batch per fetch, so that several answers are buffered when it is paused.
        let builder = Consumer::builder(of.kafka.bootstrap()).property("max.partition.fetch.bytes", "1");
        let builder = builder.property("max.poll.records", "10").property("auto.offset.reset", "earliest");
        let mut consumer = builder.build().await.unwrap();
        consumer.assign([at(&topic, 0), at(&topic, 1)]).await.unwrap();
        let mut all = read(&mut consumer, 100).await;
        let stopped = all.get(&0).map_or(0, Vec::len) as i64;
        tokio::time::sleep(A_MOMENT).await; // the engine fetches ahead
        consumer.pause([at(&topic, 0)]).unwrap();
        assert_eq!(consumer.paused(), [at(&topic, 0)]);
        // The other partition continues to its end and beyond; this one stands still.
        more(of, &topic, 2, 50, "none");
        while all.get(&1).map_or(0, Vec::len) < 250 {
            take(&mut all, &consumer.poll(A_MOMENT).await.unwrap());
        }
        assert_eq!(all.get(&0).map_or(0, Vec::len) as i64, stopped, "nothing comes while it is paused");
        assert_eq!(consumer.position(at(&topic, 0)), Some(stopped));
        assert!(consumer.poll(Duration::from_millis(300)).await.unwrap().is_empty());
        consumer.resume([at(&topic, 0)]).unwrap();
        let rest = read(&mut consumer, 250 - stopped as usize).await;
        all.entry(0).or_default().extend(&rest[&0]);
        assert!(all.values().all(|offsets| offsets.iter().copied().eq(0..250)), "{all:?}");
        consumer.close(BOUND).await.unwrap();
    });
}

#[test]
fn j8_a_seek_lands_on_its_record_in_the_middle_of_a_batch_and_nothing_older_follows() {
    program(async {
        let of = shared(V2_8_2);
        let topic = filled(of, 1, 100, "zstd");
        let mut consumer = by_hand(of, &topic, 1, 10).await;
        let place = at(&topic, 0);
        let mut first = async |to: StartAt| {
            consumer.seek(place.clone(), to).await.unwrap();
            read(&mut consumer, 1).await[&0][0]
        };
        for to in [57, 0, 99, 3, 98, 50] {
            assert_eq!(first(StartAt::Offset(to.into())).await, to);
        }
        assert_eq!(first(StartAt::Earliest).await, 0);
        assert_eq!(first(StartAt::BeforeEnd(5)).await, 95);
        assert_eq!(first(StartAt::Timestamp(1_700_000_000_042)).await, 42);
        consumer.seek(place.clone(), StartAt::Latest).await.unwrap();
        while consumer.position(&place).is_none() {
            assert!(consumer.poll(A_MOMENT).await.unwrap().is_empty());
        }
        assert_eq!(consumer.position(&place), Some(100));
        more(of, &topic, 1, 1, "none");
        assert_eq!(read(&mut consumer, 1).await, Read::from([(0, vec![100])]));
        let elsewhere = consumer.seek(at(&topic, 7), StartAt::Earliest).await.unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::NotOwned);
        consumer.close(BOUND).await.unwrap();
    });
}

#[test]
fn offsets_are_told_as_java_tells_them() {
    for version in Version::ALL {
        program(async {
            let of = shared(version);
            let topic = filled(of, 2, 30, "snappy");
            of.tool.delete_records(&topic, 1, 4);
            let open = unique("open");
            of.tool.begin(&open);
            of.tool.produce_within(&open, &[RecordSpec::to(&topic).partition(0).value("open")]);
            let group = unique("group");
            of.tool.alter_offsets(&group, &[(&topic, 1, 12)]);
            let places = || [at(&topic, 0), at(&topic, 1)];
            for (isolation, end) in [("read_uncommitted", 31), ("read_committed", 30)] {
                let builder = Consumer::builder(of.kafka.bootstrap()).group(&group);
                let consumer = builder.property("isolation.level", isolation).build().await.unwrap();
                assert_eq!(of.tool.list_offsets(&topic, "latest", isolation), [end, 30]);
                assert_eq!(consumer.watermarks(at(&topic, 0)).await.unwrap(), (0, end), "{version:?}");
                assert_eq!(consumer.watermarks(at(&topic, 1)).await.unwrap(), (4, 30));
                let ends = consumer.end_offsets(places()).await.unwrap();
                assert_eq!(ends.into_values().collect::<Vec<_>>(), [end, 30]);
                let beginnings = consumer.beginning_offsets(places()).await.unwrap();
                assert_eq!(beginnings.into_values().collect::<Vec<_>>(), [0, 4]);
                let times = [(at(&topic, 0), 1_700_000_000_007), (at(&topic, 1), 0)];
                let found = consumer.offsets_for_times(times).await.unwrap();
                let found: Vec<_> =
                    found.into_values().map(|found| (found.offset, found.timestamp)).collect();
                assert_eq!(found, [(7, Some(1_700_000_000_007)), (4, Some(1_700_000_000_004))]);
                let never = consumer.offsets_for_times([(at(&topic, 1), 1_900_000_000_000)]).await.unwrap();
                assert!(never.is_empty(), "{never:?}");
                let committed = consumer.committed(places()).await.unwrap();
                let committed: Vec<_> =
                    committed.into_iter().map(|(of, at)| (of.partition, at.offset)).collect();
                assert_eq!(committed, [(1, 12)], "{version:?}");
                consumer.close(BOUND).await.unwrap();
            }
            of.tool.abort(&open);
        });
    }
}

#[test]
fn stored_offsets_are_committed_and_nothing_else() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 20, "none");
        let group = unique("group");
        let builder =
            Consumer::builder(of.kafka.bootstrap()).group(&group).property("max.poll.records", "10");
        let builder =
            builder.property("enable.auto.offset.store", "false").property("auto.offset.reset", "earliest");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let committed = || of.tool.committed(&group).into_iter().map(|((_, at), offset)| (at, offset));
        let mut last = BTreeMap::new();
        let mut polled = 0;
        while polled < 40 {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            for record in records.iter().filter(|record| record.offset() <= 4 + i64::from(record.partition()))
            {
                last.insert(record.partition(), record.detach());
            }
            polled += records.len();
        }
        consumer.commit_finished().await.unwrap();
        assert!(committed().all(|(_, offset)| offset == 0), "nothing was stored yet");
        for record in last.values() {
            consumer.store(record).unwrap();
        }
        assert!(committed().all(|(_, offset)| offset == 0), "to store is not to commit");
        consumer.commit_finished().await.unwrap();
        assert_eq!(committed().collect::<Vec<_>>(), [(0, 5), (1, 6)]);
        consumer.close(BOUND).await.unwrap();
        assert_eq!(
            committed().collect::<Vec<_>>(),
            [(0, 5), (1, 6)],
            "closing commits no more than was stored"
        );
    });
}

#[test]
fn the_shortest_loop_commits_what_it_has_finished() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 1, 30, "none");
        let group = unique("group");
        let member = async || {
            let builder = Consumer::builder(of.kafka.bootstrap()).group(&group);
            let builder =
                builder.property("max.poll.records", "10").property("auto.offset.reset", "earliest");
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe([topic.as_str()]).await.unwrap();
            consumer
        };
        let mut first = member().await;
        let records = loop {
            let records = first.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        first.commit(&records).await.unwrap();
        assert_eq!(of.tool.committed(&group)[&(topic.clone(), 0)], 10);
        assert_eq!(read(&mut first, 10).await[&0], (10..20).collect::<Vec<_>>());
        // Neither committed nor followed by another poll: the records may be unfinished. Dropped, not closed.
        drop(first);
        let mut second = member().await;
        assert_eq!(read(&mut second, 20).await[&0], (10..30).collect::<Vec<_>>());
        second.close(BOUND).await.unwrap();
        assert_eq!(
            of.tool.committed(&group)[&(topic.clone(), 0)],
            30,
            "what was handed out is done when it is closed"
        );
    });
}

#[test]
fn a_group_can_be_committed_for_by_hand() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 1, 20, "none");
        let group = unique("group");
        let builder = Consumer::builder(of.kafka.bootstrap()).group(&group).property("max.poll.records", "5");
        let builder =
            builder.property("enable.auto.commit", "false").property("auto.offset.reset", "earliest");
        let mut consumer = builder.build().await.unwrap();
        consumer.assign([at(&topic, 0)]).await.unwrap();
        let records = loop {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        consumer.commit(&records).await.unwrap();
        assert_eq!(of.tool.committed(&group)[&(topic.clone(), 0)], 5);
        read(&mut consumer, 5).await;
        consumer.close(BOUND).await.unwrap();
        assert_eq!(
            of.tool.committed(&group)[&(topic.clone(), 0)],
            5,
            "it commits by itself only where it is told to"
        );
        assert_eq!(of.tool.describe_group(&group)["members"], json!([]), "nobody is a member");
    });
}

#[test]
fn live7_poll_keeps_its_timeout_when_there_is_nothing() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("library"), 1, &[]);
        let mut consumer = by_hand(of, &topic, 1, 10).await;
        for millis in [0, 1, 50, 300] {
            let (machine, began) = (Oversleep::new(), Instant::now());
            assert!(consumer.poll(Duration::from_millis(millis)).await.unwrap().is_empty());
            let took = began.elapsed();
            // The allowance is 50 ms more; the rest is for busy machines.
            let bound = Duration::from_millis(millis + 250) + machine.allowance();
            assert!(took < bound, "{millis} ms became {took:?}, {bound:?} are allowed");
        }
        // M6: even with a zero timeout, records arrive eventually.
        more(of, &topic, 1, 1, "none");
        while consumer.poll(Duration::ZERO).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        consumer.close(BOUND).await.unwrap();
    });
}
