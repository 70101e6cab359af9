//! Four threads decompress and handle the records of one consumer. All records of a partition go to the same
//! thread, so they are handled in order. What is finished is committed periodically, up to the first
//! unfinished batch.
//!
//! `cargo run -p offtake --example many_threads localhost:9092`

#![allow(clippy::disallowed_methods)] // a rule of this workspace

use std::{error::Error, sync::mpsc, thread, time::Duration};

use offtake::{AutoOffsetReset, Consumer, ErrorKind, Record, RecordBatch, batches::Decompressor};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    run(consumer(&servers).await?, |record| println!("{}@{}", record.partition(), record.offset())).await
}

/// A consumer whose batches are finished one by one.
pub async fn consumer(servers: &str) -> Result<Consumer, offtake::Error> {
    let builder = Consumer::builder(servers).group("threads").auto_offset_reset(AutoOffsetReset::Earliest);
    let mut consumer = builder.finish_each().build().await?;
    consumer.subscribe("orders").await?;
    Ok(consumer)
}

/// Runs until a handle closes the consumer.
pub async fn run(mut consumer: Consumer, handle: fn(Record<'_>)) -> Result<(), Box<dyn Error>> {
    let spawn = |_| {
        let (batches, waiting) = mpsc::sync_channel::<RecordBatch>(16);
        let work = move || {
            let mut decompressor = Decompressor::new();
            for batch in waiting {
                batch.open(&mut decompressor)?.iter().for_each(handle);
                let _ = batch.finish(); // fails if the partition was reassigned: its new owner gets the batch
            }
            Ok::<_, offtake::Error>(())
        };
        (batches, thread::spawn(work))
    };
    let (queues, threads): (Vec<_>, Vec<_>) = (0..4).map(spawn).unzip();

    let ended = loop {
        let batches = match consumer.poll_batches(Duration::from_secs(1)).await {
            Ok(batches) => batches,
            Err(error) if error.kind() == ErrorKind::Closed => break Ok(()),
            Err(error) => break Err(error),
        };
        for batch in batches {
            // The queue holds 16 batches, so this rarely blocks; heartbeats continue meanwhile.
            queues[batch.partition() as usize % queues.len()].send(batch)?;
        }
    };
    drop(queues);
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(ended?)
}
