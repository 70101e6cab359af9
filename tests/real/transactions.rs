//! Transactions of our producer as Java's consumers see them, and beside Java's producers with the same id.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use offtake::Consumer;
use offtake_producer::{
    ErrorKind, GroupOffsets, OffsetAndMetadata, ProducerRecord, Transaction, TransactionalProducer,
};
use offtake_tests::{JavaTool, Kafka, RecordSpec, Shared, V2_8_2, V3_9_1, V4_3_0, Version, shared, unique};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::library::{A_MOMENT, filled, within};
use crate::specimens::CODECS;

const PARTITIONS: i32 = 3;
/// A broker checks every ten seconds for transactions that have timed out.
const EXPIRES: Duration = Duration::from_secs(40);

/// Runs a program to its end, within the limit; brokers check for timed-out transactions in their own time.
fn program<T>(body: impl Future<Output = T>) -> T {
    within(4 * EXPIRES, body)
}

async fn producer(of: &Shared, id: &str, more: &[(&str, &str)]) -> TransactionalProducer {
    let builder = TransactionalProducer::builder(of.kafka.bootstrap(), id).property("linger.ms", 0);
    let builder = more.iter().fold(builder, |builder, (name, value)| builder.property(name, *value));
    builder.build_transactional().await.unwrap()
}

/// Sends one record to each partition, with this text as its value, `batches` times.
async fn send(transaction: &Transaction<'_>, topic: &str, text: &str, batches: usize) {
    for _ in 0..batches {
        let deliveries: Vec<_> = (0..PARTITIONS)
            .map(|index| transaction.send(ProducerRecord::to(topic).partition(index).key(text).value(text)))
            .collect();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }
}

/// The values of each partition, in order.
type Values = BTreeMap<i32, Vec<String>>;

fn java_reads(of: &Shared, topic: &str, isolation: &str) -> Values {
    let mut values = Values::new();
    for record in block_in_place(|| of.tool.read(&[topic], isolation)) {
        let partition = record["partition"].as_i64().unwrap() as i32;
        values.entry(partition).or_default().push(record["value"].as_str().unwrap().to_owned());
    }
    values
}

/// The records that ours reads up to the end offset of Java's consumer.
async fn ours_reads(of: &Shared, topic: &str, isolation: &str) -> Values {
    let ends = block_in_place(|| of.tool.list_offsets(topic, "latest", isolation));
    let builder = Consumer::builder(of.kafka.bootstrap()).property("isolation.level", isolation);
    let mut consumer = builder.property("auto.offset.reset", "earliest").build().await.unwrap();
    consumer.assign((0..PARTITIONS).map(|index| (topic, index, 0))).await.unwrap();
    let mut values = Values::new();
    while (0..PARTITIONS).zip(&ends).any(|(index, end)| {
        *end > 0 && consumer.position((topic, index)).is_none_or(|position| position < *end)
    }) {
        for record in &consumer.poll(A_MOMENT).await.unwrap() {
            let value = std::str::from_utf8(record.value().unwrap()).unwrap().to_owned();
            values.entry(record.partition()).or_default().push(value);
        }
    }
    values
}

fn in_each(values: &[&str]) -> Values {
    let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
    (0..PARTITIONS).filter(|_| !values.is_empty()).map(|index| (index, values.clone())).collect()
}

/// Waits until `holds` does: a coordinator answers before the markers of a transaction are written.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + EXPIRES;
    while !block_in_place(&mut holds) {
        assert!(Instant::now() < deadline, "not within {EXPIRES:?}: {what}");
        block_in_place(|| std::thread::sleep(Duration::from_millis(50)));
    }
}

/// Waits until no topic's transaction is undecided, and there are more than this many records in each partition.
fn wait_decided(of: &Shared, topic: &str, more_than: i64) {
    let ends = |isolation| of.tool.list_offsets(topic, "latest", isolation);
    wait("the transactions are decided", || {
        let stable = ends("read_committed");
        stable == ends("read_uncommitted") && stable.iter().all(|end| *end > more_than)
    });
}

