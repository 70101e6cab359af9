//! Records of our producer, as Java's consumer reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use offtake_admin::{Admin, ClientConfig, NewTopic};
use offtake_producer::{Builder, Delivery, Producer, ProducerRecord, RecordMetadata};
use offtake_tests::{
    Offtake, RecordSpec, Shared, V2_8_2, V3_9_1, V4_3_0, Version, shared, three_brokers_behind_proxies,
    unique,
};
use serde_json::Value;

use crate::library::program;
use crate::records::by_partition;
use crate::specimens::{CODECS, noise, shapes};

fn producer(of: &Shared) -> Builder {
    Producer::builder(of.kafka.bootstrap())
}

fn record(of: &RecordSpec) -> ProducerRecord<'_> {
    let record = ProducerRecord::to(&of.topic).maybe_key(of.key.as_deref()).maybe_value(of.value.as_deref());
    let record = of.partition.into_iter().fold(record, ProducerRecord::partition);
    let record = of.timestamp.into_iter().fold(record, ProducerRecord::timestamp);
    of.headers.iter().fold(record, |record, (name, value)| record.maybe_header(name, value.as_deref()))
}

async fn written(deliveries: Vec<Delivery>) -> Vec<RecordMetadata> {
    let mut written = Vec::new();
    for delivery in deliveries {
        written.push(delivery.await.unwrap());
    }
    written
}

/// Java's consumer's view of a topic, without the topic's name.
fn read(at: &Shared, topic: &str) -> BTreeMap<i32, Vec<Value>> {
    let all = by_partition(at.tool.read(&[topic], "read_committed"));
    let nameless = |mut record: Value| {
        record["topic"] = Value::Null;
        record
    };
    let logs = all
        .into_iter()
        .map(|((_, partition), records)| (partition, records.into_iter().map(nameless).collect()));
    logs.collect()
}

fn what_java_reads_is_what_java_writes(version: Version) {
    let at = shared(version);
    let new = |name: &str| at.tool.create_topic(&unique(name), 3, &[("max.message.bytes", "2000000")]);
    for codec in CODECS {
        let (javas, ours) = (new("javas"), new("ours"));
        at.tool.produce_in(codec, &shapes(&javas, 0));
        program(async {
            let builder = producer(at).property("compression.type", codec);
            let producer = builder.property("max.request.size", 2_000_000).build().await.unwrap();
            let specs = shapes(&ours, 0);
            let written = written(specs.iter().map(|spec| producer.send(record(spec))).collect()).await;
            let mut next = BTreeMap::new();
            for metadata in written {
                let next = next.entry(metadata.partition.partition).or_insert(0);
                assert_eq!(metadata.offset, Some(*next));
                *next += 1;
            }
            producer.close(Duration::from_secs(10)).await.unwrap();
        });
        assert_eq!(read(at, &ours), read(at, &javas), "{codec}");
    }
}

#[test]
fn java_reads_of_ours_what_it_reads_of_its_own_on_kafka_4_3() {
    what_java_reads_is_what_java_writes(V4_3_0);
}

#[test]
fn java_reads_of_ours_what_it_reads_of_its_own_on_kafka_3_9() {
    what_java_reads_is_what_java_writes(V3_9_1);
}

#[test]
fn java_reads_of_ours_what_it_reads_of_its_own_on_kafka_2_8() {
    what_java_reads_is_what_java_writes(V2_8_2);
}

/// `consume --json | produce --json`: keys, nulls, headers with duplicates, bytes that are not text, timestamps.
#[test]
fn the_command_copies_a_topic_as_it_is() {
    let at = shared(V4_3_0);
    let new = |name: &str| at.tool.create_topic(&unique(name), 3, &[]);
    let (from, to) = (new("from"), new("to"));
    at.tool.produce_in("zstd", &shapes(&from, 4));
    let consume = Offtake::new(["consume", "--json", "--until", "latest"]).args([&from]).brokers(&at.kafka);
    let lines = consume.run().stdout.join("\n");
    let produce = Offtake::new(["produce", "--json", "--keep-partition", "-z", "lz4"]).args([&to]);
    let produced = produce.brokers(&at.kafka).stdin(lines).run();
    assert_eq!(produced.code, Some(0), "{:?}", produced.stderr);
    assert_eq!(read(at, &to), read(at, &from));
}

