//! The limits of the queue, and which partitions are paused for them.
//!
//! Three rules:
//! - The queue is full when it holds the allowed number of records or bytes. Then every partition is paused. From three quarters
//!   on, each poll that returns records pauses the partition with the largest part of the queue, to leave the rest to the others.
//! - When the queue is down to half, all of these are resumed.
//! - A lane that fills the partition's share of the queue pauses its partition, until it is down to half of that. (The share is
//!   the queue divided by the partitions, at most half of the queue; at least 8 records, or the whole queue if that is smaller.)
//!   A log can only be read in order, so that the records after those of the lane cannot be reached without reading these. In
//!   this way no key fills the whole queue, and there is no deadlock: a lane goes on whenever its first record does, and that
//!   record is in the queue already.
//!
//! Dead letters that cannot be written may wait for hours. A partition that has some, and fills its share of the queue, is paused
//! too, and what it holds is set aside: the other partitions go on. What was in the queue when letters began to fail, and a share of
//! each partition after that, is then held beside the queue.
//!
//! Likewise, if the queue becomes full, what a partition holds is set aside if it is more than its share and cannot go on: because a
//! lane has used up the share, because results wait for an unfinished record before them, or because a cancelled handler has not
//! ended. As much as the queue allows is held beside it; what is more counts. Otherwise a single record that is tried for hours could
//! stop all partitions.

use super::{
    Action, AssignmentId, Machine, Mode,
    partition::{Aside, Partition, Phase},
};
use crate::BreakerState;

#[derive(Debug)]
pub(crate) struct Room {
    most: Amount,
    queued: Amount,
    /// What partitions hold that are paused because their dead letters cannot be written.
    letters: Amount,
    /// What partitions hold that cannot go on.
    stuck: Amount,
    /// Whether partitions are paused because the queue is full.
    is_scarce: bool,
}

/// A number of records, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    records: usize,
    bytes: usize,
}

impl Amount {
    fn add(&mut self, records: usize, bytes: usize) {
        self.records = self.records.saturating_add(records);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, records: usize, bytes: usize) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The minimum share of a lane, or of a partition whose dead letters cannot be written.
const LEAST_SHARE: usize = 8;
/// The most shares that the bytes of the queue are divided into.
const MOST_SHARES_OF_BYTES: usize = 64;

impl Room {
    pub(crate) fn new(records: usize, bytes: usize) -> Self {
        let most = Amount { records, bytes };
        let none = Amount::default();
        Self { most, queued: none, letters: none, stuck: none, is_scarce: false }
    }

    /// The account of a partition, which may be set aside.
    fn account(&mut self, aside: Option<Aside>) -> &mut Amount {
        match aside {
            None => &mut self.queued,
            Some(Aside::Letters) => &mut self.letters,
            Some(Aside::Stuck) => &mut self.stuck,
        }
    }

    /// What counts: the records in the queue, and those set aside as far as they are too many.
    fn counted(&self) -> Amount {
        let mut counted = self.queued;
        counted.add(
            self.stuck.records.saturating_sub(self.most.records),
            self.stuck.bytes.saturating_sub(self.most.bytes),
        );
        counted
    }

    /// Whether partitions are paused because the queue is full. New ones are paused as well.
    pub(crate) fn is_scarce(&self) -> bool {
        self.is_scarce
    }

    fn is_full(&self) -> bool {
        let counted = self.counted();
        counted.records >= self.most.records || counted.bytes >= self.most.bytes
    }

    fn is_nearly_full(&self) -> bool {
        let (most, counted) = (self.most, self.counted());
        counted.records >= most.records - most.records / 4 || counted.bytes >= most.bytes - most.bytes / 4
    }

    fn is_half_empty(&self) -> bool {
        let counted = self.counted();
        counted.records <= self.most.records / 2 && counted.bytes <= self.most.bytes / 2
    }
}

impl<R: Clone> Machine<R> {
    /// Adds waiting records to the queue.
    pub(super) fn enter_queue(&mut self, id: AssignmentId, count: usize, bytes: usize) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.queued += count;
        partition.queued_bytes += bytes;
        self.room.account(partition.pauses.aside).add(count, bytes);
        self.look_aside(id);
    }

