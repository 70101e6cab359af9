//! rskafka. A task for each partition fetches its records and hands them over one answer ahead. Tuned: 4 MiB per answer
//! (more makes it slower); else 50 MiB, the default of its `StreamConsumer`. It does not support groups.

mod common;

use common::{Failure, Job, Mode, Tally};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use tokio::sync::mpsc::channel;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let job = Job::from_args()?;
    if matches!(job.mode, Mode::StartClassic | Mode::StartConsumer) {
        return Err("rskafka knows no groups".into());
    }
    let mut tally = Tally::begin(&job);
    let client = ClientBuilder::new(vec![job.bootstrap.clone()]).build().await?;
    let most = if job.tuned { 4 << 20 } else { 50 << 20 };
    let from = if job.at_the_end() { OffsetAt::Latest } else { OffsetAt::Earliest };
    let (sender, mut answers) = channel(usize::try_from(job.partitions)?);
    for partition in 0..job.partitions {
        let from_partition =
            client.partition_client(job.topic.as_str(), partition, UnknownTopicHandling::Retry).await?;
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut offset = from_partition.get_offset(from).await?;
            loop {
                let (records, _) = from_partition.fetch_records(offset, 1..most, 500).await?;
                let Some(last) = records.last() else { continue };
                offset = last.offset + 1;
                if sender.send(records).await.is_err() {
                    return Ok::<(), rskafka::client::error::Error>(());
                }
            }
        });
    }
    drop(sender);
    while !tally.is_done() {
        for record in answers.recv().await.ok_or("every partition has failed")? {
            let record = record.record;
            let headers = record.headers.iter().map(|(key, value)| key.len() + value.len());
            let key = record.key.as_ref().map_or(0, Vec::len);
            tally.add(key, headers.sum(), record.value.as_deref().unwrap_or_default());
        }
    }
    tally.end()
}
