//! Retry topics: a record of a retry topic is handled when it is due, a delay after it was written.
//!
//! Every record after one that is not due has to wait at least as long, or nearly. So the worker keeps none of them: it pauses
//! the partition, seeks back to the first one, and reads on when that is due.

use std::time::{Duration, Instant};

use offtake::{Position, TopicPartition};

use super::{Action, AssignmentId, Item, Machine, partition::Partition};
use crate::clock;

/// The wait of a partition for its next record to become due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    until: Instant,
    /// The record's position, with its own leader epoch if that is known, so that the consumer notices if the log has changed
    /// there by then (KIP-320).
    at: Position,
    seek: Seek,
}

/// The identity of a partition's seek. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeekId {
    assignment: AssignmentId,
    serial: u64,
}

/// Whether the consumer has sought back to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seek {
    Asked { serial: u64 },
    Done,
    Failed,
}

/// A record whose timestamp is ahead of the clock, and when it is considered due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    timestamp: i64,
    due: Instant,
}

/// How much the timestamps of consecutive records by one writer, or by several with the same clock, may be out of order. A record
/// further behind has a timestamp by another clock.
const DISORDER_MS: i64 = 10_000;

/// The pause before a failed seek is repeated.
const SEEK_AGAIN: Duration = Duration::from_secs(1);

impl<R> Partition<R> {
    /// Splits these records into those that may be handled now, and the first one that is not due.
    pub(super) fn split_due(
        &mut self,
        now: Instant,
        items: &mut Vec<Item<R>>,
    ) -> Option<(Instant, Position)> {
        let waits = |item: &Item<R>| self.due(item).is_some_and(|due| due > now);
        let at = items.iter().position(waits)?;
        let early = items.get(at)?;
        let (due, to) = (self.due(early)?, Position { offset: early.offset, epoch: early.epoch });
        if early.due.is_some_and(|due| due.is_ahead) {
            self.ahead = Some(Ahead { timestamp: early.timestamp, due });
        }
        items.truncate(at);
        Some((due, to))
    }

    /// When a record may be handled, if not at once. The writer's clock may be ahead of this one, or this clock may have been set
    /// back. The record then waits for the delay once, and records written after it wait longer by the difference of their
    /// timestamps. Otherwise each record would wait for the whole delay, one after the other.
    fn due(&self, item: &Item<R>) -> Option<Instant> {
        let due = item
            .due
            .filter(|_| self.waited_for != Some(Position { offset: item.offset, epoch: item.epoch }))?;
        let is_of_its_clock = |ahead: &Ahead| ahead.timestamp.saturating_sub(item.timestamp) <= DISORDER_MS;
        let ahead = self.ahead.filter(|ahead| due.is_ahead && is_of_its_clock(ahead));
        let behind = ahead.map(|ahead| {
            let since = item.timestamp.saturating_sub(ahead.timestamp).max(0).unsigned_abs();
            clock::later(ahead.due, Duration::from_millis(since))
        });
        Some(behind.map_or(due.at, |behind| due.at.min(behind)))
    }

    /// Whether records from this offset on will be read again later.
    pub(super) fn waits_at(&self, offset: i64) -> bool {
        self.wait.is_some_and(|wait| offset >= wait.at.offset)
    }
}

impl<R: Clone> Machine<R> {
    /// Starts the wait for a partition's next record, which is not due.
    pub(super) fn wait_until(&mut self, id: AssignmentId, until: Instant, at: Position) {
        self.end_wait(id);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.wait = Some(Wait { until, at, seek: Seek::Failed });
        self.due.insert((until, id));
        // The partition must deliver nothing more before the seek.
        self.balance(id);
        self.seek(id);
    }

    /// Requests that the consumer seeks back to where this partition waits.
    fn seek(&mut self, assignment: AssignmentId) {
        let serial = self.next_id;
        self.next_id += 1;
        let Some(partition) = self.partitions.get_mut(&assignment) else { return };
        let name: TopicPartition = partition.name.clone();
        let Some(wait) = &mut partition.wait else { return };
        wait.seek = Seek::Asked { serial };
        let (seek, to) = (SeekId { assignment, serial }, wait.at);
        self.actions.push_back(Action::Seek { seek, partition: name, to });
    }

    /// Whether a seek is still wanted. Its partition may have been given up, or may have to move elsewhere.
    pub(crate) fn wants_seek(&self, SeekId { assignment, serial }: SeekId) -> bool {
        let wait = self.partitions.get(&assignment).and_then(|partition| partition.wait);
        wait.is_some_and(|wait| wait.seek == Seek::Asked { serial })
    }

    /// Notes the result of a seek. If the partition has to move elsewhere since, the result is ignored.
    pub(crate) fn seek_ended(&mut self, SeekId { assignment, serial }: SeekId, is_done: bool) {
        let wait = self.partitions.get_mut(&assignment).and_then(|partition| partition.wait.as_mut());
        if let Some(wait) = wait.filter(|wait| wait.seek == Seek::Asked { serial }) {
            wait.seek = if is_done { Seek::Done } else { Seek::Failed };
        }
    }

    /// Resumes partitions whose next record is due, once the consumer has sought back to it.
    pub(super) fn advance_due(&mut self, now: Instant) {
        while let Some((until, id)) = self.due.first().copied().filter(|(until, _)| *until <= now) {
            self.due.remove(&(until, id));
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            let Some(wait) = &mut partition.wait else { continue };
            if wait.seek == Seek::Done {
                partition.waited_for = Some(wait.at);
                partition.wait = None;
                self.balance(id);
                continue;
            }
            let has_failed = wait.seek == Seek::Failed;
            wait.until = clock::later(now, SEEK_AGAIN);
            self.due.insert((wait.until, id));
            if has_failed {
                self.seek(id);
            }
        }
    }

    /// Ends a wait because the partition continues at another offset; the records there show whether they are due.
    pub(super) fn end_wait(&mut self, id: AssignmentId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.waited_for = None;
        if let Some(wait) = partition.wait.take() {
            self.due.remove(&(wait.until, id));
        }
    }

    /// Moves a wait at or after this offset to `to`, because the log was cut or replaced and the records are read again.
    pub(super) fn rewind_wait(&mut self, id: AssignmentId, from: i64, to: i64) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.waited_for.take_if(|at| from <= at.offset);
        partition.ahead = None;
        let wait = partition.wait.as_mut();
        let Some(wait) = wait.filter(|wait| from <= wait.at.offset) else { return };
        if wait.seek == Seek::Done {
            // The consumer is there already.
            return self.end_wait(id);
        }
        // A seek in flight may be carried out after the cut, and lead away from where the log goes on.
        wait.at = Position::at(to);
        self.seek(id);
    }
}
