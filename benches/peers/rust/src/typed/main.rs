//! The whole path: records are read from a topic and decoded with a registry's schema. By Offtake, and by the decoder
//! of schema_registry_converter on records that Offtake reads; `benches/typed` has the others.
//!
//!     typed fill BOOTSTRAP REGISTRY TOPIC COUNT         writes so many records of ten fields and some 1 KiB
//!     typed CONTENDER BOOTSTRAP REGISTRY TOPIC COUNT    reads as many, and prints one line of JSON

#[path = "../avro/record.rs"]
mod record;

use std::hint::black_box;
use std::time::{Duration, Instant};

use offtake::{Consumer, TopicPartition};
use offtake_producer::{Producer, ProducerRecord};
use offtake_schema::{Registered, SchemaRegistry, SchemaText, SchemaType, Serializer, TypedConsumer};
use schema_registry_converter::async_impl::{avro::AvroDecoder, schema_registry::SrSettings};

use record::{BorrowedMetric, Metric};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const PARTITIONS: i32 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, bootstrap, registry, topic, count] = words.as_slice() else {
        return Err("usage: typed fill|CONTENDER BOOTSTRAP REGISTRY TOPIC COUNT".into());
    };
    let count: u64 = count.parse()?;
    if what == "fill" {
        return fill(bootstrap, registry, topic, count).await;
    }
    let mut consumer = Consumer::builder(bootstrap.as_str()).property("auto.offset.reset", "earliest").build().await?;
    consumer.assign((0..PARTITIONS).map(|partition| TopicPartition::new(topic.as_str(), partition))).await?;
    let mut tally = Tally { wanted: count, records: 0, first: None };
    match what.as_str() {
        "offtake-bytes" => {
            while !tally.is_done() {
                for record in consumer.poll(Duration::from_secs(1)).await?.iter() {
                    black_box(record.value());
                    tally.add();
                }
            }
        }
        "offtake-borrowed" | "offtake-typed" => {
            let mut typed = consumer.typed(Registered::new(SchemaRegistry::new(registry)?));
            let borrows = what == "offtake-borrowed";
            while !tally.is_done() {
                for record in typed.poll(Duration::from_secs(1)).await?.iter() {
                    if borrows {
                        black_box(record.value::<BorrowedMetric<'_>>()?);
                    } else {
                        black_box(record.value::<Metric>()?);
                    }
                    tally.add();
                }
            }
        }
        "converter-value" | "converter-typed" => {
            let decoder = AvroDecoder::new(SrSettings::new(registry.clone()));
            while !tally.is_done() {
                for record in consumer.poll(Duration::from_secs(1)).await?.iter() {
                    let decoded = decoder.decode(record.value()).await?.value;
                    if what == "converter-typed" {
                        black_box(apache_avro::from_value::<Metric>(&decoded)?);
                    } else {
                        black_box(decoded);
                    }
                    tally.add();
                }
            }
        }
        other => return Err(format!("no such contender: {other}").into()),
    }
    tally.end()
}

struct Tally {
    wanted: u64,
    records: u64,
    first: Option<Instant>,
}

impl Tally {
    fn is_done(&self) -> bool {
        self.records >= self.wanted
    }

    fn add(&mut self) {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
        self.records += 1;
    }

    /// Seconds since the first record, and processor time of the whole process.
    fn end(self) -> Result<(), Failure> {
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let processor = ticks as f64 / 100.0;
        println!(r#"{{"records":{},"seconds":{seconds:.3},"cpu_seconds":{processor:.3}}}"#, self.records);
        Ok(())
    }
}

async fn fill(bootstrap: &str, registry: &str, topic: &str, count: u64) -> Result<(), Failure> {
    let text = SchemaText::new(SchemaType::Avro, record::SCHEMA);
    let encoder = Serializer::register(SchemaRegistry::new(registry)?, text).encoder(topic).await?;
    let file = record::file()?;
    // The schema, and the records, each after its length.
    let (mut left, mut records) = (file.as_slice(), Vec::new());
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        records.push(piece);
        left = rest;
    }
    records.remove(0);
    let producer = Producer::builder(bootstrap).property("linger.ms", 5).build().await?;
    for (nth, bytes) in records.iter().cycle().take(usize::try_from(count)?).enumerate() {
        let framed = [&[0][..], &encoder.id().to_be_bytes(), bytes].concat();
        let partition = (nth / 500) as i32 % PARTITIONS;
        drop(producer.send(ProducerRecord::to(topic).partition(partition).value(&framed)));
        if nth % 10_000 == 0 {
            producer.flush().await?;
        }
    }
    producer.flush().await?;
    Ok(producer.close(Duration::from_secs(30)).await?)
}
