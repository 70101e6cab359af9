//! A service: it reads until it receives SIGTERM, then commits, leaves its group and ends.
//!
//! `cargo run -p offtake --example service localhost:9092`

use std::{error::Error, time::Duration};

use offtake::{AutoOffsetReset, Consumer, Record};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    run(&servers, |record| println!("{}-{}@{}", record.topic(), record.partition(), record.offset())).await
}

/// Runs until SIGTERM.
pub async fn run(servers: &str, mut handle: impl FnMut(&Record<'_>)) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let builder = Consumer::builder(servers).group("service").auto_offset_reset(AutoOffsetReset::Earliest);
    let mut consumer = builder.build().await?;
    consumer.subscribe("orders").await?;

    let ended = loop {
        // `select!` may drop a `poll` that waits: nothing is lost.
        let polled = tokio::select! {
            polled = consumer.poll(Duration::from_secs(1)) => polled,
            _ = terminate.recv() => break Ok(()),
        };
        let records = match polled {
            Ok(records) => records,
            Err(error) if error.is_retriable() => {
                eprintln!("{error}");
                continue;
            }
            Err(error) => break Err(error),
        };
        records.iter().for_each(|record| handle(&record));
        if let Err(error) = consumer.commit(&records).await {
            eprintln!("{error}"); // these records are delivered again, here or to another member
        }
    };
    // Close after an error too, so that the other members need not wait until the session expires.
    consumer.close(Duration::from_secs(10)).await?;
    Ok(ended?)
}
