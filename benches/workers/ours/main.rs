//! Offtake for benches/workers.sh: a job done by the worker, or by a loop of `poll`; and the topics that all jobs read.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench reads clocks, and says what went wrong"
)]

mod fill;
mod tally;

use std::time::Duration;

use offtake::{AutoOffsetReset, Builder, Consumer};
use offtake_worker::{Attempt, Order, Worker};
use tokio::task::JoinSet;

use self::tally::{Tally, handled};

const USAGE: &str = "workers-ours worker|poll BOOTSTRAP TOPIC GROUP COUNT MILLISECONDS CONCURRENCY LEDGER|-
workers-ours fill BOOTSTRAP TOPIC KEYS COUNT";

/// The work on each record.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    /// Milliseconds for each record.
    work: u64,
    concurrency: usize,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words.as_slice() {
        ["fill", bootstrap, topic, keys, count] => {
            runtime.block_on(fill::fill(bootstrap, topic, keys.parse()?, count.parse()?))?;
            Ok(())
        }
        [system, bootstrap, topic, group, count, work, concurrency, ledger] => {
            let tally = tally::begin(count.parse()?, Some(*ledger).filter(|ledger| *ledger != "-"))?;
            let job = Job { work: work.parse()?, concurrency: concurrency.parse()? };
            let consumer = Consumer::builder(*bootstrap)
                .group(*group)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .property("session.timeout.ms", 6000)
                .property("heartbeat.interval.ms", 500);
            match *system {
                "worker" => runtime.block_on(worker(consumer, topic, job, tally)),
                "poll" => runtime.block_on(poll(consumer, topic, job, tally)),
                other => Err(format!("{other} is not known\n{USAGE}").into()),
            }
        }
        _ => Err(USAGE.into()),
    }
}

/// The worker, with its defaults except for the concurrency.
async fn worker(consumer: Builder, topic: &str, job: Job, tally: &'static Tally) -> Outcome {
    let worker = Worker::new(consumer).subscribe(topic).order(Order::Key).concurrency(job.concurrency);
    let handle = move |record: offtake::OwnedRecord, _: Attempt| async move {
        handled(&record, job, tally).await;
        Ok(())
    };
    let summary = worker.run(handle, tally.all_done()).await?;
    tally.print();
    if summary.is_clean() { Ok(()) } else { Err(format!("{summary:?}").into()) }
}

/// A loop of `poll` that commits by itself: in place if handlers do not wait, else in tasks, all of which are awaited
/// before the next poll.
async fn poll(consumer: Builder, topic: &str, job: Job, tally: &'static Tally) -> Outcome {
    let mut consumer = consumer.build().await?;
    consumer.subscribe(topic).await?;
    let mut tasks = JoinSet::new();
    while !tally.is_done() {
        let records = consumer.poll(Duration::from_millis(100)).await?;
        for record in &records {
            if job.work == 0 {
                tally.begin_one();
                tally.done_one(record.partition(), record.offset(), record.value());
                continue;
            }
            if tasks.len() >= job.concurrency {
                tasks.join_next().await;
            }
            let record = record.detach();
            tasks.spawn(async move { handled(&record, job, tally).await });
        }
        while tasks.join_next().await.is_some() {}
    }
    tally.print();
    consumer.close(Duration::from_secs(5)).await?;
    Ok(())
}
