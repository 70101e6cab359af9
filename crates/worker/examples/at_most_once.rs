//! At most once: the offset of a record is committed before the record is handled. A record that fails, or whose process dies, is
//! not handled again.
//!
//! This takes no worker, which commits only finished records. A loop of three lines is enough.
//!
//! `cargo run -p offtake-worker --example at_most_once localhost:9092`

use std::{error::Error, time::Duration};

use offtake::{AutoOffsetReset, Consumer, Record};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    let print = |record: &Record<'_>| println!("{}@{}", record.topic_partition(), record.offset());
    run(Consumer::builder(servers).group("at-most-once"), print, tokio::signal::ctrl_c()).await
}

/// Runs until `shutdown`.
pub async fn run(
    consumer: offtake::Builder,
    mut handle: impl FnMut(&Record<'_>),
    shutdown: impl Future,
) -> Result<(), Box<dyn Error>> {
    let builder = consumer.auto_offset_reset(AutoOffsetReset::Earliest).enable_auto_commit(false);
    let mut consumer = builder.build().await?;
    consumer.subscribe("orders").await?;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let records = tokio::select! {
            records = consumer.poll(Duration::from_secs(1)) => records?,
            _ = &mut shutdown => break,
        };
        // If the commit fails, the records are not handled here: another member has them.
        if consumer.commit(&records).await.is_ok() {
            records.iter().for_each(|record| handle(&record));
        }
    }
    Ok(consumer.close(Duration::from_secs(10)).await?)
}
