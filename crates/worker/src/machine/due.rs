//! Retry topics: a record of one is handled when it is due, a delay after it was written.
//!
//! All that is read behind a record which is not due waits at least as long, or nearly. So nothing of it is kept: the partition is paused, and
//! sought back to that record, and read on when its time has come.

use std::time::{Duration, Instant};

use offtake::{Position, TopicPartition};

use super::{Action, AssignmentId, Item, Machine, partition::Partition};
use crate::clock;

/// What the next record of a partition waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    until: Instant,
    /// With the record's own leader epoch, or none is known: where the log is another there by then, that is found out (KIP-320).
    at: Position,
    seek: Seek,
}

/// Which seek of a partition. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeekId {
    assignment: AssignmentId,
    serial: u64,
}

/// Whether the consumer has gone back to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seek {
    Asked { serial: u64 },
    Done,
    Failed,
}

/// A record whose timestamp is ahead of the clock, and when it is due all the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    timestamp: i64,
    due: Instant,
}

/// Records that one writer, or several with one clock, write one after the other are out of order by so much at most. What is more behind is of another clock.
const DISORDER_MS: i64 = 10_000;

/// A seek that failed is asked for again after this.
const SEEK_AGAIN: Duration = Duration::from_secs(1);

impl<R> Partition<R> {
    /// Of these, the records that may be handled now, and the one that is not due.
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

    /// When a record may be handled, if not at once. The clock of whoever wrote it may be ahead of this one, or this one have been set back: it waits once, and what was
    /// written after it as much longer as their timestamps say. Otherwise each would wait for the whole delay, one after the other.
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

    /// Whether what comes from this offset on is to be read again later.
    pub(super) fn waits_at(&self, offset: i64) -> bool {
        self.wait.is_some_and(|wait| offset >= wait.at.offset)
    }
}

impl<R: Clone> Machine<R> {
    /// The next record of a partition is not due.
    pub(super) fn wait_until(&mut self, id: AssignmentId, until: Instant, at: Position) {
        self.end_wait(id);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.wait = Some(Wait { until, at, seek: Seek::Failed });
        self.due.insert((until, id));
        // It hands out nothing more before it is sought.
        self.balance(id);
        self.seek(id);
    }

    /// The consumer is to go back to where this partition waits.
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

    /// Whether a seek is still wanted: its partition may be gone, or be to go elsewhere by now.
    pub(crate) fn wants_seek(&self, SeekId { assignment, serial }: SeekId) -> bool {
        let wait = self.partitions.get(&assignment).and_then(|partition| partition.wait);
        wait.is_some_and(|wait| wait.seek == Seek::Asked { serial })
    }

    /// The consumer has gone back to a record, or could not. If it is to go elsewhere since, that says nothing.
    pub(crate) fn seek_ended(&mut self, SeekId { assignment, serial }: SeekId, is_done: bool) {
        let wait = self.partitions.get_mut(&assignment).and_then(|partition| partition.wait.as_mut());
        if let Some(wait) = wait.filter(|wait| wait.seek == Seek::Asked { serial }) {
            wait.seek = if is_done { Seek::Done } else { Seek::Failed };
        }
    }

    /// Goes on with partitions whose next record is due, once they are where it is.
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

    /// The log of a partition goes on at another offset: what is there says itself whether it is due.
    pub(super) fn end_wait(&mut self, id: AssignmentId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.waited_for = None;
        if let Some(wait) = partition.wait.take() {
            self.due.remove(&(wait.until, id));
        }
    }

    /// What was read from this offset on comes again, or another log does: what waits there goes on at `to`.
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
        // A seek that is on its way may come behind the cut, and lead away from where the log goes on.
        wait.at = Position::at(to);
        self.seek(id);
    }
}
