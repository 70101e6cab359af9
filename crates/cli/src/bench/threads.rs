//! The same measurement on several threads: each gets whole batches, those of a partition always on the same one.

use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle, time::Instant};

use offtake::{Consumer, RecordBatch, TopicPartition, batches::Decompressor};
use tokio::sync::mpsc;

use super::{Measured, POLL, is_at_end, tally::Tally};
use crate::{args::BenchConsume, clock::now, failure::Failure, stop::Stop};

/// The number of batches that may wait for one thread: enough to keep it busy, and no more than it soon handles.
const WAITING: usize = 64;

/// Reads up to the ends.
pub(super) async fn read(
    consumer: &mut Consumer,
    args: &BenchConsume,
    ends: &BTreeMap<TopicPartition, i64>,
    stop: &mut Stop,
) -> Result<Measured, Failure> {
    let work = Arc::new(Work {
        ends: ends.clone(),
        headers: args.headers,
        unpacked_most: consumer.config().decompressed_batch_max_bytes,
    });
    let threads: Vec<_> = (0..args.threads).map(|_| Thread::start(&work)).collect::<Result<_, _>>()?;
    let fed = feed(consumer, &threads, ends, stop).await;
    let mut tally = Tally::default();
    for thread in threads {
        tally.add_up(&thread.end()?);
    }
    let span = fed?.map(|began| (began, now()));
    Ok(Measured { tally, span })
}

/// Feeds the threads; returns when the first batch arrived.
async fn feed(
    consumer: &mut Consumer,
    threads: &[Thread],
    ends: &BTreeMap<TopicPartition, i64>,
    stop: &mut Stop,
) -> Result<Option<Instant>, Failure> {
    let mut began = None;
    while !is_at_end(consumer, ends) {
        let Some(polled) = stop.or(consumer.poll_batches(POLL)).await else { break };
        let batches = match polled {
            Ok(batches) => batches,
            Err(error) if error.is_retriable() => {
                tracing::warn!("{error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for batch in batches {
            began.get_or_insert_with(now);
            let partition = usize::try_from(batch.partition()).unwrap_or(0);
            let thread = partition.checked_rem(threads.len()).and_then(|index| threads.get(index));
            let Some(thread) = thread else { continue };
            if thread.batches.send(batch).await.is_err() {
                return Ok(began); // the thread has failed; joining it returns the error
            }
        }
    }
    Ok(began)
}

struct Work {
    ends: BTreeMap<TopicPartition, i64>,
    headers: bool,
    unpacked_most: usize,
}

struct Thread {
    batches: mpsc::Sender<RecordBatch>,
    handle: JoinHandle<Result<Tally, offtake::Error>>,
}

impl Thread {
    fn start(work: &Arc<Work>) -> std::io::Result<Self> {
        let (batches, mut waiting) = mpsc::channel(WAITING);
        let work = work.clone();
        let handle = std::thread::Builder::new().name("offtake-read".into()).spawn(move || {
            let mut tally = Tally::default();
            let mut decompressor = Decompressor::with_limit(work.unpacked_most);
            while let Some(batch) = waiting.blocking_recv() {
                work.read(&batch, &mut decompressor, &mut tally)?;
            }
            Ok(tally)
        })?;
        Ok(Self { batches, handle })
    }

    fn end(self) -> Result<Tally, Failure> {
        drop(self.batches);
        match self.handle.join() {
            Ok(tally) => Ok(tally?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Work {
    fn read(
        &self,
        batch: &RecordBatch,
        decompressor: &mut Decompressor,
        tally: &mut Tally,
    ) -> Result<(), offtake::Error> {
        let end = self.ends.get(batch.topic_partition()).copied().unwrap_or(0);
        let records = batch.open(decompressor)?;
        tally.add_part(&records, end, u64::MAX, self.headers);
        Ok(())
    }
}
