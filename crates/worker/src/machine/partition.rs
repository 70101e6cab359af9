//! One assignment of a partition: its lanes, and the progress of its records.

use std::{collections::VecDeque, time::Instant};

use offtake::{Position, TopicPartition};

use super::{
    Item, Started,
    commit::Commits,
    due::{Ahead, Wait},
    effects::Effects,
    lane::{Entry, Lane, LaneKey, LaneState, Lanes},
    metadata::FinishedBeyond,
    tracker::Tracker,
};
use crate::{Order, PartitionMetrics, StoppedPartition};

/// One assignment of a partition.
#[derive(Debug)]
pub(crate) struct Partition<R> {
    pub(crate) name: TopicPartition,
    pub(crate) phase: Phase<R>,
    /// Set once a record has arrived.
    pub(crate) tracker: Option<Tracker>,
    /// The records beyond the committed offset that were finished before this assignment.
    pub(crate) before: Option<FinishedBeyond>,
    pub(crate) lanes: Lanes<R>,
    /// Lanes queued for a handler, in order.
    pub(crate) ready: VecDeque<usize>,
    /// Whether the partition itself is queued for a handler.
    pub(crate) is_in_rotation: bool,
    /// Waiting records, in lanes or while the partition loads, and their bytes.
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    /// The number of records at a handler.
    pub(crate) running: usize,
    /// The number of dead letters being written.
    pub(crate) writing: usize,
    /// The number of dead letters that could not be written, and will be written again.
    pub(crate) unwritten: usize,
    pub(crate) pauses: Pauses,
    pub(crate) commits: Commits,
    /// The effects of finished records in a transaction.
    pub(crate) effects: Effects<R>,
    /// Whether they waited for an unfinished record before them, when that was last looked at.
    pub(crate) effects_wait: bool,
    /// For a retry topic: the wait for its next record.
    pub(crate) wait: Option<Wait>,
    /// The record whose wait has ended: it is due, whatever its timestamp.
    pub(crate) waited_for: Option<Position>,
    /// The last waiting record, now or before, whose timestamp is ahead of the clock.
    pub(crate) ahead: Option<Ahead>,
    /// Why nothing more of it can be read.
    pub(crate) unreadable: Option<StoppedPartition>,
}

/// The phase of an assignment.
#[derive(Debug)]
pub(crate) enum Phase<R> {
    /// The records finished before are being fetched. Holds what arrived meanwhile, and up to which offset.
    Loading {
        items: Vec<Item<R>>,
        next: i64,
        log: Log,
    },
    Active,
    /// It is being handed over: nothing more begins.
    Revoking,
    /// One of its records cannot go on.
    Stopped(StoppedPartition),
}

/// Whether the log is still the one that the commit refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    AsCommitted,
    Changed,
}

/// Why the partition is paused, and whether the consumer was asked to pause it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pauses {
    /// The queue is full.
    pub(crate) room: bool,
    /// This lane has used up the partition's share of the queue.
    pub(crate) lane: Option<usize>,
    /// The partition has used up its share of the queue and cannot go on. What it holds is set aside.
    pub(crate) aside: Option<Aside>,
    /// The consumer must move its position before anything is read: until the partition is [loaded](super::Machine::loaded).
    pub(crate) is_moving: bool,
    pub(crate) is_paused: bool,
}

/// Why what a partition holds is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// Its dead letters cannot be written.
    Letters,
    /// A record, or a handler that does not end, holds up the others.
    Stuck,
}

impl<R> Partition<R> {
    pub(crate) fn new(name: TopicPartition) -> Self {
        Self {
            name,
            phase: Phase::Loading { items: Vec::new(), next: i64::MIN, log: Log::AsCommitted },
            tracker: None,
            before: None,
            lanes: Lanes::new(),
            ready: VecDeque::new(),
            is_in_rotation: false,
            queued: 0,
            queued_bytes: 0,
            running: 0,
            writing: 0,
            unwritten: 0,
            pauses: Pauses::default(),
            commits: Commits::default(),
            effects: Effects::new(),
            effects_wait: false,
            wait: None,
            waited_for: None,
            ahead: None,
            unreadable: None,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped(_))
    }