/// Checks both clients, in both isolation levels.
async fn is_read(of: &Shared, topic: &str, committed: &[&str], uncommitted: &[&str]) {
    for (isolation, expected) in [("read_committed", committed), ("read_uncommitted", uncommitted)] {
        assert_eq!(java_reads(of, topic, isolation), in_each(expected), "Java, {isolation}");
        assert_eq!(ours_reads(of, topic, isolation).await, in_each(expected), "ours, {isolation}");
    }
}

/// Commits, aborts, drops and commits again, with one codec.
async fn commits_and_aborts(of: &Shared, codec: &str) {
    let topic = block_in_place(|| of.tool.create_topic(&unique("committed"), PARTITIONS, &[]));
    let mut producer = producer(of, &unique("committing"), &[("compression.type", codec)]).await;
    let first = producer.begin().await.unwrap();
    send(&first, &topic, "first", 2).await;
    is_read(of, &topic, &[], &["first", "first"]).await;
    first.commit().await.unwrap();
    let aborted = producer.begin().await.unwrap();
    send(&aborted, &topic, "aborted", 1).await;
    aborted.abort().await.unwrap();
    producer.begin().await.unwrap().commit().await.unwrap(); // an empty transaction
    let dropped = producer.begin().await.unwrap();
    send(&dropped, &topic, "dropped", 1).await;
    drop(dropped);
    let last = producer.begin().await.unwrap();
    send(&last, &topic, "last", 1).await;
    last.commit().await.unwrap();
    wait_decided(of, &topic, 0);
    let all = ["first", "first", "aborted", "dropped", "last"];
    is_read(of, &topic, &["first", "first", "last"], &all).await;
    // A transaction that is open when its producer ends is aborted.
    let open = producer.begin().await.unwrap();
    send(&open, &topic, "open", 1).await;
    drop(open);
    producer.close(Duration::from_secs(10)).await.unwrap();
    wait_decided(of, &topic, 0);
    is_read(of, &topic, &["first", "first", "last"], &[&all[..], &["open"]].concat()).await;
}

fn all_codecs(version: Version) {
    let of = shared(version);
    for codec in CODECS {
        program(commits_and_aborts(of, codec));
    }
}

#[test]
fn committed_records_of_any_codec_are_read_on_kafka_4_3() {
    all_codecs(V4_3_0);
}

#[test]
fn committed_records_of_any_codec_are_read_on_kafka_3_9() {
    all_codecs(V3_9_1);
}

#[test]
fn committed_records_of_any_codec_are_read_on_kafka_2_8() {
    all_codecs(V2_8_2);
}

/// The end of a group's progress in partition 0, as Java's admin client lists it.
fn committed(of: &Shared, group: &str) -> Option<i64> {
    of.tool.committed(group).into_values().next()
}

async fn member(of: &Shared, group: &str, protocol: &str, topic: &str) -> Consumer {
    let builder = Consumer::builder(of.kafka.bootstrap())
        .group(group)
        .property("enable.auto.commit", "false")
        .property("auto.offset.reset", "earliest")
        .property("isolation.level", "read_committed")
        .property("max.poll.records", 10)
        .property("group.protocol", protocol);
    let mut consumer = builder.build().await.unwrap();
    consumer.subscribe(topic).await.unwrap();
    consumer
}