    /// Removes records from the queue.
    pub(super) fn leave_queue(&mut self, id: AssignmentId, count: usize, bytes: usize) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.queued = partition.queued.saturating_sub(count);
        partition.queued_bytes = partition.queued_bytes.saturating_sub(bytes);
        self.room.account(partition.pauses.aside).remove(count, bytes);
        self.look_aside(id);
        self.resume_when_half_empty();
    }

    /// Frees the room of a partition that is gone.
    pub(super) fn room_of_removed(&mut self, partition: &Partition<R>) {
        let account = self.room.account(partition.pauses.aside);
        account.remove(partition.queued, partition.queued_bytes);
        self.resume_when_half_empty();
    }

    /// Checks whether a partition has used up its share of the queue and cannot go on. Once the letters of one partition cannot be
    /// written, those of others that are being written count too. Any other reason counts only once the queue is full.
    pub(super) fn look_aside(&mut self, id: AssignmentId) {
        let (share, share_bytes) = (self.share(), self.share_of_bytes());
        let Some(partition) = self.partitions.get(&id) else { return };
        let Partition { queued, queued_bytes, unwritten, writing, .. } = *partition;
        let was = partition.pauses.aside;
        // A lane that has used up the share may have some of it at a handler.
        let is_over = match was.is_some() || partition.pauses.lane.is_some() {
            false => queued >= share || queued_bytes >= share_bytes,
            true => queued > share / 2 || queued_bytes > share_bytes / 2,
        };
        let waits_for_room = partition.pauses.room || was == Some(Aside::Stuck);
        let aside = if !is_over {
            None
        } else if unwritten > 0 || writing > 0 && self.partitions.values().any(|other| other.unwritten > 0) {
            Some(Aside::Letters)
        } else if waits_for_room && self.is_stuck(partition) {
            Some(Aside::Stuck)
        } else {
            None
        };
        let Some(partition) = self.partitions.get_mut(&id).filter(|_| aside != was) else { return };
        partition.pauses.aside = aside;
        self.room.account(was).remove(queued, queued_bytes);
        self.room.account(aside).add(queued, queued_bytes);
        self.balance(id);
        self.resume_when_half_empty();
    }

    /// The same for all partitions that are paused for want of room, once it was looked at whether their results wait.
    pub(super) fn look_at_what_has_no_room(&mut self) {
        let has_none = |partition: &Partition<R>| partition.pauses.room || partition.pauses.aside.is_some();
        let these = self.partitions.iter_mut().filter(|(_, partition)| has_none(partition));
        let ids: Vec<_> = these
            .map(|(id, partition)| {
                partition.effects_wait = partition.has_effects_that_wait();
                *id
            })
            .collect();
        ids.into_iter().for_each(|id| self.look_aside(id));
    }

    /// Whether what it holds has to wait for one record, or for a handler that does not end.
    fn is_stuck(&self, partition: &Partition<R>) -> bool {
        partition.pauses.lane.is_some()
            || partition.effects_wait
            || self.ending.values().any(|name| *name == partition.name)
    }

    /// Resumes all partitions that are paused because the queue is full, once it is not.
    fn resume_when_half_empty(&mut self) {
        if self.room.is_scarce && self.room.is_half_empty() {
            self.room.is_scarce = false;
            let halves = (self.share() / 2 + 1, self.share_of_bytes() / 2 + 1);
            let mut freed = Vec::new();
            for (id, partition) in &mut self.partitions {
                partition.pauses.room = false;
                if partition.pauses.lane.is_some_and(|lane| !partition.fills_share(lane, halves)) {
                    partition.pauses.lane = None;
                    partition.effects_wait = partition.has_effects_that_wait();
                    freed.push(*id);
                }
            }
            self.balance_all();
            freed.into_iter().for_each(|id| self.look_aside(id));
        }
    }

    /// Checks the limits after a poll that returned records.
    pub(crate) fn look_at_room(&mut self) {
        if self.is_open() {
            self.balance_all(); // there may be something to try now
        }
        if self.room.is_full() {
            self.room.is_scarce = true;
            self.partitions.values_mut().for_each(|partition| partition.pauses.room = true);
            self.balance_all();
            self.look_at_all_lanes();
        } else if self.room.is_nearly_full() {
            let most = self.room.most;
            let unpaused = self
                .partitions
                .iter_mut()
                .filter(|(_, partition)| !partition.pauses.room && partition.pauses.aside.is_none());
            // The fullest has the largest part of the queue, of its records or of its bytes.
            let part = |partition: &Partition<R>| {
                let records = partition.queued as f64 / most.records.max(1) as f64;
                records.max(partition.queued_bytes as f64 / most.bytes.max(1) as f64)
            };
            let fullest = unpaused.max_by(|(_, one), (_, other)| part(one).total_cmp(&part(other)));
            if let Some((id, partition)) = fullest {
                (self.room.is_scarce, partition.pauses.room) = (true, true);
                let id = *id;
                self.look_at_lanes(id);
                self.balance(id);
                self.look_aside(id);
            }
        }
    }

    /// Checks a lane that got a record.
    pub(super) fn lane_grew(&mut self, id: AssignmentId, lane: usize) {
        let shares = (self.share(), self.share_of_bytes());
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.pauses.lane.is_none() && partition.fills_share(lane, shares) {
            partition.pauses.lane = Some(lane);
            self.balance(id);
            self.look_aside(id);
        }
    }

    /// Checks a lane that lost records.
    pub(super) fn lane_shrank(&mut self, id: AssignmentId, lane: usize) {
        let (share, share_bytes) = (self.share(), self.share_of_bytes());
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let fills_half = partition.fills_share(lane, (share / 2 + 1, share_bytes / 2 + 1));
        if partition.pauses.lane == Some(lane) && !fills_half {
            partition.pauses.lane = None;
            self.look_at_lanes(id);
            self.balance(id);
            self.look_aside(id);
        }
    }

    /// Looks for a lane that has used up the partition's share.
    pub(super) fn look_at_lanes(&mut self, id: AssignmentId) {
        let shares = (self.share(), self.share_of_bytes());
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.pauses.lane.is_none() {
            let found = partition
                .lanes
                .iter()
                .map(|(lane, _)| lane)
                .find(|lane| partition.fills_share(*lane, shares));
            partition.pauses.lane = found;
            self.balance(id);
        }
    }

    /// The same for all partitions. What they hold is set aside, if that is why they cannot go on.
    pub(super) fn look_at_all_lanes(&mut self) {
        let ids: Vec<_> = self.partitions.keys().copied().collect();
        for id in ids {
            self.look_at_lanes(id);
            self.look_aside(id);
        }
    }

    /// The number of records of one lane that may wait.
    fn share(&self) -> usize {
        let most = self.room.most.records;
        let share = most.checked_div(self.partitions.len().max(2)).unwrap_or(most);
        share.max(LEAST_SHARE).min(most)
    }

    /// The bytes of one partition that may wait, if it cannot go on.
    fn share_of_bytes(&self) -> usize {
        let most = self.room.most.bytes;
        let share = most.checked_div(self.partitions.len().max(2)).unwrap_or(most);
        share.max(most / MOST_SHARES_OF_BYTES).max(1)
    }

    pub(super) fn is_open(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| breaker.state() == BreakerState::Open)
    }

    /// Whether attempts count.
    pub(super) fn is_closed(&self) -> bool {
        self.breaker.as_ref().is_none_or(|breaker| breaker.state() == BreakerState::Closed)
    }

    /// Whether there is a record that has never failed, for a half-open breaker to try.
    fn has_fresh(&self) -> bool {
        self.partitions.values().any(Partition::has_fresh)
    }

    /// Pauses or resumes all partitions as needed.
    pub(super) fn balance_all(&mut self) {
        let nothing_begins = self.nothing_begins();
        let ids: Vec<_> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.balance_while(id, nothing_begins));
    }

    pub(super) fn balance(&mut self, id: AssignmentId) {
        self.balance_while(id, self.nothing_begins());
    }

    /// Whether no record that is read now would begin; then nothing is read.
    fn nothing_begins(&self) -> bool {
        self.mode == Mode::Stopping || self.is_open() && self.has_fresh()
    }

    fn balance_while(&mut self, id: AssignmentId, nothing_begins: bool) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let waits = partition.wait.is_some();
        let pauses = &mut partition.pauses;
        let is_paused = match partition.phase {
            // It delivers nothing anyway.
            Phase::Revoking => return,
            Phase::Stopped(_) => true,
            Phase::Loading { .. } | Phase::Active => {
                let is_full = pauses.room || pauses.lane.is_some() || pauses.aside.is_some();
                nothing_begins || is_full || pauses.is_moving || waits
            }
        };
        if is_paused != std::mem::replace(&mut pauses.is_paused, is_paused) {
            let name = partition.name.clone();
            // Consecutive changes of the same kind become one call.
            match self.actions.back_mut() {
                Some(Action::SetPaused { partitions, is_paused: last }) if *last == is_paused => {
                    partitions.push(name);
                }
                _ => self.actions.push_back(Action::SetPaused { partitions: vec![name], is_paused }),
            }
        }
    }
}
