//! krafka. Tuned: `max_poll_records` and `max_buffered_records` so large that no part of a Fetch answer is thrown away
//! (the advice on read-ahead in its page on performance).

mod common;

use std::time::Duration;

use common::{Failure, Job, Mode, Tally};
use krafka::Kafka;
use krafka::consumer::{AutoOffsetReset, GroupProtocol};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let job = Job::from_args()?;
    let mut tally = Tally::begin(&job);
    let kafka = Kafka::builder(job.bootstrap.as_str()).connect().await?;
    let protocol = match job.mode {
        Mode::StartClassic => Some(GroupProtocol::Classic),
        Mode::StartConsumer => Some(GroupProtocol::Consumer),
        _ => None,
    };
    let reset = if job.at_the_end() { AutoOffsetReset::Latest } else { AutoOffsetReset::Earliest };
    let mut builder = match protocol {
        Some(protocol) => kafka.consumer(job.group()).group_protocol(protocol),
        None => kafka.consumer_without_group(),
    };
    builder = builder.auto_offset_reset(reset);
    if job.tuned {
        builder = builder.max_poll_records(50_000).max_buffered_records(50_000);
    }
    let consumer = builder.build().await?;
    if protocol.is_some() {
        consumer.subscribe([job.topic.as_str()]).await?;
    } else {
        consumer.assign(&job.topic, (0..job.partitions).collect()).await?;
    }
    while !tally.is_done() {
        for record in consumer.poll(Duration::from_secs(1)).await? {
            let headers =
                record.headers.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len()));
            let key = record.key.as_ref().map_or(0, |key| key.len());
            tally.add(key, headers.sum(), record.value.as_deref().unwrap_or_default());
        }
    }
    tally.end()
}
