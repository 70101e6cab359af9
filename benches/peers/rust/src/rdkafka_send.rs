//! librdkafka's producer through the `rdkafka` crate: `PROGRAM SETTINGS BOOTSTRAP TOPIC SIZE CODEC COUNT`, as
//! benches/README.md describes them. A record that finds the queue full waits for delivery reports; each is counted.

mod common;
mod values;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use common::{Failure, processor_time, peak_kb};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use values::Values;

/// Records between two checks for delivery reports.
const LOOK_EVERY: u64 = 1000;

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Counts {}

impl ProducerContext for Counts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.written } else { &self.failed };
        count.fetch_add(1, Relaxed);
    }
}

#[allow(clippy::disallowed_methods, reason = "a stopwatch reads the clock")]
fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, open, bootstrap, topic, seconds] = words.as_slice()
        && mode == "transact"
    {
        return transact(open.parse()?, bootstrap, topic, seconds.parse()?);
    }
    let [settings, bootstrap, topic, size, codec, count] = words.as_slice() else {
        return Err("usage: PROGRAM equal|default BOOTSTRAP TOPIC SIZE CODEC COUNT".into());
    };
    let (size, count): (usize, u64) = (size.parse()?, count.parse()?);
    let values = Values::of_size(size);
    let (began, used) = (std::time::Instant::now(), processor_time());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("compression.type", codec);
    config.set("acks", "all").set("enable.idempotence", "true");
    if settings == "equal" {
        config.set("linger.ms", "5").set("batch.size", "65536");
    }
    let producer: BaseProducer<Counts> = config.create_with_context(Counts::default())?;
    for nth in 0..count {
        let mut record = BaseRecord::<(), [u8], ()>::to(topic).payload(values.get(nth));
        while let Err((error, back)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(100));
            record = back;
        }
        if nth % LOOK_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120))?;
    let seconds = began.elapsed().as_secs_f64();
    let (user, sys) = processor_time();
    let counts = producer.context();
    let (written, failed) = (counts.written.load(Relaxed), counts.failed.load(Relaxed));
    if (written, failed) != (count, 0) {
        return Err(format!("{written} of {count} records were written, {failed} were not").into());
    }
    println!(
        "{{\"records\":{written},\"bytes\":{},\"seconds\":{seconds:.6},\"user\":{:.6},\"sys\":{:.6},\"max_rss_kb\":{}}}",
        written * size as u64,
        user - used.0,
        sys - used.1,
        peak_kb(),
    );
    std::process::exit(0)
}

/// `transact MS BOOTSTRAP TOPIC SECONDS`: transactions of 100 records, each open for at least MS milliseconds.
#[allow(clippy::disallowed_methods, reason = "a stopwatch reads the clock")]
fn transact(open: u64, bootstrap: &str, topic: &str, seconds: u64) -> Result<(), Failure> {
    const RECORDS: u64 = 100;
    let (open, patience) = (Duration::from_millis(open), Duration::from_secs(60));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", topic);
    let producer: BaseProducer<Counts> = config.create_with_context(Counts::default())?;
    producer.init_transactions(patience)?;
    let value = [b'x'; 100];
    let (began, used) = (std::time::Instant::now(), processor_time());
    let mut transactions = 0_u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        let since = std::time::Instant::now();
        producer.begin_transaction()?;
        for _ in 0..RECORDS {
            producer.send(BaseRecord::<(), [u8], ()>::to(topic).payload(&value)).map_err(|(error, _)| error)?;
        }
        std::thread::sleep(open.saturating_sub(since.elapsed()));
        producer.commit_transaction(patience)?;
        transactions += 1;
    }
    let took = began.elapsed().as_secs_f64();
    let (user, sys) = processor_time();
    println!(
        "{{\"records\":{},\"transactions\":{transactions},\"seconds\":{took:.6},\"user\":{:.6},\"sys\":{:.6}}}",
        transactions * RECORDS,
        user - used.0,
        sys - used.1,
    );
    std::process::exit(0)
}
