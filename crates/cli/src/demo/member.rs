//! One member of the group: a worker that charges for orders, retries failed ones, and dead-letters hopeless ones.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use offtake::{Builder, Consumer, OwnedRecord, OwnershipChange};
use offtake_worker::{Attempt, DeadLetters, Event, Failure as Refusal, Retry, Worker};
use tokio::sync::{mpsc, watch};

use super::{
    DEAD_LETTERS, GROUP, ORDERS,
    orders::{self, OrderError, RETRIES},
    source::Source,
};
use crate::{clock::now, failure::Failure, pipe};

/// The number of orders that a member handles at once.
const CONCURRENCY: usize = 16;
/// The time that one order takes a member: it handles at most a thousand a second.
const COST: Duration = Duration::from_millis(1);
/// Shorter waits are accumulated.
const SLACK: Duration = Duration::from_millis(4);
/// The most time that is made up for after a wait that took too long.
const CATCH_UP: Duration = Duration::from_millis(25);
const CLOSING: Duration = Duration::from_secs(5);

/// A report of a member.
#[derive(Debug)]
pub(super) enum Note {
    Assigned {
        member: usize,
        partitions: Vec<i32>,
        generation: Option<i32>,
    },
    Revoked {
        member: usize,
        partitions: Vec<i32>,
    },
    Lost {
        member: usize,
        partitions: Vec<i32>,
    },
    /// An order was charged for.
    Processed {
        member: usize,
        partition: i32,
        offset: i64,
        digest: u64,
    },
    /// An attempt failed, and another will follow.
    Retried,
    /// An order was written to the dead letters, and that was acknowledged.
    GivenUp {
        member: usize,
        partition: i32,
        offset: i64,
        reason: String,
    },
    Problem {
        member: usize,
        message: String,
    },
}

pub(super) struct Member {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) source: Source,
    /// Unbounded, as the worker must not wait for the receiver; the loop takes all reports with each tick.
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Member {
    /// Runs until it is asked to stop; then it commits and leaves.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let retry = Retry::exponential(Duration::from_millis(10)..Duration::from_millis(640));
        let worker = Worker::new(self.consumer())
            .subscribe(ORDERS)
            .concurrency(CONCURRENCY)
            .retry(retry.attempts(RETRIES + 1))
            .dead_letters(DeadLetters::to(DEAD_LETTERS).property("max.block.ms", 5000))
            .commit_interval(Duration::from_millis(200))
            .grace(CLOSING)
            .close_timeout(CLOSING);
        let Self { index, notes, mut stop, .. } = self;
        let (handle, told) = (worker.handle(), notes.clone());
        let worker = worker.events(move |event| {
            if matches!(event, Event::Stopped(_)) {
                handle.stop(); // the demo has failed
            }
            if let Some(note) = note(index, event) {
                let _ = told.send(note);
            }
        });
        let pace = Arc::new(Pace(Mutex::new(now())));
        let handler = move |record: OwnedRecord, attempt: Attempt| {
            let (notes, pace) = (notes.clone(), Arc::clone(&pace));
            async move {
                pace.spend(COST).await;
                let (key, value) = (record.key().unwrap_or_default(), record.value().unwrap_or_default());
                orders::charge(value, attempt.number() - 1).map_err(|trouble| match trouble {
                    OrderError::Passing(why) => Refusal::retry(why),
                    OrderError::Poison(why) => Refusal::poison(why),
                })?;
                let (partition, offset) = (record.partition(), record.offset());
                let digest = orders::digest(key, value);
                // The receiver is gone only when the demo has failed already.
                let _ = notes.send(Note::Processed { member: index, partition, offset, digest });
                Ok(())
            }
        };
        let asked = async move { drop(stop.wait_for(|stop| *stop).await) };
        pipe::check_summary(worker.run(handler, asked).await)
    }

    fn consumer(&self) -> Builder {
        Consumer::builder(self.source.bootstrap())
            .group(GROUP)
            .property("client.id", &self.name)
            .property("partition.assignment.strategy", "cooperative-sticky")
            .property("heartbeat.interval.ms", "150")
            .property("session.timeout.ms", "6000")
            .property("auto.offset.reset", "earliest")
            .property("fetch.max.wait.ms", "100")
            .property("max.poll.records", "80")
            .property("retry.backoff.ms", "20")
            .property("default.api.timeout.ms", "10000")
    }
}

fn note(member: usize, event: Event) -> Option<Note> {
    let numbers = |change: &OwnershipChange| change.partitions.iter().map(|of| of.partition).collect();
    Some(match event {
        Event::Assigned(change) => {
            Note::Assigned { member, partitions: numbers(&change), generation: change.generation }
        }
        Event::Revoked(change) => Note::Revoked { member, partitions: numbers(&change) },
        Event::Lost(change) => Note::Lost { member, partitions: numbers(&change) },
        Event::Retried { .. } => Note::Retried,
        Event::DeadLettered { partition, offset, reason, .. } => {
            Note::GivenUp { member, partition: partition.partition, offset, reason }
        }
        Event::Error(error) => Note::Problem { member, message: error.to_string() },
        Event::Consumer(offtake::Event::PollIntervalExceeded { stall, .. }) => {
            Note::Problem { member, message: format!("did not poll for max.poll.interval.ms: {stall}") }
        }
        _ => return None,
    })
}

/// Simulates that work takes time: as much on a fast machine as on a slow one, and with many tasks as with few.
struct Pace(Mutex<Instant>);

impl Pace {
    async fn spend(&self, cost: Duration) {
        let now = now();
        let until = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(now.checked_sub(CATCH_UP).unwrap_or(now)) + cost;
            *free
        };
        if until.saturating_duration_since(now) > SLACK {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::source::{Letter, Source};
    use offtake::TopicPartition;

    fn letter(value: &str) -> Letter {
        Letter { key: b"k".to_vec(), value: value.into() }
    }

    /// FAILURES SAFE12.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_offset_does_not_pass_a_record_whose_dead_letter_was_not_written() {
        let source = Source::start().await.unwrap();
        source.create_topic(ORDERS, 1).unwrap(); // and no topic for dead letters
        for value in [r#"{"order":1,"item":"kettle","quantity":1,"cents":10}"#, r#"{"order":2,"it"#, "{}"] {
            source.produce(ORDERS, 0, letter(value)).unwrap();
        }
        let (notes, mut told) = mpsc::unbounded_channel();
        let (ask, stop) = watch::channel(false);
        let member = Member { index: 0, name: "m".to_owned(), source: source.clone(), notes, stop };
        let ran = async {
            let mut done = Vec::new();
            while let Some(note) = told.recv().await {
                match note {
                    Note::Processed { offset, .. } | Note::GivenUp { offset, .. } => done.push(offset),
                    Note::Problem { message, .. } if message.contains("written again") => {
                        assert!(message.contains(DEAD_LETTERS), "{message}");
                        ask.send_replace(true);
                    }
                    _ => {}
                }
            }
            done
        };
        let (ended, done) = tokio::join!(member.run(), ran);
        ended.unwrap();
        assert_eq!(done, [0]);
        let reader = Consumer::builder(source.bootstrap()).group(GROUP).build().await.unwrap();
        let partition = TopicPartition::new(ORDERS, 0);
        let committed = reader.committed([partition.clone()]).await.unwrap();
        let offset = committed.get(&partition).map_or(0, |committed| committed.offset);
        assert_eq!(offset, 1, "the record at 1 was neither processed nor given up");
        reader.close(CLOSING).await.unwrap();
    }
}
