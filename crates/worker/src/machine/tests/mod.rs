//! The machine in literal schedules (`order`, `rebalance`, `room_and_breaker`, `effects`, `due`) and in random ones (`random`, `batches`).

#![allow(clippy::indexing_slicing)]

mod batches;
mod due;
mod effects;
mod order;
mod random;
mod rebalance;
mod room_and_breaker;
mod stuck;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::*;
use crate::{Breaker, FailureKind, Order, Retry, clock, failure::Weight};

/// A partition, its committed offset, and the finished ranges beyond it.
pub(super) type Committed = (i32, i64, Vec<(i64, i64)>);

/// A record of the tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rec {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<u8>,
}

/// A machine, and the state that its loop would have.
pub(super) struct World {
    pub(super) machine: Machine<Rec>,
    pub(super) now: Instant,
    /// The records at handlers, in the order of their start.
    pub(super) running: Vec<(Vec<Started<Rec>>, JobTicket)>,
    pub(super) cancelled: Vec<Vec<Started<Rec>>>,
    /// Cancelled handlers that have not ended. They end at once, unless `holds_ends` is set.
    pub(super) ending: Vec<JobTicket>,
    pub(super) holds_ends: bool,
    pub(super) letters: Vec<(DeadLetterTicket, Rec)>,
    pub(super) seeks: Vec<(SeekId, Position)>,
    pub(super) paused: BTreeSet<TopicPartition>,
    /// The number of times that partitions were paused or resumed.
    pub(super) pauses: usize,
    pub(super) events: Vec<Event>,
    pub(super) fatal: Vec<String>,
}

pub(super) fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("orders", index)
}

