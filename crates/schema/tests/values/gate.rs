//! Records with an unknown schema: only their partition waits, and none of its records is lost or skipped.

use std::collections::BTreeMap;

use offtake::TopicPartition;
use offtake_broker::Cluster;
use offtake_schema::{
    DecodeErrorKind, Plain, Registered, SchemaRegistry, Typed, TypedConsumer, WhenUnknown, avro,
};

use crate::{
    http::{Server, schema},
    support::*,
};

type Reader = Typed<Plain, Told>;

/// Partition 0 has three records of schema 1 and then some of schema 2; partition 1 has schema 1 only.
async fn two_partitions() -> Cluster {
    let cluster = cluster(2).await;
    for (partition, id, values) in [(0, 1, 0..3), (0, 2, 3..6), (1, 1, 0..6)] {
        for value in values {
            cluster.produce("orders", partition, None, Some(&framed(id, &value.to_string()))).unwrap();
        }
    }
    cluster
}

async fn reader(cluster: &Cluster, told: &Told, when_unknown: WhenUnknown) -> Reader {
    let mut reader = builder(cluster).build().await.unwrap().typed(told.clone()).when_unknown(when_unknown);
    reader.consumer_mut().subscribe("orders").await.unwrap();
    reader
}

/// The values of this many polls of 100 ms, by partition; `!` stands for an undecodable value.
async fn read(reader: &mut Reader, polls: usize) -> BTreeMap<i32, String> {
    let mut read: BTreeMap<i32, String> = BTreeMap::new();
    for _ in 0..polls {
        for record in reader.poll(ms(100)).await.unwrap().iter() {
            let value: &str = record.value().unwrap_or("!");
            read.entry(record.partition()).or_default().push_str(value);
        }
    }
    read
}

fn of<const N: usize>(values: [(i32, &str); N]) -> BTreeMap<i32, String> {
    values.map(|(partition, values)| (partition, values.to_owned())).into()
}

async fn committed(cluster: &Cluster) -> [Option<i64>; 2] {
    let consumer = builder(cluster).build().await.unwrap();
    let partitions = [0, 1].map(|partition| TopicPartition::new("orders", partition));
    let committed = consumer.committed(partitions.clone()).await.unwrap();
    partitions.map(|partition| committed.get(&partition).map(|at| at.offset))
}

#[tokio::test(start_paused = true)]
async fn only_the_partition_that_needs_an_unknown_schema_waits() {
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let mut reader = reader(&cluster, &told, WhenUnknown::Pause).await;
    let before = read(&mut reader, 100).await;
    assert_eq!(before.get(&1).map(String::as_str), Some("012345"));
    assert!(matches!(before.get(&0).map(String::as_str), None | Some("012")), "{before:?}");
    assert_eq!(reader.waiting().count(), 1);
    assert_eq!(told.asked(), 1, "once, however often it polls");
    told.tell(2);
    let after = read(&mut reader, 20).await;
    let both = before.get(&0).cloned().unwrap_or_default() + &after[&0];
    assert_eq!(both, "012345", "each once, in order");
    assert_eq!(reader.waiting().count(), 0);
    reader.close(ms(5000)).await.unwrap();
    assert_eq!(committed(&cluster).await, [Some(6), Some(6)]);
}

