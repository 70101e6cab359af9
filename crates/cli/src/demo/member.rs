//! One member of the group: reads orders, charges for them, tries again what failed, and gives up what is hopeless.
//!
//! Always true: a record's offset is stored for a commit only after the record was processed, or its dead letter was
//! acknowledged (FAILURES SAFE12).

use std::time::{Duration, Instant};

use offtake::{Consumer, Event, OwnershipChange, PartitionRecords, Record};
use tokio::sync::{mpsc, watch};

use super::{
    DEAD_LETTERS, GROUP, ORDERS,
    ledger::Outcome,
    orders::{self, RETRIES, Trouble},
    source::{Letter, Source},
};
use crate::{clock::now, failure::Failure};

const POLL: Duration = Duration::from_millis(100);
/// What one order costs a member: it handles at most a thousand a second.
const COST: Duration = Duration::from_millis(1);
/// Shorter waits are saved up.
const SLACK: Duration = Duration::from_millis(4);
/// A wait that took longer than it should is made up for, as far as this.
const CATCH_UP: Duration = Duration::from_millis(25);
const CLOSING: Duration = Duration::from_secs(5);

/// What a member has to tell.
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
    /// These are done: offset, digest, and what became of it.
    Handled {
        member: usize,
        partition: i32,
        records: Vec<(i64, u64, Outcome)>,
        retried: u64,
    },
    GivenUp {
        member: usize,
        partition: i32,
        offset: i64,
        reason: String,
    },
    Trouble {
        member: usize,
        message: String,
    },
}

pub(super) struct Member {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) notes: mpsc::Sender<Note>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Member {
    /// Until it is asked to stop; then it commits and leaves.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut consumer = self.join().await?;
        let mut pace = Pace { free: now() };
        let worked = self.work(&mut consumer, &mut pace).await;
        let closed = consumer.close(CLOSING).await.map_err(Failure::from);
        worked.and(closed)
    }

    async fn join(&self) -> Result<Consumer, Failure> {
        let (index, notes) = (self.index, self.notes.clone());
        let mut consumer = Consumer::builder(self.source.bootstrap())
            .group(GROUP)
            .property("client.id", &self.name)
            .property("partition.assignment.strategy", "cooperative-sticky")
            .property("heartbeat.interval.ms", "150")
            .property("session.timeout.ms", "6000")
            .property("auto.offset.reset", "earliest")
            .property("enable.auto.offset.store", "false")
            .property("auto.commit.interval.ms", "200")
            .property("fetch.max.wait.ms", "100")
            .property("max.poll.records", "80")
            .property("retry.backoff.ms", "20")
            .property("default.api.timeout.ms", "10000")
            .events(move |event| {
                if let Some(note) = note(index, event) {
                    let _ = notes.try_send(note); // for the eye; what counts is sent by `work`
                }
            })
            .build()
            .await?;
        consumer.subscribe([ORDERS]).await?;
        Ok(consumer)
    }

    async fn work(&mut self, consumer: &mut Consumer, pace: &mut Pace) -> Result<(), Failure> {
        let mut stop = self.stop.clone();
        loop {
            let polled = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                polled = consumer.poll(POLL) => polled,
            };
            let records = match polled {
                Ok(records) => records,
                Err(error) if error.is_retriable() => {
                    self.tell(Note::Trouble { member: self.index, message: error.to_string() }).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for part in records.partitions() {
                self.handle(part, pace).await?;
                if let Err(error) = consumer.store(part) {
                    // Given up meanwhile: whoever owns it now reads these again.
                    self.tell(Note::Trouble { member: self.index, message: error.to_string() }).await;
                }
            }
        }
    }

    async fn handle(&self, part: &PartitionRecords, pace: &mut Pace) -> Result<(), Failure> {
        let mut records = Vec::with_capacity(part.len());
        let mut retried = 0;
        for record in part {
            let (attempts, outcome) = attempt(&record, pace).await;
            retried += u64::from(attempts.saturating_sub(1));
            let outcome = match outcome {
                Ok(()) => Outcome::Processed,
                Err(reason) => {
                    self.give_up(&record, attempts, reason).await?;
                    Outcome::GivenUp
                }
            };
            let digest = orders::digest(record.key().unwrap_or_default(), record.value().unwrap_or_default());
            records.push((record.offset(), digest, outcome));
        }
        self.tell(Note::Handled { member: self.index, partition: part.partition(), records, retried }).await;
        Ok(())
    }

    /// Returns when the dead letter is acknowledged.
    async fn give_up(&self, record: &Record<'_>, attempts: u32, reason: String) -> Result<(), Failure> {
        let (partition, offset) = (record.partition(), record.offset());
        let letter = Letter {
            key: record.key().unwrap_or_default().to_vec(),
            value: record.value().unwrap_or_default().to_vec(),
            headers: vec![
                ("source.topic", record.topic().to_owned()),
                ("source.partition", partition.to_string()),
                ("source.offset", offset.to_string()),
                ("reason", reason.clone()),
                ("attempts", attempts.to_string()),
            ],
        };
        self.source.produce(DEAD_LETTERS, 0, letter)?;
        self.tell(Note::GivenUp { member: self.index, partition, offset, reason }).await;
        Ok(())
    }

    async fn tell(&self, note: Note) {
        // Nobody listens any more only when the demo has failed already.
        let _ = self.notes.send(note).await;
    }
}

