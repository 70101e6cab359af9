//! Lanes: sequences of records that are handled one after the other.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use super::{outcome::DeadLetter, tracker::Cover};
use crate::{FirstFailure, dead_letters::Origin};

/// After this many failures, and each time after as many more, a record is tried in a batch of its own.
const ALONE_EVERY: u32 = 4;

/// A record and its state.
#[derive(Clone, Debug)]
pub(crate) struct Entry<R> {
    pub(crate) record: R,
    pub(crate) offset: i64,
    pub(crate) cover: Cover,
    pub(crate) timestamp: i64,
    pub(crate) bytes: usize,
    /// When it arrived; `None` after its first attempt has begun.
    pub(crate) queued_since: Option<Instant>,
    /// The number of attempts that failed here and count.
    pub(crate) failures: u32,
    /// Whether a batch of several was called poison that it was in.
    pub(crate) is_suspect: bool,
    /// Whether an attempt at it ended here without success.
    pub(crate) has_failed: bool,
    /// How often in a row it was returned without an attempt.
    pub(crate) untried: u32,
    /// The number of attempts before it was written to this partition.
    pub(crate) attempts_before: u32,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    /// Its letter, while that waits to be written again.
    pub(crate) letter: Option<DeadLetter>,
    /// How often its letter could not be written.
    pub(crate) letter_failures: u32,
    /// For a record of a retry topic: its origin.
    pub(crate) origin: Option<Arc<Origin>>,
}

impl<R> Entry<R> {
    /// The number of attempts in all that failed and count.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts_before.saturating_add(self.failures)
    }

    /// Whether its next attempt is its last one, of this number in all.
    pub(crate) fn is_last(&self, attempts: u32) -> bool {
        self.failures.saturating_add(1) >= attempts
    }

    /// Whether its next attempt must be in a batch of its own. A batch may have failed because of another record of it; so no
    /// record is given up before it has failed alone.
    pub(crate) fn goes_alone(&self, attempts: u32) -> bool {
        self.is_suspect || self.failures > 0 && self.is_last(attempts)
    }

    /// Whether it goes alone if it is the first of its lane, so that one with many attempts does not have to wait for those of
    /// another ([`Lane::in_turn`]).
    pub(crate) fn is_its_turn(&self) -> bool {
        self.untried == 0 && self.failures > 0 && self.failures.is_multiple_of(ALONE_EVERY)
    }
}

/// The state of the first records of a lane. The others wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneState {
    /// The lane is queued for a handler.
    Ready,
    /// This job has this many of them at a handler.
    Running { job: u64, count: usize },
    /// The first record waits for another attempt, or its letter to be written again.
    Waiting,
    /// The dead letter of the first record is being written.
    Writing { letter: u64 },
    /// The first record cannot go on: its partition has stopped, or the worker stops.
    Held,
}

#[derive(Debug)]
pub(crate) struct Lane<R> {
    key: Option<Bytes>,
    pub(crate) records: VecDeque<Entry<R>>,
    /// Their bytes.
    bytes: usize,
    pub(crate) state: LaneState,
    /// The number of records that go to a handler without those of other lanes, after several failures in batches; 0 for no such
    /// limit. One record goes alone at first; as long as they succeed, twice as many go each time: after an outage nobody is at
    /// fault. When several fail, the search begins again with one; it ends when one fails alone.
    pub(crate) in_turn: usize,
}

impl<R> Lane<R> {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn pop_first(&mut self) -> Option<Entry<R>> {
        let entry = self.records.pop_front()?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
    }

    /// Removes the records from this one on.
    pub(crate) fn split_off(&mut self, at: usize) -> VecDeque<Entry<R>> {
        let rest = self.records.split_off(at.min(self.records.len()));
        self.bytes = self.bytes.saturating_sub(rest.iter().map(|entry| entry.bytes).sum());
        rest
    }

    /// The number of records that go without those of other lanes now.
    pub(crate) fn begin_turn(&mut self) -> usize {
        match self.records.front() {
            // A record that was returned without an attempt says nothing about any.
            Some(first) if first.failures == 0 || first.untried > 0 => self.in_turn = 0,
            Some(first) if self.in_turn == 0 && first.is_its_turn() => self.in_turn = 1,
            _ => {}
        }
        self.in_turn
    }

    /// Handles the end of an attempt at the first of them.
    pub(crate) fn turn_ended(&mut self, is_done: bool) {
        self.in_turn = match self.in_turn {
            turn if is_done => turn.saturating_mul(2),
            0 | 1 => 0,
            _ => 1,
        };
    }
}

/// The lanes of a partition. A lane exists as long as it has records; its index may be reused.
#[derive(Debug)]
pub(crate) struct Lanes<R> {
    lanes: Vec<Option<Lane<R>>>,
    free: Vec<usize>,
    by_key: HashMap<Bytes, usize>,
    /// The single lane of a partition that is handled in order.
    only: Option<usize>,
}

/// The lane that a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LaneKey {
    /// That of its key.
    Key(Bytes),
    /// The single lane of the partition.
    Partition,
    /// A lane of its own.
    Alone,
}

impl<R> Lanes<R> {
    pub(crate) fn new() -> Self {
        Self { lanes: Vec::new(), free: Vec::new(), by_key: HashMap::new(), only: None }
    }

    /// Adds a record at the end of its lane. Returns the lane's index, and whether the lane is new.
    pub(crate) fn push(&mut self, lane_key: LaneKey, entry: Entry<R>) -> (usize, bool) {
        let found = match &lane_key {
            LaneKey::Key(key) => self.by_key.get(key).copied(),
            LaneKey::Partition => self.only,
            LaneKey::Alone => None,
        };
        if let Some(lane) = found.and_then(|index| self.get_mut(index)) {
            lane.bytes += entry.bytes;
            lane.records.push_back(entry);
            return (found.unwrap_or_default(), false);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            self.lanes.len() - 1
        });
        let key = match lane_key {
            LaneKey::Key(key) => {
                self.by_key.insert(key.clone(), index);
                Some(key)
            }
            LaneKey::Partition => {
                self.only = Some(index);
                None
            }
            LaneKey::Alone => None,
        };
        let bytes = entry.bytes;
        let lane = Lane { key, records: VecDeque::from([entry]), bytes, state: LaneState::Ready, in_turn: 0 };
        if let Some(free) = self.lanes.get_mut(index) {
            *free = Some(lane);
        }
        (index, true)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Lane<R>> {
        self.lanes.get(index)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Lane<R>> {
        self.lanes.get_mut(index)?.as_mut()
    }

    /// Removes a lane that has no records left.
    pub(crate) fn remove_if_empty(&mut self, index: usize) -> bool {
        if !self.get(index).is_some_and(|lane| lane.records.is_empty()) {
            return false;
        }
        if let Some(lane) = self.lanes.get_mut(index).and_then(Option::take) {
            match lane.key {
                Some(key) => drop(self.by_key.remove(&key)),
                None if self.only == Some(index) => self.only = None,
                None => {}
            }
            self.free.push(index);
        }
        true
    }

    pub(crate) fn indexes(&self) -> impl Iterator<Item = usize> + use<R> {
        let used: Vec<usize> = self.iter().map(|(index, _)| index).collect();
        used.into_iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Lane<R>)> {
        self.lanes.iter().enumerate().filter_map(|(index, lane)| Some((index, lane.as_ref()?)))
    }
}
