//! Partitions are assigned, deliver records, and are given up.

use std::{collections::BTreeSet, time::Instant};

use offtake::TopicPartition;

use super::{
    Action, AssignmentId, FinishedBeyond, Item, JobId, Machine, Mode, PartitionCommit,
    lane::LaneState,
    partition::{Log, Partition, Pauses, Phase},
    tracker::Tracker,
};
use crate::StoppedPartition;

impl<R: Clone> Machine<R> {
    /// Adds partitions assigned to this member. None of their records begins before the partition is [`loaded`](Self::loaded).
    pub(crate) fn assigned(&mut self, names: &[TopicPartition]) -> Vec<(AssignmentId, TopicPartition)> {
        self.removed(names);
        let mut assigned = Vec::with_capacity(names.len());
        for name in names {
            let is_moving = self.options.retry.topic_index(name.topic.as_str()).is_some();
            assigned.push((self.begin(name, Pauses { is_moving, ..Pauses::default() }), name.clone()));
        }
        // The shares are smaller now.
        if self.room.is_scarce() {
            self.look_at_all_lanes();
        }
        assigned
    }

    fn begin(&mut self, name: &TopicPartition, pauses: Pauses) -> AssignmentId {
        let id = AssignmentId(self.next_id);
        self.next_id += 1;
        self.by_name.insert(name.clone(), id);
        let mut partition = Partition::new(name.clone());
        partition.pauses = Pauses { room: self.room.is_scarce(), ..pauses };
        self.partitions.insert(id, partition);
        self.balance(id);
        id
    }

    /// Forgets everything read from the partitions of commits whose outcome is unknown. All of them begin again, except those
    /// being handed over; each is returned with its former start, or what was committed since.
    pub(crate) fn start_over(
        &mut self,
        commits: &[PartitionCommit],
    ) -> Vec<(AssignmentId, TopicPartition, Option<i64>)> {
        let mut begun = Vec::new();
        for PartitionCommit { id, name, .. } in commits {
            let Some(partition) = self.partitions.get(id) else { continue };
            let goes_on = self.mode == Mode::Running && !matches!(partition.phase, Phase::Revoking);
            let (base, is_paused) = (partition.commits.base, partition.pauses.is_paused);
            self.removed(std::slice::from_ref(name));
            if goes_on {
                let pauses = Pauses { is_moving: true, is_paused, ..Pauses::default() };
                begun.push((self.begin(name, pauses), name.clone(), base));
            }
        }
        begun
    }

