//! Dead letters: a record that cannot be handled goes to a topic of its own, with the reasons, and the other records go on.
//!
//! `cargo run -p offtake-worker --example dead_letters localhost:9092`

use std::{error::Error, time::Duration};

use offtake::{AutoOffsetReset, Consumer, OwnedRecord};
use offtake_worker::{Attempt, Breaker, DeadLetters, Event, Failure, Retry, Summary, Worker};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    let consumer = Consumer::builder(servers).group("dead-letters");
    let summary = run(consumer, DeadLetters::to("orders.dlq"), tokio::signal::ctrl_c()).await?;
    println!("{} records handled, {} dead-lettered", summary.handled, summary.dead_lettered);
    Ok(())
}

/// Runs until `shutdown`.
pub async fn run(
    consumer: offtake::Builder,
    dead_letters: DeadLetters,
    shutdown: impl Future,
) -> Result<Summary, offtake_worker::Error> {
    Worker::new(consumer.auto_offset_reset(AutoOffsetReset::Earliest))
        .subscribe("orders")
        .retry(Retry::exponential(Duration::from_millis(100)..Duration::from_secs(10)).jitter().attempts(3))
        .dead_letters(dead_letters)
        // If a service is down, the records are not at fault: without the breaker they would all become dead letters.
        .breaker(Breaker::open_at(0.5).of_last(100).pause(Duration::from_secs(30)))
        .events(|event| match event {
            Event::DeadLettered { partition, offset, reason, .. } => {
                eprintln!("{partition}@{offset}: {reason}")
            }
            Event::Stopped(stopped) => eprintln!("{} stopped: {}", stopped.partition, stopped.why),
            _ => {}
        })
        .run(handle, shutdown)
        .await
}

async fn handle(record: OwnedRecord, _: Attempt) -> Result<(), Failure> {
    let value = record.value().ok_or_else(|| Failure::poison("an order without a value"))?;
    let text = std::str::from_utf8(value).map_err(Failure::poison)?; // it will not be text the next time either
    let amount: u32 = text.parse().map_err(Failure::poison)?;
    store(amount).await?; // this may succeed later: an error is retried
    Ok(())
}

async fn store(amount: u32) -> Result<(), std::io::Error> {
    println!("{amount}");
    Ok(())
}