    /// Why it stopped.
    pub(crate) fn stopped(&self) -> Option<&StoppedPartition> {
        match &self.phase {
            Phase::Stopped(stopped) => Some(stopped),
            Phase::Loading { .. } | Phase::Active | Phase::Revoking => self.unreadable.as_ref(),
        }
    }

    /// Whether nothing of it is at a handler and no letter is being written.
    pub(crate) fn is_idle(&self) -> bool {
        self.running == 0 && self.writing == 0
    }

    /// Puts a record into its lane. Returns the lane's index, or `None` if the record was finished before this assignment.
    pub(crate) fn enter(&mut self, item: Item<R>, order: Order, received: Instant) -> Option<usize> {
        let commits = &mut self.commits;
        let tracker = self.tracker.get_or_insert_with(|| {
            commits.base = Some(item.offset);
            Tracker::starting_at(item.offset)
        });
        let cover = tracker.receive(item.offset, item.epoch);
        if let Some(before) = &self.before {
            let is_finished = before.contains(item.offset);
            if before.is_cut_at(item.offset, item.epoch)
                || (is_finished && before.contradicts(item.epoch, item.timestamp))
            {
                tracing::info!(partition = %self.name, offset = item.offset,
                    "ignoring the finished records in a commit's metadata: they belong to another log");
                self.before = None;
                self.commits.changes += 1;
            } else if is_finished {
                tracker.finish(cover, item.timestamp);
                self.commits.changes += 1;
                return None;
            }
        }
        let lane_key = match (order, item.key) {
            (Order::Key, Some(key)) => LaneKey::Key(key),
            (Order::Partition, _) => LaneKey::Partition,
            (Order::Key, None) | (Order::Unordered, _) => LaneKey::Alone,
        };
        let entry = Entry {
            record: item.record,
            offset: item.offset,
            cover,
            timestamp: item.timestamp,
            bytes: item.bytes,
            queued_since: Some(received),
            failures: 0,
            has_failed: false,
            untried: 0,
            attempts_before: item.before.attempts,
            first_failure: item.before.first_failure,
            is_suspect: false,
            letter: None,
            letter_failures: 0,
            origin: item.before.origin,
        };
        let (lane, is_new) = self.lanes.push(lane_key, entry);
        if is_new {
            self.ready.push_back(lane);
        }
        Some(lane)
    }

    /// Notes that there are no further records before this offset.
    pub(crate) fn pass(&mut self, to: i64) {
        if let Some(tracker) = &mut self.tracker {
            let before = tracker.position();
            tracker.pass(to);
            self.commits.changes += u64::from(tracker.position() != before);
        }
    }

    /// Whether a lane has this many records or bytes. Those of a single record, for which nothing waits, count only if it has failed
    /// and there is no room.
    pub(crate) fn fills_share(&self, lane: usize, (records, bytes): (usize, usize)) -> bool {
        self.lanes.get(lane).is_some_and(|lane| {
            let (count, has_many_bytes) = (lane.records.len(), lane.bytes() >= bytes);
            let has_failed = lane.records.front().is_some_and(|entry| entry.has_failed);
            count >= records || has_many_bytes && (count > 1 || self.pauses.room && has_failed)
        })
    }

    /// The place in the queue of a lane whose first record has never failed.
    fn fresh(&self) -> Option<usize> {
        let is_fresh = |index: &usize| {
            let lane = self.lanes.get(*index).filter(|lane| lane.state == LaneState::Ready);
            lane.and_then(|lane| lane.records.front()).is_some_and(|entry| entry.first_failure.is_none())
        };
        self.ready.iter().position(is_fresh)
    }

    /// Whether a record that has never failed is queued.
    pub(crate) fn has_fresh(&self) -> bool {
        self.fresh().is_some()
    }