#[test]
fn the_command_says_which_line_it_could_not_write_and_writes_those_before_it() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("lines"), 1, &[]);
    let produce = |args: &[&str], lines: &str| {
        Offtake::new(["produce"]).args(args).args([&topic]).brokers(&at.kafka).stdin(lines).run()
    };
    let reported = produce(&["-K", ":", "-H", "a=1", "--json-report"], "k:1\n\nk:2");
    let offsets: Vec<_> = reported.json().iter().map(|report| report["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2]);
    let broken = produce(&["--json"], "{\"value\":\"before\"}\nno JSON\n{\"value\":\"after\"}\n");
    assert_eq!(broken.code, Some(1));
    assert!(broken.last_line().contains("line 2"), "{:?}", broken.stderr);
    let values: Vec<_> = read(at, &topic)[&0].iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, ["1", "", "2", "before"]);
}

#[test]
fn the_command_writes_transactions_and_aborts_the_one_that_a_line_spoils() {
    let at = shared(V4_3_0);
    let topic = at.tool.create_topic(&unique("transactions"), 3, &[]);
    let run = |lines: String, count: &str| {
        Offtake::new(["produce", "--json", "--json-report", "--transactional-id", &topic])
            .args(["--transaction-records", "1000", "-n", count, &topic])
            .brokers(&at.kafka)
            .stdin(lines)
            .run()
    };
    let lines = |range: std::ops::Range<i32>| -> String {
        range.map(|n| format!("{{\"value\":\"{n}\"}}\n")).collect()
    };
    let all = run(lines(0..2500), "5000");
    assert_eq!((all.code, all.json().len()), (Some(0), 2500), "{:?}", all.stderr);
    // The first 1,000 lines are complete, the next include an invalid one.
    let spoiled = run(lines(2500..4000) + "nonsense\n" + &lines(4000..4100), "5000");
    assert_eq!((spoiled.code, spoiled.stdout.len()), (Some(1), 1000), "{:?}", spoiled.stderr);
    assert!(spoiled.last_line().contains("line 1501: "), "{:?}", spoiled.stderr);
    assert!(spoiled.last_line().contains("1000 records before it are committed"), "{:?}", spoiled.stderr);
    let none = run(String::new(), "5000");
    assert_eq!((none.code, none.json().len()), (Some(0), 0), "{:?}", none.stderr);
    let some = run(lines(0..100), "10");
    assert_eq!((some.code, some.json().len()), (Some(0), 10), "{:?}", some.stderr);
    let seen: usize = read(at, &topic).values().map(Vec::len).sum();
    assert_eq!(seen, 3510);
}

#[test]
fn keys_go_where_javas_producer_puts_them() {
    const KEYS: u64 = 100_000;
    let at = shared(V4_3_0);
    let (javas, ours) = (unique("javas"), unique("ours"));
    for topic in [&javas, &ours] {
        at.tool.create_topic(topic, 17, &[]);
    }
    let key = |n: u64| noise(usize::try_from(n % 40).unwrap(), n);
    let specs = |topic: &str| {
        (0..KEYS).map(|n| RecordSpec::to(topic).key(key(n)).value(n.to_string())).collect::<Vec<_>>()
    };
    for chunk in specs(&javas).chunks(20_000) {
        at.tool.produce(chunk);
    }
    program(async {
        let producer = producer(at).build().await.unwrap();
        for chunk in specs(&ours).chunks(20_000) {
            written(chunk.iter().map(|spec| producer.send(record(spec))).collect()).await;
        }
    });
    let places = |topic: &str| {
        let mut places = BTreeMap::new();
        for (partition, records) in read(at, topic) {
            for record in records {
                places.insert(record["value"].as_str().unwrap().to_owned(), partition);
            }
        }
        places
    };
    let (javas, ours) = (places(&javas), places(&ours));
    assert_eq!(ours.len() as u64, KEYS);
    assert!(ours == javas, "each key in the same partition");
}