    /// Notes that this offset of a partition is committed.
    pub(crate) fn committed_at(&mut self, id: AssignmentId, offset: i64, epoch: Option<i32>) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            // If the log was cut meanwhile, it is known better.
            partition.commits.before.get_or_insert((offset, epoch));
        }
    }

    /// Whether it is still unknown which records of a partition were finished before.
    pub(crate) fn is_loading(&self, name: &TopicPartition) -> bool {
        let partition = self.by_name.get(name).and_then(|id| self.partitions.get(id));
        partition.is_some_and(|partition| matches!(partition.phase, Phase::Loading { .. }))
    }

    /// Marks a partition whose position is being moved. Nothing more of it is accepted before it is [there](Self::loaded).
    pub(crate) fn begin_move(&mut self, name: &TopicPartition) -> Option<AssignmentId> {
        let id = self.by_name.get(name).copied()?;
        self.partitions.get_mut(&id)?.pauses.is_moving = true;
        self.balance(id);
        Some(id)
    }

    /// Stores which records beyond the committed offset of a partition are finished, or that this is unknown.
    pub(crate) fn loaded(&mut self, now: Instant, id: AssignmentId, before: Option<FinishedBeyond>) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if !matches!(partition.phase, Phase::Loading { .. }) {
            partition.pauses.is_moving = false;
            return self.balance(id);
        }
        let Phase::Loading { items, next, log } = std::mem::replace(&mut partition.phase, Phase::Active)
        else {
            return;
        };
        partition.pauses.is_moving = false;
        // Records that arrived in the meantime may show that this is about another log.
        partition.before = before.filter(|_| log == Log::AsCommitted);
        let (count, bytes) = (items.len(), items.iter().map(|item| item.bytes).sum());
        self.enter(now, id, items, next);
        // Only now, or the queue would seem to have room in between.
        self.leave_queue(id, count, bytes);
        self.balance(id);
    }

    /// Accepts records of a partition, in order; `next` is the position behind them. When everything from a poll was passed on,
    /// [`look_at_room`](Self::look_at_room) draws the consequences.
    pub(crate) fn received(&mut self, now: Instant, name: &TopicPartition, items: Vec<Item<R>>, next: i64) {
        let Some(id) = self.by_name.get(name).copied() else { return };
        self.metrics.received += items.len() as u64;
        let Some(first) = items.first().map(|item| item.offset) else { return };
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let received = match &partition.phase {
            Phase::Revoking | Phase::Stopped(_) => return,
            Phase::Loading { next, .. } => *next,
            Phase::Active => partition.tracker.as_ref().map_or(i64::MIN, |tracker| tracker.received()),
        };
        if first < received {
            self.rewound(name, first);
        }
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        match &mut partition.phase {
            Phase::Loading { items: waiting, next: waiting_next, .. } => {
                let (count, bytes) = (items.len(), items.iter().map(|item| item.bytes).sum());
                waiting.extend(items);
                *waiting_next = next;
                self.enter_queue(id, count, bytes);
            }
            Phase::Active => self.enter(now, id, items, next),
            Phase::Revoking | Phase::Stopped(_) => {}
        }
    }

    fn enter(&mut self, now: Instant, id: AssignmentId, mut items: Vec<Item<R>>, next: i64) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if items.first().is_some_and(|first| partition.waits_at(first.offset)) {
            return;
        }
        let wait = partition.split_due(now, &mut items);
        let next = wait.map_or(next, |(_, at)| at.offset);
        for item in items {
            let Some(partition) = self.partitions.get_mut(&id) else { return };
            let bytes = item.bytes;
            match partition.enter(item, self.options.order, now) {
                Some(lane) => {
                    self.enter_queue(id, 1, bytes);
                    self.lane_grew(id, lane);
                }
                None => {
                    self.metrics.skipped += 1;
                    self.has_news = true;
                }
            }
        }
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.pass(next);
            self.has_news = true;
        }
        if let Some((until, at)) = wait {
            self.wait_until(id, until, at);
        }
        self.line_up(id);
    }

    /// Notes that the log of a partition was truncated at this offset, or that another log begins there. Records from there on
    /// are new.
    pub(crate) fn rewound(&mut self, name: &TopicPartition, to: i64) {
        self.rewind(name, to, to);
    }

    /// Notes the leader epoch that ends where the log was cut, after that: a commit of that offset has it.
    pub(crate) fn ends_with(&mut self, name: &TopicPartition, epoch: i32, at: i64) {
        let id = self.by_name.get(name);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.ends_with(epoch, at);
        }
    }

    /// Discards everything read from this offset on; reading continues at `to`.
    fn rewind(&mut self, name: &TopicPartition, from: i64, to: i64) {
        let Some(id) = self.by_name.get(name).copied() else { return };
        self.cancel_jobs(id);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.is_active() {
            // Cancelled records that are still there are tried again.
            for index in partition.lanes.indexes() {
                if let Some(lane) =
                    partition.lanes.get_mut(index).filter(|lane| lane.state == LaneState::Held)
                {
                    lane.state = LaneState::Ready;
                }
            }
        }
        let (count, bytes) = partition.rewind(from);
        self.rewind_wait(id, from, to);
        self.forget_effects(id, from);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let lanes = &partition.lanes;
        let waits =
            |lane: usize| lanes.get(lane).is_some_and(|lane| matches!(lane.state, LaneState::Waiting));
        self.waiting.retain(|(_, of, lane)| *of != id || waits(*lane));
        partition.pauses.lane = None;
        self.leave_queue(id, count, bytes);
        self.look_at_lanes(id);
        self.drop_what_is_over(id);
        self.has_news = true;
        self.line_up(id);
        self.balance(id);
    }

    /// Notes the start of a partition that has no records yet, if it differs from the committed offset. The start is then
    /// committed, as consumers with automatic commits do. Otherwise records that arrive while no member reads could be skipped by
    /// another reset to the end, and the next owner could begin behind the cut of a log.
    pub(crate) fn begins_at(&mut self, name: &TopicPartition, offset: i64) {
        let id = self.by_name.get(name);
        let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) else { return };
        let waits = matches!(&partition.phase, Phase::Loading { items, .. } if !items.is_empty());
        if partition.tracker.is_none() && !waits {
            partition.tracker = Some(Tracker::starting_at(offset));
            (partition.commits.base, partition.commits.is_first) = (Some(offset), true);
            partition.commits.before = None;
            partition.commits.changes += 1;
            self.has_news = true;
        }
    }

    /// Notes that the position of a partition was reset, though not backwards: the records finished before this assignment may be
    /// of another log.
    pub(crate) fn position_reset(&mut self, name: &TopicPartition) {
        let id = self.by_name.get(name);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.log_changed();
        }
    }

    /// Notes that the log of a partition was cut behind `from`, and is read further ahead at `to`: the records in between are
    /// gone. The new position is committed, or else records that arrive before the next commit could be skipped by another reset
    /// to the end.
    pub(crate) fn moved_ahead(&mut self, name: &TopicPartition, from: i64, to: i64) {
        self.position_reset(name);
        let id = self.by_name.get(name);
        let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) else { return };
        // The partition's position is about to be moved, and there may still be records at the new position.
        if partition.pauses.is_moving || partition.waits_at(from) {
            return;
        }
        match (&mut partition.phase, &mut partition.tracker) {
            (Phase::Revoking | Phase::Stopped(_), _) => {}
            (Phase::Loading { items, next, .. }, _) if !items.is_empty() => *next = to.max(*next),
            (Phase::Loading { .. } | Phase::Active, None) => self.begins_at(name, to),
            (Phase::Loading { .. } | Phase::Active, Some(tracker)) => {
                tracker.skip(to);
                partition.commits.changes += 1;
                self.has_news = true;
            }
        }
    }

    /// Notes that a partition has a new log, read from this offset on: nothing read before counts, whatever its offset.
    pub(crate) fn log_replaced(&mut self, name: &TopicPartition, to: i64) {
        self.rewind(name, i64::MIN, to);
        let id = self.by_name.get(name);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.tracker = None;
        }
    }

    /// Marks partitions as being handed over: nothing more of them begins, and waiting records are left for the next owner.
    pub(crate) fn revoking(&mut self, names: &[TopicPartition]) {
        for name in names {
            let Some(id) = self.by_name.get(name).copied() else { continue };
            self.drop_queued(id);
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.phase = Phase::Revoking;
            }
        }
    }

    /// Cancels the running handlers of these partitions.
    pub(crate) fn cancel(&mut self, names: &[TopicPartition]) {
        for name in names {
            if let Some(id) = self.by_name.get(name).copied() {
                self.cancel_jobs(id);
            }
        }
    }

    /// Removes partitions. Their handlers are cancelled, and the results do not count.
    pub(crate) fn removed(&mut self, names: &[TopicPartition]) {
        for name in names {
            let Some(id) = self.by_name.remove(name) else { continue };
            // Nothing more is said of its pauses: it may begin again as it is.
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.phase = Phase::Revoking;
            }
            self.cancel_jobs(id);
            self.waiting.retain(|(_, of, _)| *of != id);
            self.end_wait(id);
            self.forget_effects(id, i64::MIN);
            if let Some(partition) = self.partitions.remove(&id) {
                self.room_of_removed(&partition);
            }
        }
    }

    /// The partitions that stopped.
    pub(crate) fn stopped(&self) -> Vec<StoppedPartition> {
        self.partitions.values().filter_map(Partition::stopped).cloned().collect()
    }

    /// Notes that nothing more of a partition can be read. Records already received go on.
    pub(crate) fn unreadable(&mut self, stopped: StoppedPartition) {
        let id = self.by_name.get(&stopped.partition);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.unreadable = Some(stopped.clone());
        }
        self.tell(crate::Event::Stopped(stopped));
    }

    /// Stops a partition. Its running handlers may end; waiting records are dropped, because none of them will begin.
    pub(crate) fn stop_partition(&mut self, stopped: StoppedPartition) {
        let Some(id) = self.by_name.get(&stopped.partition).copied() else { return };
        let Some(partition) = self.partitions.get(&id) else { return };
        if matches!(partition.phase, Phase::Revoking | Phase::Stopped(_)) {
            return;
        }
        self.drop_queued(id);
        self.end_wait(id);
        if let Some(offset) = stopped.offset {
            self.commit_none_from(id, offset);
        }
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.phase = Phase::Stopped(stopped.clone());
        }
        self.tell(crate::Event::Stopped(stopped));
        self.balance(id);
    }

    pub(super) fn drop_queued(&mut self, id: AssignmentId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (count, bytes, lowest) = partition.drop_queued();
        partition.pauses.lane = None;
        self.waiting.retain(|(_, of, _)| *of != id);
        self.leave_queue(id, count, bytes);
        if let Some(lowest) = lowest {
            self.commit_none_from(id, lowest);
        }
    }

    /// Cancels the running handlers of this partition; that does not count as attempts. The records wait, and are not queued for
    /// a handler. Each job is reported as [ended](Self::job_ended) when its handler is.
    pub(super) fn cancel_jobs(&mut self, id: AssignmentId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (mut jobs, mut count, mut bytes) = (BTreeSet::new(), 0, 0);
        for index in partition.lanes.indexes() {
            let Some(lane) = partition.lanes.get_mut(index) else { continue };
            if let LaneState::Running { job, count: running } = lane.state {
                jobs.insert(job);
                count += running;
                bytes += lane.records.iter().take(running).map(|entry| entry.bytes).sum::<usize>();
                lane.state = LaneState::Held;
            }
        }
        partition.running = 0;
        let name = partition.name.clone();
        self.metrics.running = self.metrics.running.saturating_sub(count);
        self.metrics.cancelled += count as u64;
        self.enter_queue(id, count, bytes);
        for serial in jobs {
            let job = JobId { assignment: id, serial };
            if self.probe.take_if(|probe| *probe == job).is_some() {
                self.with_breaker(|breaker| breaker.probe_cancelled());
            }
            self.ending.insert(job, name.clone());
            self.actions.push_back(Action::Cancel(job));
        }
    }
}
