//! Collects records and writes them in batches, as to object storage. Before a partition goes to another
//! member, and before the program ends (Ctrl-C), its collected records are written and committed.
//!
//! `cargo run -p offtake --example flush_on_revoke localhost:9092`

use std::{collections::BTreeMap, time::Duration};

use offtake::{AutoOffsetReset, Consumer, Error, ErrorKind, Next, OwnedRecord, Result, TopicPartition};

#[tokio::main]
async fn main() -> Result<()> {
    let mut consumer = consumer(&std::env::args().nth(1).unwrap_or("localhost:9092".to_owned())).await?;
    let (handle, limit) = (consumer.handle(), Duration::from_secs(10));
    let stop = async {
        tokio::signal::ctrl_c().await.map_err(|error| Error::misuse(error.to_string()))?;
        handle.close(limit).await
    };
    let ended = tokio::try_join!(run(&mut consumer, |of, these| println!("{of}: {}", these.len())), stop);
    consumer.close(limit).await.and(ended).map(drop) // closed already, unless something failed
}

/// A consumer that commits only on request.
pub async fn consumer(servers: &str) -> Result<Consumer> {
    let builder = Consumer::builder(servers).group("archive").auto_offset_reset(AutoOffsetReset::Earliest);
    let mut consumer = builder.enable_auto_commit(false).build().await?;
    consumer.subscribe("orders").await?;
    Ok(consumer)
}

/// Runs until a handle closes the consumer.
pub async fn run(consumer: &mut Consumer, write: impl Fn(&TopicPartition, Vec<OwnedRecord>)) -> Result<()> {
    let handle = consumer.handle();
    let mut collected = BTreeMap::<TopicPartition, Vec<OwnedRecord>>::new();
    let flush = async |partition: &TopicPartition, records: Vec<OwnedRecord>| {
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
                for (partition, full) in collected.iter_mut().filter(|(_, these)| these.len() >= 10_000) {
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