/// Offsets are committed together with the records made from the input, or neither is.
async fn offsets_with_transactions(of: &Shared, protocol: &str) {
    let from = block_in_place(|| filled(of, 1, 40, "none"));
    let to = block_in_place(|| of.tool.create_topic(&unique("copied"), PARTITIONS, &[]));
    let group = unique("transacting");
    let mut consumer = member(of, &group, protocol, &from).await;
    let mut producer = producer(of, &unique("sending-offsets"), &[]).await;
    let mut done = None;
    for ends in ["abort", "commit", "drop", "commit"] {
        let records = loop {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        let offsets = consumer.offsets_for_transaction(&records).await.unwrap();
        let transaction = producer.begin().await.unwrap();
        send(&transaction, &to, ends, 1).await;
        transaction.send_offsets(offsets).await.unwrap();
        match ends {
            "commit" => {
                transaction.commit().await.unwrap();
                done = consumer.position((from.as_str(), 0));
            }
            "abort" => transaction.abort().await.unwrap(),
            _ => drop(transaction),
        }
        producer.ready().await.unwrap();
        wait_decided(of, &to, 0);
        wait("the offsets are those of the last commit", || committed(of, &group) == done);
    }
    assert!(done.is_some_and(|done| done > 10), "{done:?}");
    assert_eq!(java_reads(of, &to, "read_committed"), in_each(&["commit", "commit"]));

    // A former member is refused, and nothing of its transaction is visible.
    let former = consumer.group_metadata().await.unwrap();
    consumer.close(Duration::from_secs(10)).await.unwrap();
    let mut heir = member(of, &group, protocol, &from).await;
    while heir.assignment().is_empty() {
        heir.poll(A_MOMENT).await.unwrap();
    }
    let transaction = producer.begin().await.unwrap();
    send(&transaction, &to, "of nobody", 1).await;
    let first = [((from.as_str(), 0).into(), OffsetAndMetadata::new(1))];
    let refused = transaction.send_offsets(GroupOffsets::new(former, first)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TransactionAborted, "{refused}");
    let refused = transaction.commit().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TransactionAborted, "{refused}");
    producer.ready().await.unwrap();
    wait_decided(of, &to, 0);
    assert_eq!(block_in_place(|| committed(of, &group)), done);
    assert_eq!(java_reads(of, &to, "read_committed"), in_each(&["commit", "commit"]));
}

#[test]
fn k7_offsets_of_a_transaction_are_committed_with_it_or_not_at_all_on_kafka_4_3() {
    let of = shared(V4_3_0);
    program(offsets_with_transactions(of, "classic"));
    program(offsets_with_transactions(of, "consumer"));
}

#[test]
fn k7_offsets_of_a_transaction_are_committed_with_it_or_not_at_all_on_kafka_3_9() {
    let of = shared(V3_9_1);
    program(offsets_with_transactions(of, "classic"));
}

#[test]
fn k7_offsets_of_a_transaction_are_committed_with_it_or_not_at_all_on_kafka_2_8() {
    let of = shared(V2_8_2);
    program(offsets_with_transactions(of, "classic"));
}

/// Java's refusal when its producer was fenced.
fn is_fenced(answer: Result<(Vec<Value>, Value), String>) {
    let why = answer.expect_err("it is fenced");
    assert!(why.starts_with("ProducerFenced") || why.starts_with("InvalidProducerEpoch"), "{why}");
}

fn one_of_an_id(version: Version) {
    let of = shared(version);
    program(async {
        let topic = block_in_place(|| of.tool.create_topic(&unique("fenced"), PARTITIONS, &[]));
        let id = unique("contended");
        let mut first = producer(of, &id, &[]).await;
        let of_first = first.begin().await.unwrap();
        send(&of_first, &topic, "of the first", 1).await;
        let mut second = producer(of, &id, &[]).await;
        let fenced = of_first.commit().await.unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        assert_eq!(first.begin().await.unwrap_err().kind(), ErrorKind::Fenced);
        let of_second = second.begin().await.unwrap();
        send(&of_second, &topic, "of the second", 1).await;
        of_second.commit().await.unwrap();

        let of_second = second.begin().await.unwrap();
        send(&of_second, &topic, "of the second, too late", 1).await;
        block_in_place(|| of.tool.begin(&id));
        let fenced = of_second.commit().await.unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        let specs: Vec<_> =
            (0..PARTITIONS).map(|index| RecordSpec::to(&topic).partition(index).value("of Java")).collect();
        block_in_place(|| of.tool.produce_within(&id, &specs));
        block_in_place(|| of.tool.commit(&id));

        block_in_place(|| of.tool.begin(&id));
        let late: Vec<_> = specs.into_iter().map(|spec| spec.value("of Java, too late")).collect();
        block_in_place(|| of.tool.produce_within(&id, &late));
        let mut third = producer(of, &id, &[]).await;
        is_fenced(block_in_place(|| of.tool.call("commit", json!({ "transaction": id }))));
        let of_third = third.begin().await.unwrap();
        send(&of_third, &topic, "of the third", 1).await;
        of_third.commit().await.unwrap();
        wait_decided(of, &topic, 0);
        let seen = ["of the second", "of Java", "of the third"];
        let all = [
            "of the first",
            "of the second",
            "of the second, too late",
            "of Java",
            "of Java, too late",
            "of the third",
        ];
        is_read(of, &topic, &seen, &all).await;
    });
}

