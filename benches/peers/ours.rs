//! Offtake for the sections in which an application does more than read: the same command line as the rivals, whose
//! `rust/src/common.rs` defines the counts. There is nothing to tune.

use std::time::{Duration, Instant};

use offtake::{Consumer, Record, StartAt, TopicPartition, batches::Decompressor};

use crate::clock::{Micros, micros};

/// Records of the warm-up, whose latency does not count.
const WARM_UP: u64 = 2000;

/// `MODE SETTINGS BOOTSTRAP TOPIC PARTITIONS COUNT`
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let [mode, _settings, bootstrap, topic, partitions, count] = words else {
        return Err("usage: peers offtake MODE tuned|default BOOTSTRAP TOPIC PARTITIONS COUNT".into());
    };
    let number = |text: &str| text.parse::<u32>().map_err(|error| format!("{text}: {error}"));
    let partitions = i32::try_from(number(partitions)?).map_err(|error| error.to_string())?;
    let warm_up = if mode == "latency" { WARM_UP } else { 0 };
    let tally = Tally::begin(mode, u64::from(number(count)?) + warm_up);
    let group = mode.strip_prefix("start-").filter(|protocol| *protocol != "assign");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reading = async {
        let mut builder = Consumer::builder(bootstrap).property("auto.offset.reset", "earliest");
        if let Some(protocol) = group {
            let name = format!("peers-{}-{}", std::process::id(), micros());
            builder = builder.group(&name).property("group.protocol", protocol);
        }
        let mut consumer = builder.build().await?;
        if group.is_some() {
            consumer.subscribe([topic.as_str()]).await?;
        } else {
            let from = if mode == "latency" { StartAt::Latest } else { StartAt::Earliest };
            consumer
                .assign((0..partitions).map(|each| (TopicPartition::new(topic.as_str(), each), from.clone())))
                .await?;
        }
        if mode == "batches" { read_batches(consumer, tally).await } else { read(consumer, tally).await }
    };
    let done = runtime.map_err(|error| error.to_string())?.block_on(reading);
    println!("{}", done.map_err(|error| error.to_string())?.line());
    std::process::exit(0) // closing the client is not measured
}

async fn read(mut consumer: Consumer, mut tally: Tally) -> Result<Tally, offtake::Error> {
    while !tally.is_done() {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        for record in &records {
            tally.add(&record);
        }
    }
    Ok(done(consumer, tally))
}

/// The same with whole batches, decoded on the same thread.
async fn read_batches(mut consumer: Consumer, mut tally: Tally) -> Result<Tally, offtake::Error> {
    let mut decompressor = Decompressor::new();
    while !tally.is_done() {
        for batch in consumer.poll_batches(Duration::from_secs(1)).await? {
            for record in &batch.open(&mut decompressor)? {
                tally.add(&record);
            }
        }
    }
    Ok(done(consumer, tally))
}

fn done(consumer: Consumer, mut tally: Tally) -> Tally {
    tally.took = tally.began.elapsed();
    tally.flowed = tally.flowing.map_or(Duration::ZERO, |flowing| flowing.elapsed());
    std::mem::forget(consumer); // the process ends next
    tally
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Nothing,
    /// Milliseconds of sleep after this many thousand records.
    Sleep(u64),
    Latency,
    First,
}

struct Tally {
    watch: Watch,
    wanted: u64,
    began: Instant,
    took: Duration,
    /// When the first record arrived.
    flowing: Option<Instant>,
    flowed: Duration,
    records: u64,
    bytes: usize,
    headers: usize,
    first: Micros,
    late: Vec<Micros>,
}

impl Tally {
    fn begin(mode: &str, wanted: u64) -> Self {
        let watch = match mode {
            "sleep-1" => Watch::Sleep(1),
            "sleep-5" => Watch::Sleep(5),
            "latency" => Watch::Latency,
            "read" | "batches" => Watch::Nothing,
            _ => Watch::First,
        };
        Self {
            watch,
            wanted,
            began: Instant::now(),
            took: Duration::ZERO,
            flowing: None,
            flowed: Duration::ZERO,
            records: 0,
            bytes: 0,
            headers: 0,
            first: 0,
            late: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.records >= self.wanted || self.first != 0
    }

    fn add(&mut self, record: &Record<'_>) {
        let value = record.value().unwrap_or_default();
        self.records += 1;
        if self.records == 1 {
            self.flowing = Some(Instant::now());
        }
        self.bytes += record.key().map_or(0, <[u8]>::len) + value.len();
        let header = |(key, value): (&[u8], Option<&[u8]>)| key.len() + value.map_or(0, <[u8]>::len);
        self.headers += record.headers().map(|each| header((each.key, each.value))).sum::<usize>();
        match self.watch {
            Watch::Sleep(ms) if self.records.is_multiple_of(1000 * ms) => {
                std::thread::sleep(Duration::from_millis(ms));
            }
            Watch::Latency if self.records > WARM_UP => {
                self.late.extend(produced(value).map(|at| micros() - at));
            }
            Watch::First if self.first == 0 => self.first = micros(),
            _ => {}
        }
    }

    fn line(mut self) -> serde_json::Value {
        self.late.sort_unstable();
        let late = |thousandths: usize| {
            self.late.get(self.late.len().saturating_sub(1) * thousandths / 1000).copied().unwrap_or(-1)
        };
        serde_json::json!({
            "records": self.records, "bytes": self.bytes, "header_bytes": self.headers,
            "seconds": self.took.as_secs_f64(), "flowing": self.flowed.as_secs_f64(), "first_at": self.first,
            "p50": late(500), "p99": late(990), "p999": late(999),
        })
    }
}

/// The third word of a value that the load wrote.
fn produced(value: &[u8]) -> Option<Micros> {
    std::str::from_utf8(value).ok()?.split(' ').nth(2)?.parse().ok()
}
