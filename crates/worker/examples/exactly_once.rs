//! Exactly once: a handler's results and the offset of its record become visible together or not at all.
//!
//! `cargo run -p offtake-worker --example exactly_once localhost:9092 billing-1`, where each instance has its own id.

use std::error::Error;

use offtake::{AutoOffsetReset, Consumer, OwnedRecord};
use offtake_worker::{Attempt, DeadLetters, Failure, ProducerRecord, Summary, Transactions, Worker};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    let id = std::env::args().nth(2).unwrap_or("billing-1".to_owned());
    let consumer = Consumer::builder(servers).group("billing");
    let summary = run(consumer, Transactions::by(id), tokio::signal::ctrl_c()).await?;
    println!("{} records handled, {} dead-lettered", summary.handled, summary.dead_lettered);
    Ok(())
}

/// Runs until `shutdown`.
pub async fn run(
    consumer: offtake::Builder,
    by: Transactions,
    shutdown: impl Future,
) -> Result<Summary, offtake_worker::Error> {
    Worker::new(consumer.auto_offset_reset(AutoOffsetReset::Earliest))
        .subscribe("orders")
        .transactional(by)
        .dead_letters(DeadLetters::to("orders.dlq")) // in the same transactions
        .run(handle, shutdown)
        .await
}

/// The results count once, however often this is called. Consumers of `invoices` set `isolation.level=read_committed`.
async fn handle(order: OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
    let text = std::str::from_utf8(order.value().unwrap_or_default()).map_err(Failure::poison)?;
    let amount: u32 = text.parse().map_err(Failure::poison)?;
    let invoice = ProducerRecord::to("invoices").maybe_key(order.key());
    attempt.send(invoice.value(&format!("{} cents, {}@{}", amount, order.topic_partition(), order.offset())))
}