/// Java's own producer hangs on this in one of five topics.
#[test]
fn the_first_records_of_200_fresh_topics_are_written_with_five_requests_on_their_way() {
    let at = shared(V4_3_0);
    let topics: Vec<_> = (0..200).map(|_| unique("fresh")).collect();
    program(async {
        let producer =
            producer(at).property("batch.size", 200).property("linger.ms", 0).build().await.unwrap();
        let config = ClientConfig::from_properties([("bootstrap.servers", at.kafka.bootstrap())]).unwrap();
        let mut admin = Admin::new(config).unwrap();
        let mut deliveries = Vec::new();
        for name in topics {
            let topic = NewTopic { name, partitions: Some(1), replication: None, configs: Vec::new() };
            admin.create_topic(&topic).await.unwrap();
            for n in 0..10 {
                let value = format!("{n} {}", "x".repeat(100));
                deliveries.push(producer.send(ProducerRecord::to(&topic.name).partition(0).value(&value)));
            }
        }
        for (at, metadata) in written(deliveries).await.into_iter().enumerate() {
            assert_eq!(metadata.offset, Some((at % 10) as i64), "{}", metadata.partition);
        }
    });
}

/// Sends numbered records to four partitions of a topic until it is stopped. Returns how many.
async fn sends_until(producer: &Producer, topic: &str, stop: tokio::sync::oneshot::Receiver<()>) -> usize {
    let mut deliveries = Vec::new();
    let mut stop = std::pin::pin!(stop);
    let mut pause = tokio::time::interval(Duration::from_millis(2));
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = pause.tick() => {}
        }
        for _ in 0..20 {
            let n = deliveries.len();
            let partition = (n % 4) as i32;
            deliveries
                .push(producer.send(ProducerRecord::to(topic).partition(partition).value(&n.to_string())));
        }
    }
    written(deliveries).await.len()
}

fn each_once_in_order(at: &Shared, topic: &str, count: usize) {
    for (partition, records) in read(at, topic) {
        let read: Vec<usize> =
            records.iter().map(|record| record["value"].as_str().unwrap().parse().unwrap()).collect();
        let sent: Vec<usize> = (0..count).filter(|n| n % 4 == partition as usize).collect();
        let odd: Vec<_> = (0..read.len().max(sent.len()))
            .filter(|nth| read.get(*nth) != sent.get(*nth))
            .map(|nth| (records.get(nth).map(|record| &record["offset"]), read.get(nth), sent.get(nth)))
            .take(100)
            .collect();
        assert!(
            odd.is_empty(),
            "partition {partition}: {} of {} records, each once and in order; from here on (offset, read, sent): {odd:?}",
            read.len(),
            sent.len()
        );
    }
}

#[test]
fn connections_that_are_cut_all_the_time_write_each_record_once_and_in_order() {
    let at = three_brokers_behind_proxies();
    let topic = at.tool.create_topic(&unique("cut"), 4, &[]);
    let count = program(async {
        let producer = producer(&at).property("batch.size", 500).build().await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let cuts = async {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_millis(120)).await;
                at.kafka.brokers().iter().for_each(|broker| at.kafka.proxy(broker.id()).cut_all());
            }
            stop.send(()).unwrap();
        };
        let (count, ()) = tokio::join!(sends_until(&producer, &topic, stopped), cuts);
        producer.close(Duration::from_secs(30)).await.unwrap();
        count
    });
    each_once_in_order(&at, &topic, count);
}

#[test]
fn brokers_that_are_killed_and_leaders_that_move_write_each_record_once_and_in_order() {
    let at = three_brokers_behind_proxies();
    let topic = at.tool.create_topic(&unique("killed"), 4, &[("min.insync.replicas", "2")]);
    let count = program(async {
        let producer = producer(&at).property("batch.size", 500).build().await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let kills = async {
            for nth in 0..2 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                let leader = tokio::task::block_in_place(|| at.tool.leader(&topic, nth));
                let broker = at.kafka.broker(leader);
                tokio::task::block_in_place(|| {
                    broker.kill9();
                    broker.start();
                });
            }
            stop.send(()).unwrap();
        };
        let (count, ()) = tokio::join!(sends_until(&producer, &topic, stopped), kills);
        producer.close(Duration::from_secs(60)).await.unwrap();
        count
    });
    each_once_in_order(&at, &topic, count);
}
