//! librdkafka, in kcat, reads the records of our producers.

use std::time::{Duration, Instant};

use offtake_producer::{Producer, ProducerRecord, RecordMetadata, Transaction, TransactionalProducer};
use offtake_tests::{Offtake, Shared, V2_8_2, V4_3_0, Version, shared, unique};
use tokio::task::block_in_place;

use crate::library::program;
use crate::specimens::{CODECS, THEN};

const PARTITIONS: i32 = 2;
const RECORDS: i32 = 60;
const PATIENCE: Duration = Duration::from_secs(30);

/// Key, header and value of the nth record of a round. Values compress well, and some are null.
fn parts(round: &str, n: i32) -> (String, String, Option<String>) {
    let value = (n % 7 != 0).then(|| format!("{round}-{n}-{}", "x".repeat(200)));
    (format!("key-{n}"), format!("{round}-{n}"), value)
}

/// Sends a round of records with this function, and returns them as kcat prints them.
async fn send<D>(topic: &str, round: &str, mut by: impl FnMut(ProducerRecord<'_>) -> D) -> Vec<String>
where
    D: Future<Output = Result<RecordMetadata, offtake_producer::Error>>,
{
    let mut deliveries = Vec::new();
    for n in 0..RECORDS {
        let (key, header, value) = parts(round, n);
        let record = ProducerRecord::to(topic).partition(n % PARTITIONS).timestamp(THEN + i64::from(n));
        let record = record.key(&key).header("round", &header);
        deliveries.push(by(record.maybe_value(value.as_ref().map(|value| value.as_bytes()))));
    }
    let mut lines = Vec::new();
    for (n, delivery) in (0..).zip(deliveries) {
        let RecordMetadata { partition, offset, timestamp, .. } = delivery.await.unwrap();
        let (key, header, value) = parts(round, n);
        let (index, offset) = (partition.partition, offset.unwrap());
        let value = value.as_deref().unwrap_or("NULL");
        lines.push(format!("{index} {offset} {timestamp} {key} round={header} {value}"));
    }
    lines
}

async fn send_in(transaction: &Transaction<'_>, topic: &str, round: &str) -> Vec<String> {
    send(topic, round, |record| transaction.send(record)).await
}

/// All records of a topic as kcat reads them, sorted.
fn read(of: &Shared, topic: &str) -> Vec<String> {
    let finished = Offtake::new(["-C", "-e", "-q", "-Z", "-b", &of.kafka.bootstrap(), "-t", topic])
        .args(["-o", "beginning", "-f", "%p %o %T %k %h %s\\n"])
        .args(["-X", "isolation.level=read_committed", "-X", "check.crcs=true"])
        .instead("kcat")
        .run();
    assert_eq!(finished.code, Some(0), "{:?}", finished.stderr);
    sorted(finished.stdout)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// A coordinator answers before the markers of a transaction are written: waits until these records are read, and no more.
fn is_read(of: &Shared, topic: &str, expected: Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    let expected = sorted(expected);
    loop {
        let read = read(of, topic);
        if read == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{topic}: kcat reads {read:#?}, not {expected:#?}");
    }
}

fn kcat_reads_what_ours_wrote(version: Version) {
    let of = shared(version);
    let new = |name: &str| of.tool.create_topic(&unique(name), PARTITIONS, &[]);
    for codec in CODECS {
        let (ordinary, transactional) = (new("ordinary"), new("transactional"));
        program(async {
            let builder = Producer::builder(of.kafka.bootstrap()).property("compression.type", codec);
            let producer = builder.build().await.unwrap();
            let written = send(&ordinary, "once", |record| producer.send(record)).await;
            producer.close(PATIENCE).await.unwrap();
            block_in_place(|| is_read(of, &ordinary, written));

            let builder = TransactionalProducer::builder(of.kafka.bootstrap(), unique("kcat"));
            let builder = builder.property("compression.type", codec);
            let mut producer = builder.build_transactional().await.unwrap();
            let mut committed = Vec::new();
            for round in ["first", "aborted", "second", "dropped", "third"] {
                let transaction = producer.begin().await.unwrap();
                let written = send_in(&transaction, &transactional, round).await;
                match round {
                    "aborted" => transaction.abort().await.unwrap(),
                    "dropped" => drop(transaction),
                    _ => {
                        transaction.commit().await.unwrap();
                        committed.extend(written);
                    }
                }
            }
            // Records of an open transaction are not read.
            let open = producer.begin().await.unwrap();
            let written = send_in(&open, &transactional, "open").await;
            block_in_place(|| is_read(of, &transactional, committed.clone()));
            open.commit().await.unwrap();
            producer.close(PATIENCE).await.unwrap();
            committed.extend(written);
            block_in_place(|| is_read(of, &transactional, committed));
        });
    }
}

#[test]
fn kcat_reads_what_ours_wrote_to_kafka_4_3() {
    kcat_reads_what_ours_wrote(V4_3_0);
}

#[test]
fn kcat_reads_what_ours_wrote_to_kafka_2_8() {
    kcat_reads_what_ours_wrote(V2_8_2);
}
