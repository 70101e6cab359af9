//! Records that are larger than a fetch's limits.

use std::time::{Duration, Instant};

use offtake::{Builder, Consumer, Error, ErrorKind, Position, StartAt};
use offtake_tests::{RecordSpec, Shared, V4_3_0, shared, unique};

use crate::flow::PATIENCE;
use crate::library::{Read, at, program, take};

/// A consumer that fetches a kilobyte at a time, of two partitions.
async fn frugal(of: &Shared, topic: &str, change: impl FnOnce(Builder) -> Builder) -> Consumer {
    let builder = Consumer::builder(of.kafka.bootstrap()).property("auto.offset.reset", "earliest");
    let builder = builder.property("fetch.max.bytes", "1000").property("max.partition.fetch.bytes", "1000");
    let mut consumer = change(builder.property("fetch.buffer.max.bytes", "1000")).build().await.unwrap();
    consumer.assign([at(topic, 0), at(topic, 1)]).await.unwrap();
    consumer
}

/// Partition 0 has a small record, one of this size and another small one; partition 1 has many small ones.
fn with_one_of(of: &Shared, size: usize) -> String {
    let topic = of.tool.create_topic(&unique("limits"), 2, &[("max.message.bytes", "12000000")]);
    let spec =
        |partition: i32, size: usize| RecordSpec::to(&topic).partition(partition).value("x".repeat(size));
    for size in [1, size, 1] {
        of.tool.produce(&[spec(0, size)]);
    }
    of.tool.produce(&(0..50).map(|_| spec(1, 100)).collect::<Vec<_>>());
    topic
}

/// Polls until both partitions have returned this many records; collects errors.
async fn read(consumer: &mut Consumer, zero: usize, one: usize, errors: &mut Vec<Error>) -> Read {
    let mut read = Read::new();
    let deadline = Instant::now() + PATIENCE;
    let count = |read: &Read, of: i32| read.get(&of).map_or(0, Vec::len);
    while count(&read, 0) < zero || count(&read, 1) < one {
        assert!(Instant::now() < deadline, "{read:?}, {errors:?}");
        match consumer.poll(Duration::from_millis(200)).await {
            Ok(records) => take(&mut read, &records),
            Err(error) => errors.push(error),
        }
    }
    read
}

#[test]
fn i10_a_record_larger_than_all_limits_of_a_fetch_is_delivered() {
    program(async {
        let of = shared(V4_3_0);
        let topic = with_one_of(of, 5_000_000);
        let mut consumer = frugal(of, &topic, |builder| builder).await;
        let mut errors = Vec::new();
        let read = read(&mut consumer, 3, 50, &mut errors).await;
        assert_eq!((&read[&0], read[&1].len(), errors.len()), (&vec![0, 1, 2], 50, 0), "{errors:?}");
        consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn i10_a_record_larger_than_what_is_read_of_an_answer_is_one_error_and_the_others_flow() {
    program(async {
        let of = shared(V4_3_0);
        let topic = with_one_of(of, 5_000_000);
        let small = |builder: Builder| builder.property("receive.message.max.bytes", "1000000");
        let mut consumer = frugal(of, &topic, small).await;
        let mut errors = Vec::new();
        let mut all = read(&mut consumer, 1, 50, &mut errors).await;
        of.tool.produce(&[RecordSpec::to(&topic).partition(1).value("later")]);
        let later = read(&mut consumer, 0, 1, &mut errors).await;
        all.entry(1).or_default().extend(&later[&1]);
        let deadline = Instant::now() + PATIENCE;
        while errors.is_empty() && Instant::now() < deadline {
            errors.extend(consumer.poll(Duration::from_millis(200)).await.err());
        }
        assert_eq!((&all[&0], all[&1].len()), (&vec![0], 51));
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert_eq!((error.kind(), error.partition()), (ErrorKind::TooLarge, Some(&at(&topic, 0))), "{error}");
        assert!(error.to_string().contains("raise receive.message.max.bytes to at least 5000"), "{error}");
        consumer.seek(at(&topic, 0), StartAt::Offset(Position::at(2))).await.unwrap();
        let last = self::read(&mut consumer, 1, 0, &mut errors).await;
        assert_eq!((&last[&0], errors.len()), (&vec![2], 1), "{errors:?}");
        consumer.close(PATIENCE).await.unwrap();
    });
}