    /// Takes records of the queued lanes for this job. A probe takes a record that has never failed, if there is one. `attempts`
    /// is the number of attempts that a record has.
    pub(crate) fn take(
        &mut self,
        job: u64,
        most: usize,
        (is_probe, attempts): (bool, u32),
        mut waited: impl FnMut(Instant),
    ) -> Taken<R>
    where
        R: Clone,
    {
        let mut taken = Taken { records: Vec::new(), lanes: Vec::new(), bytes: 0 };
        while taken.records.len() < most {
            let at = if is_probe { self.fresh().unwrap_or(0) } else { 0 };
            let Some(index) = self.ready.remove(at) else { break };
            let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.state == LaneState::Ready) else {
                continue;
            };
            let goes_alone = |entry: &Entry<R>| entry.goes_alone(attempts);
            let in_turn = lane.begin_turn();
            let is_alone = in_turn > 0 || lane.records.front().is_some_and(goes_alone);
            if is_alone && !taken.records.is_empty() {
                self.ready.push_front(index);
                break;
            }
            let room = if in_turn > 0 { in_turn.min(most) } else { most - taken.records.len() };
            let with_others = lane.records.iter().take(room).take_while(|entry| !goes_alone(entry));
            let count = with_others.count().max(1);
            for entry in lane.records.iter_mut().take(count) {
                if let Some(since) = entry.queued_since.take() {
                    waited(since);
                }
                taken.bytes += entry.bytes;
                taken.records.push(Started {
                    record: entry.record.clone(),
                    attempt: entry.attempts().saturating_add(1),
                    is_probe,
                    is_last: !is_probe && entry.is_last(attempts),
                    first_failure: entry.first_failure.clone(),
                    origin: entry.origin.clone(),
                });
            }
            lane.state = LaneState::Running { job, count };
            taken.lanes.push((index, count));
            if is_alone {
                break;
            }
        }
        self.running += taken.records.len();
        taken
    }

    /// Drops the waiting records, but not those at a handler or whose dead letter is being written. Returns their number, their
    /// bytes, and the lowest offset of a dropped record that was in a lane.
    pub(crate) fn drop_queued(&mut self) -> (usize, usize, Option<i64>) {
        let (mut count, mut bytes, mut lowest) = (0, 0, None::<i64>);
        if let Phase::Loading { items, .. } = &mut self.phase {
            count = items.len();
            bytes = items.drain(..).map(|item| item.bytes).sum();
        }
        for index in self.lanes.indexes() {
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let kept = lane.kept();
            for entry in lane.split_off(kept) {
                count += 1;
                bytes += entry.bytes;
                lowest = Some(lowest.map_or(entry.offset, |lowest| lowest.min(entry.offset)));
            }
            self.lanes.remove_if_empty(index);
        }
        self.ready.clear();
        self.unwritten = self.count_unwritten();
        (count, bytes, lowest)
    }

    /// Rewinds the partition after its log was truncated or replaced: records from this offset on are read again. None of them
    /// may be at a handler. Returns the number of dropped records, and their bytes.
    pub(crate) fn rewind(&mut self, to: i64) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        let mut open_from = to;
        if let Phase::Loading { items, next, .. } = &mut self.phase {
            *next = (*next).min(to);
            items.retain(|item| {
                let stays = item.offset < to;
                (count, bytes) = if stays { (count, bytes) } else { (count + 1, bytes + item.bytes) };
                stays
            });
        }
        self.log_changed();
        // The new records have to be committed, even at the same offset.
        (self.commits.base, self.commits.next_base) = (None, None);
        // A commit from before the cut is still about this log.
        self.commits.before = self.commits.before.filter(|(at, _)| *at <= to);
        self.ready.clear();
        for index in self.lanes.indexes() {
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let stay = lane.records.partition_point(|entry| entry.offset < to);
            if stay == 0 && matches!(lane.state, LaneState::Writing { .. }) {
                self.writing = self.writing.saturating_sub(1);
            }
            for entry in lane.split_off(stay) {
                open_from = open_from.min(entry.cover.from);
                count += 1;
                bytes += entry.bytes;
            }
            if !self.lanes.remove_if_empty(index)
                && self.lanes.get(index).is_some_and(|lane| lane.state == LaneState::Ready)
            {
                self.ready.push_back(index);
            }
        }
        self.unwritten = self.count_unwritten();
        if let Some(tracker) = &mut self.tracker {
            tracker.rewind(to, open_from);
        }
        self.commits.changes += 1;
        (count, bytes)
    }

    /// Notes the leader epoch that ends where the log was cut, if that is the next offset to be committed.
    pub(crate) fn ends_with(&mut self, epoch: i32, at: i64) {
        let waits = matches!(&self.phase, Phase::Loading { items, .. } if !items.is_empty());
        if !waits && self.tracker.as_ref().is_none_or(|tracker| tracker.position() == at) {
            self.commits.before = Some((at, Some(epoch)));
        }
    }

    /// The number of letters that wait to be written again.
    pub(crate) fn count_letters_that_wait(&self) -> usize {
        let waits = |lane: &Lane<R>| lane.records.front().is_some_and(|entry| entry.letter.is_some());
        if self.unwritten == 0 { 0 } else { self.lanes.iter().filter(|(_, lane)| waits(lane)).count() }
    }

    /// The number of its records that have failed and are not finished, if it has not stopped.
    pub(crate) fn count_failed_unfinished(&self) -> u64 {
        if self.is_stopped() {
            return 0;
        }
        let lanes = self.lanes.iter();
        lanes.map(|(_, lane)| lane.records.iter().filter(|entry| entry.has_failed).count() as u64).sum()
    }

    fn count_unwritten(&self) -> usize {
        let is_unwritten =
            |lane: &Lane<R>| lane.records.front().is_some_and(|entry| entry.letter_failures > 0);
        self.lanes.iter().filter(|(_, lane)| is_unwritten(lane)).count()
    }

    /// Forgets the records finished before this assignment, because they were, or may have been, of another log.
    pub(crate) fn log_changed(&mut self) {
        self.before = None;
        if let Phase::Loading { log, .. } = &mut self.phase {
            *log = Log::Changed;
        }
    }

    pub(crate) fn metrics(&self) -> PartitionMetrics {
        PartitionMetrics {
            running: self.running,
            queued: self.queued,
            finished_to: self.tracker.as_ref().map(Tracker::position),
            finished_beyond: self.tracker.as_ref().map_or(0, Tracker::count_beyond),
            committed: self.commits.offset,
            is_paused: self.pauses.is_paused,
            is_stopped: self.stopped().is_some(),
        }
    }

    /// Finishes the first record of a lane.
    pub(crate) fn finish_first(&mut self, lane: usize) -> Option<Entry<R>> {
        let entry = self.lanes.get_mut(lane)?.pop_first()?;
        if entry.letter_failures > 0 {
            self.unwritten = self.unwritten.saturating_sub(1);
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.finish(entry.cover, entry.timestamp);
        }
        self.commits.changes += 1;
        Some(entry)
    }

    /// Advances a lane: it is queued for a handler if it has records, and removed if not.
    pub(crate) fn go_on(&mut self, index: usize) {
        if self.lanes.remove_if_empty(index) {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.state = LaneState::Ready;
            self.ready.push_back(index);
        }
    }

    /// Marks everything from this record on as unfinished.
    pub(crate) fn take_back_from(&mut self, offset: i64) {
        if let Some(tracker) = &mut self.tracker {
            tracker.rewind(offset, tracker.received());
        }
        self.commits.changes += 1;
    }
}

impl<R> Lane<R> {
    /// The number of its records that are at a handler or whose letter is being written.
    fn kept(&self) -> usize {
        match self.state {
            LaneState::Running { count, .. } => count.min(self.records.len()),
            LaneState::Writing { .. } => self.records.len().min(1),
            LaneState::Ready | LaneState::Waiting | LaneState::Held => 0,
        }
    }
}

/// The records taken for a job.
#[derive(Debug)]
pub(crate) struct Taken<R> {
    pub(crate) records: Vec<Started<R>>,
    /// The lanes of the records, in order, each with the number of its records.
    pub(crate) lanes: Vec<(usize, usize)>,
    pub(crate) bytes: usize,
}
