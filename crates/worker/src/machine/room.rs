//! How much may wait, and which partitions are paused for it.
//!
//! Three rules:
//! - The queue is full when as many records or bytes wait as it may have. Then every partition is paused. From three quarters on, each poll that brings
//!   something pauses the partition that has most of what waits, so that others have what is left.
//! - When half of it is left, all of these are resumed.
//! - A lane that has the partition's share (the queue divided by the partitions, half of it at most; but 8 records at least, or the whole queue where that has less) pauses its partition by itself, until it has half of that. A log can only be
//!   read in order: what is behind the lane's records cannot be reached without reading them. So neither is the queue one key's, nor does anything wait
//!   for what cannot come: a lane goes on whenever its first record does, and that has a place in the queue already.

use super::{
    Action, AssignmentId, Machine, Mode,
    partition::{Partition, Phase},
};
use crate::BreakerState;

#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    most_bytes: usize,
    queued: usize,
    queued_bytes: usize,
    /// Whether partitions are paused for it.
    is_scarce: bool,
}

/// No lane's share is less.
const LEAST_SHARE: usize = 8;

impl Room {
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, queued: 0, queued_bytes: 0, is_scarce: false }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether partitions are paused for it, and new ones are to be.
    pub(crate) fn is_scarce(&self) -> bool {
        self.is_scarce
    }

    fn is_full(&self) -> bool {
        self.queued >= self.most || self.queued_bytes >= self.most_bytes
    }

    fn is_nearly_full(&self) -> bool {
        self.queued >= self.most - self.most / 4 || self.queued_bytes >= self.most_bytes - self.most_bytes / 4
    }

    fn is_half_empty(&self) -> bool {
        self.queued <= self.most / 2 && self.queued_bytes <= self.most_bytes / 2
    }
}

impl<R: Clone> Machine<R> {
    /// Records begin to wait.
    pub(super) fn enter_queue(&mut self, id: AssignmentId, count: usize, bytes: usize) {
        self.room.queued += count;
        self.room.queued_bytes += bytes;
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.queued += count;
            partition.queued_bytes += bytes;
        }
    }

    /// Records do not wait any more.
    pub(super) fn leave_queue(&mut self, id: AssignmentId, count: usize, bytes: usize) {
        self.room.queued = self.room.queued.saturating_sub(count);
        self.room.queued_bytes = self.room.queued_bytes.saturating_sub(bytes);
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.queued = partition.queued.saturating_sub(count);
            partition.queued_bytes = partition.queued_bytes.saturating_sub(bytes);
        }
        if self.room.is_scarce && self.room.is_half_empty() {
            self.room.is_scarce = false;
            self.partitions.values_mut().for_each(|partition| partition.pauses.room = false);
            self.balance_all();
        }
    }

    /// A poll has brought something.
    pub(crate) fn look_at_room(&mut self) {
        if self.is_open() {
            self.balance_all(); // there may be something to try now
        }
        if self.room.is_full() {
            self.room.is_scarce = true;
            self.partitions.values_mut().for_each(|partition| partition.pauses.room = true);
            self.balance_all();
        } else if self.room.is_nearly_full() {
            let unpaused = self.partitions.iter_mut().filter(|(_, partition)| !partition.pauses.room);
            // By what it has the most of the bound of.
            let fullest = unpaused.max_by_key(|(_, partition)| (partition.queued, partition.queued_bytes));
            if let Some((id, partition)) = fullest {
                (self.room.is_scarce, partition.pauses.room) = (true, true);
                let id = *id;
                self.balance(id);
            }
        }
    }

    /// A lane has got a record.
    pub(super) fn lane_grew(&mut self, id: AssignmentId, lane: usize) {
        let share = self.share();
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.pauses.lane.is_none()
            && partition.lanes.get(lane).is_some_and(|lane| lane.records.len() >= share)
        {
            partition.pauses.lane = Some(lane);
            self.balance(id);
        }
    }

    /// A lane has lost records.
    pub(super) fn lane_shrank(&mut self, id: AssignmentId, lane: usize) {
        let share = self.share();
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.pauses.lane == Some(lane)
            && partition.lanes.get(lane).is_none_or(|lane| lane.records.len() <= share / 2)
        {
            partition.pauses.lane = None;
            self.balance(id);
        }
    }

    /// How many records of one lane may wait.
    fn share(&self) -> usize {
        let share = self.room.most.checked_div(self.partitions.len().max(2)).unwrap_or(self.room.most);
        share.max(LEAST_SHARE).min(self.room.most)
    }

    pub(super) fn is_open(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| breaker.state() == BreakerState::Open)
    }

    /// Whether attempts count.
    pub(super) fn is_closed(&self) -> bool {
        self.breaker.as_ref().is_none_or(|breaker| breaker.state() == BreakerState::Closed)
    }

    /// Whether there is a record that has never failed, to be tried when the breaker is half-open.
    fn has_fresh(&self) -> bool {
        self.partitions.values().any(Partition::has_fresh)
    }

    /// Pauses or resumes what is to be.
    pub(super) fn balance_all(&mut self) {
        let nothing_begins = self.nothing_begins();
        let ids: Vec<_> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.balance_while(id, nothing_begins));
    }

    pub(super) fn balance(&mut self, id: AssignmentId) {
        self.balance_while(id, self.nothing_begins());
    }

    /// Whether nothing that is read now would begin: then nothing is read.
    fn nothing_begins(&self) -> bool {
        self.mode == Mode::Stopping || self.is_open() && self.has_fresh()
    }

    fn balance_while(&mut self, id: AssignmentId, nothing_begins: bool) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let waits = partition.wait.is_some();
        let pauses = &mut partition.pauses;
        let is_paused = match partition.phase {
            // It hands nothing out.
            Phase::Revoking => return,
            Phase::Stopped(_) => true,
            Phase::Loading { .. } | Phase::Active => {
                nothing_begins || pauses.room || pauses.lane.is_some() || pauses.is_elsewhere || waits
            }
        };
        if is_paused != std::mem::replace(&mut pauses.is_paused, is_paused) {
            let name = partition.name.clone();
            // Those that follow one another are one call.
            match self.actions.back_mut() {
                Some(Action::SetPaused { partitions, is_paused: last }) if *last == is_paused => {
                    partitions.push(name);
                }
                _ => self.actions.push_back(Action::SetPaused { partitions: vec![name], is_paused }),
            }
        }
    }
}
