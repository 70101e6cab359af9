//! At least once: a record is finished when its handler returns `Ok`, and is redelivered if the process dies before.
//!
//! `cargo run -p offtake-worker --example at_least_once localhost:9092`

use std::{error::Error, time::Duration};

use offtake::{AutoOffsetReset, Consumer, OwnedRecord};
use offtake_worker::{Attempt, Failure, Order, Retry, Summary, Worker};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    let consumer = Consumer::builder(servers).group("at-least-once");
    let summary = run(consumer, tokio::signal::ctrl_c()).await?;
    println!("{} records handled, {} attempts repeated", summary.handled, summary.retried);
    Ok(())
}

/// Runs until `shutdown`.
pub async fn run(
    consumer: offtake::Builder,
    shutdown: impl Future,
) -> Result<Summary, offtake_worker::Error> {
    Worker::new(consumer.auto_offset_reset(AutoOffsetReset::Earliest))
        .subscribe("orders")
        .order(Order::Key)
        .concurrency(64)
        .retry(Retry::exponential(Duration::from_millis(100)..Duration::from_secs(10)).jitter().unlimited())
        .run(handle, shutdown)
        .await
}

/// Safe to call twice for a record: the second call changes nothing.
async fn handle(record: OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
    let order = std::str::from_utf8(record.value().map(AsRef::as_ref).unwrap_or_default())?;
    charge(record.topic_partition().to_string(), record.offset(), order).await?;
    if let Some(first) = attempt.first_failure() {
        println!("done at last, by attempt {}; at first: {}", attempt.number(), first.reason);
    }
    Ok(())
}

/// Calls a service that uses the partition and offset to recognize a repeated charge.
async fn charge(partition: String, offset: i64, order: &str) -> Result<(), std::io::Error> {
    println!("{partition}@{offset}: {order}");
    Ok(())
}