#[tokio::test(start_paused = true)]
async fn waiting_records_are_not_committed_and_the_next_owner_reads_them() {
    let cluster = two_partitions().await;
    let mut first = reader(&cluster, &Told::knowing([1]), WhenUnknown::Pause).await;
    let before = read(&mut first, 100).await.get(&0).cloned().unwrap_or_default();
    first.close(ms(5000)).await.unwrap();
    let [at, other] = committed(&cluster).await;
    assert_eq!((at.unwrap_or(0), other), (before.len() as i64, Some(6)));
    let mut next = reader(&cluster, &Told::knowing([1, 2]), WhenUnknown::Pause).await;
    let after = read(&mut next, 100).await;
    assert_eq!(before + &after[&0], "012345");
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_the_records_fail_and_reading_goes_on() {
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let mut reader = reader(&cluster, &told, WhenUnknown::Wait(ms(3000))).await;
    let early = read(&mut reader, 20).await;
    assert!(!early.get(&0).is_some_and(|values| values.contains('!')), "{early:?}");
    let late = read(&mut reader, 60).await;
    let both = early.get(&0).cloned().unwrap_or_default() + &late[&0];
    assert_eq!(both, "012!!!");
}

#[tokio::test(start_paused = true)]
async fn or_they_fail_at_once_with_an_error_that_says_which_record_it_is() {
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let mut reader = reader(&cluster, &told, WhenUnknown::Fail).await;
    let mut wrong = Vec::new();
    for _ in 0..100 {
        for record in reader.poll(ms(100)).await.unwrap().iter() {
            if let Err(error) = record.value::<String>() {
                assert!(error.is_retriable() && error.kind() == DecodeErrorKind::Unavailable);
                assert!(record.raw_value().unwrap().starts_with(&[0, 0, 0, 0, 2]));
                wrong.push(error.to_string());
            }
        }
    }
    assert_eq!(wrong.len(), 3);
    assert_eq!(wrong[0], "value of orders-0 at offset 3: nobody has told");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_loses_nothing() {
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let mut reader = reader(&cluster, &told, WhenUnknown::Wait(ms(60_000))).await;
    let mut values: BTreeMap<i32, String> = BTreeMap::new();
    for nth in 0..2000_u64 {
        if nth == 1000 {
            told.tell(2);
        }
        let Ok(polled) = tokio::time::timeout(ms(nth % 7), reader.poll(ms(100))).await else { continue };
        for record in polled.unwrap().iter() {
            values.entry(record.partition()).or_default().push_str(record.value().unwrap());
        }
    }
    assert_eq!(values, of([(0, "012345"), (1, "012345")]));
}

/// Polls until records wait for their schema inside `poll`, and nothing was delivered.
async fn stopped_inside_of_a_poll(cluster: &Cluster, told: &Told, is_dropped: bool) -> Reader {
    let mut reader = reader(cluster, told, WhenUnknown::Pause).await;
    while told.asked() == 0 {
        let timeout = if is_dropped { ms(100_000) } else { ms(50) };
        let Ok(polled) = tokio::time::timeout(ms(100), reader.poll(timeout)).await else { continue };
        assert!(polled.unwrap().is_empty());
    }
    assert_eq!(reader.waiting().count(), 0, "it is not sought back yet");
    assert_eq!(reader.consumer().position(("orders", 0)), Some(6), "and stands behind what nobody has seen");
    reader
}

async fn all_of_schema_2() -> Cluster {
    let cluster = cluster(2).await;
    for value in 0..6 {
        cluster.produce("orders", 0, None, Some(&framed(2, &value.to_string()))).unwrap();
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn h3_closing_commits_nothing_that_was_polled_and_never_handed_out() {
    for is_dropped in [false, true] {
        let cluster = all_of_schema_2().await;
        let reader = stopped_inside_of_a_poll(&cluster, &Told::knowing([1]), is_dropped).await;
        reader.close(ms(5000)).await.unwrap();
        assert_eq!(committed(&cluster).await[0].unwrap_or(0), 0, "{is_dropped}");
        let mut next = self::reader(&cluster, &Told::knowing([1, 2]), WhenUnknown::Pause).await;
        assert_eq!(read(&mut next, 50).await, of([(0, "012345")]));
    }
}

#[tokio::test(start_paused = true)]
async fn h3_neither_does_a_commit_of_what_is_finished_and_later_it_does() {
    for is_dropped in [false, true] {
        let cluster = all_of_schema_2().await;
        let told = Told::knowing([1]);
        let mut reader = stopped_inside_of_a_poll(&cluster, &told, is_dropped).await;
        reader.consumer_mut().commit_finished().await.unwrap();
        assert_eq!(committed(&cluster).await[0].unwrap_or(0), 0, "{is_dropped}");
        told.tell(2);
        assert_eq!(read(&mut reader, 1).await, of([(0, "012345")]));
        reader.consumer_mut().commit_finished().await.unwrap();
        assert_eq!(committed(&cluster).await[0], Some(6));
    }
}

#[tokio::test(start_paused = true)]
async fn seeks_and_pauses_while_records_wait_take_effect() {
    for is_dropped in [false, true] {
        let cluster = all_of_schema_2().await;
        let told = Told::knowing([1]);
        let mut reader = stopped_inside_of_a_poll(&cluster, &told, is_dropped).await;
        reader.consumer_mut().seek(("orders", 0), 4).await.unwrap();
        told.tell(2);
        assert_eq!(read(&mut reader, 20).await, of([(0, "45")]));

        let cluster = all_of_schema_2().await;
        let told = Told::knowing([1]);
        let mut reader = stopped_inside_of_a_poll(&cluster, &told, is_dropped).await;
        reader.consumer_mut().pause(("orders", 0)).unwrap();
        told.tell(2);
        assert_eq!(read(&mut reader, 20).await, of([]));
        reader.consumer_mut().resume(("orders", 0)).unwrap();
        assert_eq!(read(&mut reader, 20).await, of([(0, "012345")]));
    }
}

#[tokio::test(start_paused = true)]
async fn h3_another_policy_loses_nothing_of_what_waits() {
    for is_dropped in [false, true] {
        let cluster = all_of_schema_2().await;
        let told = Told::knowing([1]);
        let reader = stopped_inside_of_a_poll(&cluster, &told, is_dropped).await;
        let mut reader = reader.when_unknown(WhenUnknown::Wait(ms(60_000)));
        told.tell(2);
        assert_eq!(read(&mut reader, 20).await, of([(0, "012345")]));
    }
    // The same for records that were sought back; their partition would otherwise stay paused.
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let mut reader = reader(&cluster, &told, WhenUnknown::Pause).await;
    let before = read(&mut reader, 100).await;
    assert_eq!(reader.waiting().count(), 1);
    let mut reader = reader.when_unknown(WhenUnknown::Wait(ms(60_000)));
    told.tell(2);
    let after = read(&mut reader, 100).await;
    assert_eq!(before.get(&0).cloned().unwrap_or_default() + &after[&0], "012345");
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_on_while_the_application_is_away_from_poll() {
    let cluster = all_of_schema_2().await;
    let told = Told::knowing([1]);
    let reader = stopped_inside_of_a_poll(&cluster, &told, false).await;
    told.tell(2);
    while told.answered() == 0 {
        tokio::time::sleep(ms(10)).await;
    }
    drop(reader);
}

#[tokio::test(start_paused = true)]
async fn where_the_application_says_what_is_finished_all_wait_in_poll_and_nothing_is_sought() {
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let consumer = builder(&cluster).property("enable.auto.offset.store", false).build().await.unwrap();
    let mut reader = consumer.typed(told.clone()).when_unknown(WhenUnknown::Wait(ms(5000)));
    reader.consumer_mut().subscribe("orders").await.unwrap();
    let teller = told.clone();
    let telling = tokio::spawn(async move {
        tokio::time::sleep(ms(4000)).await;
        teller.tell(2);
    });
    assert_eq!(read(&mut reader, 100).await, of([(0, "012345"), (1, "012345")]));
    telling.await.unwrap();
    reader.close(ms(5000)).await.unwrap();
    let committed = committed(&cluster).await.map(Option::unwrap_or_default);
    assert_eq!(committed, [0, 0], "nobody has said that anything is finished");
}

#[tokio::test(start_paused = true)]
async fn commits_are_of_what_was_handed_out() {
    let cluster = two_partitions().await;
    let told = Told::knowing([1]);
    let consumer = builder(&cluster).property("enable.auto.commit", false).build().await.unwrap();
    let mut reader = consumer.typed(told.clone()).when_unknown(WhenUnknown::Pause);
    reader.consumer_mut().subscribe("orders").await.unwrap();
    let mut handed: BTreeMap<i32, i64> = BTreeMap::new();
    for _ in 0..100 {
        let records = reader.poll(ms(100)).await.unwrap();
        handed.extend(records.iter().map(|record| (record.partition(), record.offset() + 1)));
        reader.commit(&records).await.unwrap();
    }
    let [at, other] = committed(&cluster).await;
    assert_eq!((at, other), (handed.get(&0).copied(), Some(6)));
    assert_ne!(at, Some(6));
    reader.consumer_mut().unsubscribe().await.unwrap();
    reader.consumer_mut().subscribe("orders").await.unwrap();
    told.tell(2);
    assert!(read(&mut reader, 50).await[&0].ends_with("345"));
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_and_a_value_without_a_frame_need_no_schema() {
    let cluster = cluster(1).await;
    cluster.produce("orders", 0, Some(b"k"), None).unwrap();
    cluster.produce("orders", 0, None, Some(b"bare")).unwrap();
    let mut reader = reader(&cluster, &Told::default(), WhenUnknown::Pause).await;
    let mut kinds = Vec::new();
    for _ in 0..50 {
        for record in reader.poll(ms(100)).await.unwrap().iter() {
            kinds.push(record.value::<&str>().unwrap_err().kind());
        }
    }
    assert_eq!(kinds, [DecodeErrorKind::Null, DecodeErrorKind::Framing]);
}

/// In real time, because its registry is on a socket.
#[tokio::test]
async fn more_schemas_in_one_poll_than_the_cache_keeps_are_all_decoded() {
    const SCHEMAS: u32 = 300;
    let cluster = cluster(1).await;
    for id in 0..SCHEMAS {
        cluster.produce("orders", 0, None, Some(&framed(id, "\u{2}a"))).unwrap(); // Avro's "a"
    }
    let server = Server::start(|_| schema(r#""string""#, "AVRO")).await;
    for reader in [None, Some(avro::Schema::parse(r#""string""#, &[]).unwrap())] {
        let mut config = server.config();
        config.cache_entries = 10;
        let by = Registered::new(SchemaRegistry::with_config(config).unwrap());
        let by = reader.into_iter().fold(by, Registered::reader);
        let name = format!("cache-{}", server.asked().len());
        let consumer = builder(&cluster).group(&name).build().await.unwrap();
        let mut reader = consumer.typed(by).when_unknown(WhenUnknown::Pause);
        reader.consumer_mut().subscribe("orders").await.unwrap();
        let before = server.asked().len();
        let (mut polled, mut decoded) = (Vec::new(), 0);
        for _ in 0..1_000 {
            if decoded == SCHEMAS {
                break;
            }
            polled.push(reader.poll(ms(100)).await.unwrap());
            let last = polled.last().unwrap();
            decoded +=
                last.iter().map(|record| assert_eq!(record.value::<&str>().unwrap(), "a")).count() as u32;
        }
        assert_eq!(decoded, SCHEMAS, "in a hundred seconds");
        assert_eq!(server.asked().len() - before, SCHEMAS as usize, "each is asked for once");
        // The records of a poll that is kept can be decoded again.
        assert!(
            polled.iter().flat_map(|records| records.iter()).all(|record| record.value::<&str>().is_ok())
        );
        reader.close(ms(5000)).await.unwrap();
    }
}
