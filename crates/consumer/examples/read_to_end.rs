//! Reads a whole topic, up to its end at the start of the program, without a group.
//!
//! `cargo run -p offtake --example read_to_end localhost:9092 orders`

use std::time::Duration;

use offtake::{Consumer, Error, Record, StartAt, TopicPartition};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let servers = args.next().unwrap_or("localhost:9092".to_owned());
    let topic = args.next().unwrap_or("orders".to_owned());
    run(&servers, &topic, |record| {
        println!("{}", String::from_utf8_lossy(record.value().unwrap_or_default()))
    })
    .await
}

/// Passes each record that exists at the start to `each`.
pub async fn run(servers: &str, topic: &str, mut each: impl FnMut(Record<'_>)) -> Result<(), Error> {
    let mut consumer = Consumer::builder(servers).build().await?;
    let partitions = consumer.partitions_for(topic).await?;
    let partitions: Vec<_> = partitions.into_keys().map(|index| TopicPartition::new(topic, index)).collect();
    let ends = consumer.end_offsets(&partitions).await?;
    consumer.assign(partitions.iter().map(|partition| (partition, StartAt::Earliest))).await?;

    // The position also moves past control records and compacted offsets, so it reaches the end even if no
    // record has the last offset.
    while ends.iter().any(|(partition, end)| consumer.position(partition).is_none_or(|at| at < *end)) {
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            each(record);
        }
    }
    consumer.close(Duration::from_secs(10)).await
}