#[test]
fn one_transactional_id_has_one_producer_ours_or_javas_on_kafka_4_3() {
    one_of_an_id(V4_3_0);
}

#[test]
fn one_transactional_id_has_one_producer_ours_or_javas_on_kafka_3_9() {
    one_of_an_id(V3_9_1);
}

#[test]
fn one_transactional_id_has_one_producer_ours_or_javas_on_kafka_2_8() {
    one_of_an_id(V2_8_2);
}

/// With an epoch for each transaction (KIP-890) the producer continues; before, it is fenced.
fn expires(version: Version) {
    let of = shared(version);
    program(async {
        let topic = block_in_place(|| of.tool.create_topic(&unique("expired"), PARTITIONS, &[]));
        let id = unique("slow");
        let mut slow = producer(of, &id, &[("transaction.timeout.ms", "3000")]).await;
        let transaction = slow.begin().await.unwrap();
        send(&transaction, &topic, "expired", 1).await;
        wait_decided(of, &topic, 1);
        let error = transaction.commit().await.unwrap_err();
        println!("{version:?}: {error}");
        let mut next = if version == V4_3_0 {
            assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{error}");
            assert!(error.is_retriable());
            slow
        } else {
            assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
            producer(of, &id, &[]).await
        };
        let transaction = next.begin().await.unwrap();
        send(&transaction, &topic, "in time", 1).await;
        transaction.commit().await.unwrap();
        wait_decided(of, &topic, 0);
        is_read(of, &topic, &["in time"], &["expired", "in time"]).await;
    });
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted_and_told_on_kafka_4_3() {
    expires(V4_3_0);
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted_and_told_on_kafka_3_9() {
    expires(V3_9_1);
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted_and_told_on_kafka_2_8() {
    expires(V2_8_2);
}

/// An upgraded cluster whose features were not upgraded yet; then they are, while a producer continues.
#[test]
fn k11_transactions_of_the_first_version_on_kafka_4_3_and_a_change_to_the_second() {
    let kafka = Kafka::builder().start();
    let tool = JavaTool::start(&kafka);
    let of = &Shared { kafka, tool };
    let level = |level: i16| {
        let feature = json!({ "feature": "transaction.version", "level": level });
        block_in_place(|| of.tool.call("set_feature", feature)).unwrap();
    };
    level(0);
    program(commits_and_aborts(of, "lz4"));
    program(offsets_with_transactions(of, "classic"));
    program(offsets_with_transactions(of, "consumer"));
    program(async {
        let topic = block_in_place(|| of.tool.create_topic(&unique("changed"), PARTITIONS, &[]));
        let mut producer = producer(of, &unique("goes-on"), &[]).await;
        for (to, text, commits) in [
            (None, "before", true),
            (Some(2), "as before", true),
            (None, "aborted", false),
            (None, "after that", true),
            (Some(0), "back", true),
            (None, "aborted again", false),
            (None, "at the end", true),
        ] {
            let transaction = producer.begin().await.unwrap();
            send(&transaction, &topic, text, 1).await;
            if let Some(to) = to {
                level(to);
            }
            match commits {
                true => transaction.commit().await.unwrap(),
                false => transaction.abort().await.unwrap(),
            }
        }
        wait_decided(of, &topic, 0);
        let all = ["before", "as before", "aborted", "after that", "back", "aborted again", "at the end"];
        let seen: Vec<_> = all.into_iter().filter(|text| !text.starts_with("aborted")).collect();
        is_read(of, &topic, &seen, &all).await;
    });
}
