//! Partitions come, bring records, and go.

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
    /// Partitions were given to this member. Nothing of them begins before each is [`loaded`](Self::loaded).
    pub(crate) fn assigned(&mut self, names: &[TopicPartition]) -> Vec<(AssignmentId, TopicPartition)> {
        self.removed(names);
        let mut assigned = Vec::with_capacity(names.len());
        for name in names {
            let is_elsewhere = self.options.retry.topic_index(name.topic.as_str()).is_some();
            assigned.push((self.begin(name, Pauses { is_elsewhere, ..Pauses::default() }), name.clone()));
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

    /// Nobody knows whether these commits were made. What was read of their partitions is forgotten, and all but those that are to be handed over begin
    /// anew, each with where it began before, or what was committed since.
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
                let pauses = Pauses { is_elsewhere: true, is_paused, ..Pauses::default() };
                begun.push((self.begin(name, pauses), name.clone(), base));
            }
        }
        begun
    }

    /// This offset is committed of a partition.
    pub(crate) fn committed_at(&mut self, id: AssignmentId, offset: i64, epoch: Option<i32>) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.commits.before = Some((offset, epoch));
        }
    }

    /// Whether it is not known yet what was finished of a partition.
    pub(crate) fn is_loading(&self, name: &TopicPartition) -> bool {
        let partition = self.by_name.get(name).and_then(|id| self.partitions.get(id));
        partition.is_some_and(|partition| matches!(partition.phase, Phase::Loading { .. }))
    }

    /// A partition is sent to another place of its log, and nothing more of it is taken before it is [there](Self::loaded).
    pub(crate) fn goes_elsewhere(&mut self, name: &TopicPartition) -> Option<AssignmentId> {
        let id = self.by_name.get(name).copied()?;
        self.partitions.get_mut(&id)?.pauses.is_elsewhere = true;
        self.balance(id);
        Some(id)
    }

    /// It is known what was finished of a partition beyond its committed offset, or that nothing is known.
    pub(crate) fn loaded(&mut self, now: Instant, id: AssignmentId, before: Option<FinishedBeyond>) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if !matches!(partition.phase, Phase::Loading { .. }) {
            partition.pauses.is_elsewhere = false;
            return self.balance(id);
        }
        let Phase::Loading { items, next, log } = std::mem::replace(&mut partition.phase, Phase::Active)
        else {
            return;
        };
        partition.pauses.is_elsewhere = false;
        // What came in the meantime may say that this is of another log.
        partition.before = before.filter(|_| log == Log::AsCommitted);
        let (count, bytes) = (items.len(), items.iter().map(|item| item.bytes).sum());
        self.enter(now, id, items, next);
        // Only now, or the queue would seem to have room in between.
        self.leave_queue(id, count, bytes);
        self.balance(id);
    }

    /// Records of a partition have come, in order; `next` is where reading goes on behind them. When all that a poll has brought has been told,
    /// [`look_at_room`](Self::look_at_room) says what that means.
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

    /// The log of a partition was cut at this offset, or another one begins there: what is behind it comes again, and was never handled.
    pub(crate) fn rewound(&mut self, name: &TopicPartition, to: i64) {
        self.rewind(name, to, to);
    }

    /// What was read from this offset on does not count any more; reading goes on at `to`.
    fn rewind(&mut self, name: &TopicPartition, from: i64, to: i64) {
        let Some(id) = self.by_name.get(name).copied() else { return };
        self.cancel_jobs(id);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.is_active() {
            // What was cancelled and is still there is tried again.
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
        self.drop_what_is_over(id);
        self.has_news = true;
        self.line_up(id);
        self.balance(id);
    }

    /// A partition of which nothing has come is read from this offset on, and that is not what is committed. So it is committed, as consumers with
    /// automatic commits do it: what comes while nobody reads is not passed by another reset to the end, and who has the partition next does not begin
    /// behind the cut of a log.
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

    /// The position of a partition was reset, and not back: what was finished before this assignment may be of another log.
    pub(crate) fn position_reset(&mut self, name: &TopicPartition) {
        let id = self.by_name.get(name);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.log_changed();
        }
    }

    /// The log of a partition was cut behind `from`, and is read on at `to`, ahead of it: nothing of what lies in between comes any more. So that is committed,
    /// or what comes before the next commit would be passed by another reset to the end.
    pub(crate) fn moved_ahead(&mut self, name: &TopicPartition, from: i64, to: i64) {
        self.position_reset(name);
        let id = self.by_name.get(name);
        let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) else { return };
        // It is about to go elsewhere, where there may be records still.
        if partition.pauses.is_elsewhere || partition.waits_at(from) {
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

    /// The log of a partition is another one, and is read from this offset on: nothing that was read counts any more, whatever its offset.
    pub(crate) fn log_replaced(&mut self, name: &TopicPartition, to: i64) {
        self.rewind(name, i64::MIN, to);
        let id = self.by_name.get(name);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.tracker = None;
        }
    }

    /// Partitions are to be handed over: nothing more of them begins, and what waits is left for the next owner.
    pub(crate) fn revoking(&mut self, names: &[TopicPartition]) {
        for name in names {
            let Some(id) = self.by_name.get(name).copied() else { continue };
            self.drop_queued(id);
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.phase = Phase::Revoking;
            }
        }
    }

    /// What is at a handler of these is cancelled.
    pub(crate) fn cancel(&mut self, names: &[TopicPartition]) {
        for name in names {
            if let Some(id) = self.by_name.get(name).copied() {
                self.cancel_jobs(id);
            }
        }
    }

    /// Partitions are gone. What is at a handler is cancelled, and nothing that comes of it counts.
    pub(crate) fn removed(&mut self, names: &[TopicPartition]) {
        for name in names {
            let Some(id) = self.by_name.remove(name) else { continue };
            self.cancel_jobs(id);
            self.waiting.retain(|(_, of, _)| *of != id);
            self.end_wait(id);
            self.forget_effects(id, i64::MIN);
            if let Some(partition) = self.partitions.remove(&id) {
                self.leave_queue(id, partition.queued, partition.queued_bytes);
            }
        }
    }

    /// What goes on no more.
    pub(crate) fn stopped(&self) -> Vec<StoppedPartition> {
        self.partitions.values().filter_map(Partition::stopped).cloned().collect()
    }

    /// Nothing more of a partition can be read. What has come of it goes on.
    pub(crate) fn unreadable(&mut self, stopped: StoppedPartition) {
        let id = self.by_name.get(&stopped.partition);
        if let Some(partition) = id.and_then(|id| self.partitions.get_mut(id)) {
            partition.unreadable = Some(stopped.clone());
        }
        self.tell(crate::Event::Stopped(stopped));
    }

    /// A partition goes on no more. What of it is at a handler may end; what waits is dropped, as nothing of it will begin.
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

    /// What is at a handler of this partition is cancelled: its attempts were none. It waits, and is not in line. Each job is told as
    /// [ended](Self::job_ended) when its handler is.
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
