//! barnabas on tokio. It has nothing to tune: prefetch and fetch sessions are on by default, fetch sizes are fixed.

mod common;

use barnabas_tokio::{Consumer, EARLIEST, IsolationLevel, LATEST, Tokio};
use common::{Failure, Job, Mode, Tally};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let job = Job::from_args()?;
    let mut tally = Tally::begin(&job);
    let bootstrap = [job.bootstrap.clone()];
    let mut consumer = Consumer::new(Tokio, &bootstrap, "peers", IsolationLevel::ReadUncommitted).await?;
    match job.mode {
        Mode::StartConsumer => return Err("barnabas knows the classic protocol alone".into()),
        Mode::StartClassic => {
            let assignor = Box::new(barnabas_core::group::RangeAssignor);
            consumer.subscribe(&job.group(), vec![job.topic.clone()], assignor, EARLIEST).await?;
        }
        _ => {
            let from = if job.at_the_end() { LATEST } else { EARLIEST };
            for partition in 0..job.partitions {
                consumer.assign(&job.topic, partition, from).await?;
            }
        }
    }
    while !tally.is_done() {
        for batch in consumer.poll().await? {
            for record in batch.iter() {
                let headers = record.headers()?;
                let headers =
                    headers.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len()));
                let key = record.key().map_or(0, |key| key.len());
                tally.add(key, headers.sum(), record.value().as_deref().unwrap_or_default());
            }
        }
    }
    tally.end()
}