/// Handles one record: how many attempts it took, and why the last one failed.
async fn attempt(record: &Record<'_>, pace: &mut Pace) -> (u32, Result<(), String>) {
    let value = record.value().unwrap_or_default();
    let mut attempt = 0;
    loop {
        pace.spend(COST).await;
        let trouble = match orders::charge(value, attempt) {
            Ok(()) => return (attempt + 1, Ok(())),
            Err(trouble) => trouble,
        };
        attempt += 1;
        match trouble {
            Trouble::Passing(_) if attempt <= RETRIES => pace.spend(orders::backoff(attempt)).await,
            Trouble::Passing(why) => return (attempt, Err(why.to_owned())),
            Trouble::Poison(why) => return (attempt, Err(why)),
        }
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
        Event::PollIntervalExceeded { stall, .. } => {
            Note::Trouble { member, message: format!("did not poll for max.poll.interval.ms: {stall}") }
        }
        _ => return None,
    })
}

/// Work takes time: as much on a fast machine as on a slow one.
struct Pace {
    free: Instant,
}

impl Pace {
    async fn spend(&mut self, cost: Duration) {
        let now = now();
        self.free = self.free.max(now.checked_sub(CATCH_UP).unwrap_or(now)) + cost;
        if self.free.saturating_duration_since(now) > SLACK {
            sleep_until(self.free).await;
        }
    }
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::source::Source;
    use offtake::TopicPartition;

    fn letter(value: &str) -> Letter {
        Letter { key: b"k".to_vec(), value: value.into(), headers: Vec::new() }
    }

    /// FAILURES SAFE12.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_offset_does_not_pass_a_record_whose_dead_letter_was_not_written() {
        let source = Source::start().await.unwrap();
        source.create_topic(ORDERS, 1).unwrap(); // and no topic for dead letters
        for value in [r#"{"order":1,"item":"kettle","quantity":1,"cents":10}"#, r#"{"order":2,"it"#, "{}"] {
            source.produce(ORDERS, 0, letter(value)).unwrap();
        }
        let (notes, mut told) = mpsc::channel(100);
        let (_ask, stop) = watch::channel(false);
        let member = Member { index: 0, name: "m".to_owned(), source: source.clone(), notes, stop };
        let failure = member.run().await.unwrap_err();
        assert!(failure.to_string().contains(DEAD_LETTERS), "{failure}");
        while let Ok(note) = told.try_recv() {
            let Note::Handled { records, .. } = note else { continue };
            assert!(records.iter().all(|(offset, ..)| *offset == 0), "{records:?}");
        }
        let reader = Consumer::builder(source.bootstrap()).group(GROUP).build().await.unwrap();
        let partition = TopicPartition::new(ORDERS, 0);
        let committed = reader.committed([partition.clone()]).await.unwrap();
        let offset = committed.get(&partition).map_or(0, |committed| committed.offset);
        assert!(offset <= 1, "committed {offset}: the record at 1 was neither processed nor given up");
        reader.close(CLOSING).await.unwrap();
    }
}
