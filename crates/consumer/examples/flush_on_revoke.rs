//! Records are collected and written in batches, as to object storage. What is collected of a partition is written, and
//! committed, before the partition goes to another member.
//!
//! `cargo run -p offtake --example flush_on_revoke localhost:9092`

use std::collections::BTreeMap;

use offtake::{Consumer, Error, ErrorKind, Next, OwnedRecord, TopicPartition};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let servers = std::env::args().nth(1).unwrap_or("localhost:9092".to_owned());
    run(consumer(&servers).await?, |partition, records| println!("{partition}: {} written", records.len()))
        .await
}

/// One that commits only what it is told to.
pub async fn consumer(servers: &str) -> Result<Consumer, Error> {
    let builder = Consumer::builder(servers).group("archive").property("auto.offset.reset", "earliest");
    let mut consumer = builder.property("enable.auto.commit", "false").build().await?;
    consumer.subscribe("orders").await?;
    Ok(consumer)
}

/// Until a handle closes the consumer.
pub async fn run(
    mut consumer: Consumer,
    mut write: impl FnMut(&TopicPartition, Vec<OwnedRecord>),
) -> Result<(), Error> {
    const ENOUGH: usize = 10_000;
    let handle = consumer.handle();
    let mut collected = BTreeMap::<TopicPartition, Vec<OwnedRecord>>::new();
    let mut flush = async |partition: &TopicPartition, records: Vec<OwnedRecord>| {
        let Some(last) = records.last().map(OwnedRecord::offset) else { return Ok(()) };
        write(partition, records);
        handle.commit_offsets([(partition, last + 1)]).await
    };
    loop {
        match consumer.next().await {
            Ok(Next::Records(records)) => {
                for record in records {
                    collected.entry(record.topic_partition().clone()).or_default().push(record);
                }
                for (partition, full) in collected.iter_mut().filter(|(_, these)| these.len() >= ENOUGH) {
                    flush(partition, std::mem::take(full)).await?;
                }
            }
            Ok(Next::Revoking(revoking)) => {
                for partition in &revoking.partitions {
                    flush(partition, collected.remove(partition).unwrap_or_default()).await?;
                }
            } // dropping `revoking` hands them over
            Ok(Next::Lost(lost)) => lost.partitions.iter().for_each(|gone| drop(collected.remove(gone))),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