pub(super) fn options() -> Options {
    Options {
        concurrency: 4,
        queue: 100,
        retry: Retry::fixed(Duration::from_millis(100)).attempts(3),
        commit_interval: Duration::from_secs(1),
        ..Options::default()
    }
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        Self::with(options, 1, false)
    }

    pub(super) fn with(options: Options, batch: usize, has_dead_letters: bool) -> Self {
        let now = clock::now();
        Self {
            machine: Machine::new(now, options, batch, has_dead_letters, "job".to_owned(), 7),
            now,
            running: Vec::new(),
            cancelled: Vec::new(),
            ending: Vec::new(),
            holds_ends: false,
            letters: Vec::new(),
            seeks: Vec::new(),
            paused: BTreeSet::new(),
            pauses: 0,
            events: Vec::new(),
            fatal: Vec::new(),
        }
    }

    /// Carries out the machine's actions.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.machine.poll_action(self.now) {
            match action {
                Action::Start(job) => self.running.push(job.into_parts()),
                Action::Cancel(id) => {
                    let at = self.running.iter().position(|(_, ticket)| ticket.id == id);
                    let (records, ticket) = self.running.remove(at.expect("what is cancelled runs"));
                    self.cancelled.push(records);
                    self.ending.push(ticket);
                }
                Action::Seek { seek, partition, to } => {
                    assert!(self.paused.contains(&partition), "it hands out nothing before it is sought");
                    self.seeks.push((seek, to));
                }
                Action::SetPaused { partitions, is_paused } => {
                    self.pauses += 1;
                    for name in partitions {
                        match is_paused {
                            true => assert!(self.paused.insert(name), "paused twice"),
                            false => assert!(self.paused.remove(&name), "resumed, and not paused"),
                        }
                    }
                }
                Action::Write { letter, record } => self.letters.push((letter, record)),
                Action::Tell(event) => self.events.push(event),
                Action::Fatal { reason, .. } => self.fatal.push(reason),
            }
        }
        if !self.holds_ends && !self.ending.is_empty() {
            self.end_cancelled();
        }
    }

    /// Ends the cancelled handlers; they report success.
    pub(super) fn end_cancelled(&mut self) {
        for ticket in std::mem::take(&mut self.ending) {
            self.machine.job_ended(self.now, 0, &ticket, &Results::All(HandlerResult::Done), Vec::new());
        }
        self.drain();
    }

    /// Assigns partitions of which nothing was finished before.
    pub(super) fn assign(&mut self, indexes: impl IntoIterator<Item = i32>) {
        self.assign_after(indexes.into_iter().map(|index| (index, None)));
    }

    pub(super) fn assign_after(&mut self, these: impl IntoIterator<Item = (i32, Option<FinishedBeyond>)>) {
        for (index, before) in these {
            self.paused.remove(&partition(index)); // a pause ends with the assignment
            let id = self.machine.assigned(&[partition(index)])[0].0;
            self.machine.loaded(self.now, id, before);
        }
        self.drain();
    }

    /// Receives records of consecutive offsets, beginning with the first; each has a key or none.
    pub(super) fn receive(&mut self, index: i32, first: i64, keys: &[Option<u8>]) {
        let items = (first..).zip(keys).map(|(offset, key)| item(index, offset, *key)).collect::<Vec<_>>();
        let next = first + i64::try_from(keys.len()).unwrap();
        self.receive_items(index, items, next);
    }

    /// Receives these records, with the position `next` after them.
    pub(super) fn receive_items(&mut self, index: i32, items: Vec<Item<Rec>>, next: i64) {
        self.machine.received(self.now, &partition(index), items, next);
        self.machine.look_at_room();
        self.drain();
    }

    /// The offsets at handlers, in the order of the jobs.
    pub(super) fn offsets(&self) -> Vec<i64> {
        self.running
            .iter()
            .flat_map(|(records, _)| records.iter().map(|started| started.record.offset))
            .collect()
    }

    /// Ends the handler of the job that contains this offset.
    pub(super) fn end(&mut self, offset: i64, results: Results) {
        let has = |(records, _): &(Vec<Started<Rec>>, _)| records.iter().any(|it| it.record.offset == offset);
        let at = self.running.iter().position(has).unwrap_or_else(|| panic!("{offset} does not run"));
        let (_, ticket) = self.running.remove(at);
        self.machine.job_ended(self.now, 0, &ticket, &results, Vec::new());
        self.drain();
    }

    pub(super) fn done(&mut self, offset: i64) {
        self.end(offset, Results::All(HandlerResult::Done));
    }

    pub(super) fn fail(&mut self, offset: i64, kind: FailureKind) {
        self.end(offset, Results::All(failure(kind)));
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.machine.advance(self.now);
        self.drain();
    }

    /// Takes a commit and confirms it. Returns for each partition the offset, and the finished ranges beyond it.
    pub(super) fn commit(&mut self) -> Vec<Committed> {
        let commits = self.machine.take_commit(self.now, None);
        self.machine.commit_ended(&commits, |_| true);
        let read = |commit: &PartitionCommit| {
            let beyond = decode(commit.name.partition, commit.what.offset, &commit.what.metadata);
            (
                commit.name.partition,
                commit.what.offset,
                beyond.map(|beyond| beyond.ranges).unwrap_or_default(),
            )
        };
        commits.iter().map(read).collect()
    }

    pub(super) fn stopped(&self) -> Vec<(i32, Option<i64>)> {
        self.machine.stopped().iter().map(|stopped| (stopped.partition.partition, stopped.offset)).collect()
    }
}

/// Decodes the records finished beyond a commit of the group.
pub(super) fn decode(index: i32, offset: i64, metadata: &str) -> Option<FinishedBeyond> {
    FinishedBeyond::decode(&CommittedOffset { group: "job", partition: &partition(index), offset }, metadata)
}

pub(super) fn item(index: i32, offset: i64, key: Option<u8>) -> Item<Rec> {
    Item {
        record: Rec { partition: index, offset, key },
        offset,
        epoch: Some(1),
        timestamp: 1000 + offset,
        key: key.map(|key| Bytes::from(vec![key])),
        bytes: 10,
        due: None,
        before: Before::default(),
    }
}

pub(super) fn failure(kind: FailureKind) -> HandlerResult {
    weighing(kind, Weight::Whole)
}

pub(super) fn weighing(kind: FailureKind, weight: Weight) -> HandlerResult {
    HandlerResult::Failed { kind, cause: Cause::Handler, weight, reason: "no".to_owned() }
}

pub(super) fn breaker() -> Breaker {
    Breaker::open_at(0.5).of_last(4).pause(Duration::from_secs(30)).probes(2)
}

pub(super) const A: Option<u8> = Some(b'a');
pub(super) const B: Option<u8> = Some(b'b');
pub(super) const C: Option<u8> = Some(b'c');
pub(super) use FailureKind::{Fatal, Poison, Retry as Again};
