//! The decisions of a worker: when a record is handled, what follows from the result, which partitions are paused, what may be
//! committed. Sans-IO.
//!
//! To drive it, call one of its methods (`assigned`, `received`, `job_ended`, …), then carry out `poll_action` until `None`, and
//! call `advance` at `poll_timeout`. Commits are taken (`take_commit`) when `is_commit_due`, and before partitions are given up.
//!
//! Always true:
//! - an offset is committed only when each record before it is handled or its dead letter acknowledged;
//! - one job runs at a time in a lane, and the first record of a lane is retried before the next one begins;
//! - events of an assignment that has ended change nothing: jobs and letters carry its id, which is used once;
//! - at most `concurrency` jobs run, and at most `queue` records wait, plus those of one poll.
//!
//! `room.rs` decides on pauses, `outcome.rs` on the consequences of a handler's result, `breaker.rs` on when not to try, `due.rs`
//! on waits in retry topics; `effects.rs` has the contents of transactions.

mod assignment;
mod breaker;
mod commit;
mod due;
mod effects;
mod job;
mod lane;
mod metadata;
mod outcome;
mod partition;
mod room;
mod tracker;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use offtake::{Position, TopicPartition};

use self::{
    breaker::{BreakerMachine, Permit},
    partition::{Partition, Taken},
    room::Room,
};
pub(crate) use self::{
    commit::PartitionCommit,
    due::SeekId,
    effects::{Effect, EffectId, Written},
    job::{Before, Due, Item, Job, JobId, JobTicket, Started},
    metadata::{CommittedOffset, FinishedBeyond},
    outcome::{
        Cause, DeadLetter, DeadLetterTarget, DeadLetterTicket, HandlerResult, Results, may_be_written_later,
    },
};
use crate::{Event, Metrics, worker::Options};

/// The id of one assignment of one partition. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AssignmentId(u64);

/// An action to be carried out.
#[derive(Debug)]
pub(crate) enum Action<R> {
    Start(Job<R>),
    /// The result of this job no longer counts.
    Cancel(JobId),
    /// Pause or resume these partitions.
    SetPaused {
        partitions: Vec<TopicPartition>,
        is_paused: bool,
    },
    /// Seek to this position, because the record there is not due. The result is reported to [`seek_ended`](Machine::seek_ended).
    Seek {
        seek: SeekId,
        partition: TopicPartition,
        to: Position,
    },
    /// Write the record to the dead letters, or to a retry topic.
    Write {
        letter: DeadLetterTicket,
        record: R,
    },
    Tell(Event),
    /// A handler failed fatally: the worker ends.
    Fatal {
        partition: TopicPartition,
        offset: i64,
        reason: String,
    },
}

/// Whether new jobs may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    Stopping,
}

#[derive(Debug)]
pub(crate) struct Machine<R> {
    options: Options,
    /// The most records in one job.
    batch: usize,
    has_dead_letters: bool,
    /// The group whose offsets are committed.
    group: String,
    mode: Mode,
    /// Whether this member is known to still own its partitions.
    is_owner: bool,
    partitions: BTreeMap<AssignmentId, Partition<R>>,
    by_name: BTreeMap<TopicPartition, AssignmentId>,
    /// Partitions with lanes queued for a handler, in turn.
    rotation: VecDeque<AssignmentId>,
    /// Lanes whose first record waits for another attempt, or its letter to be written again.
    waiting: BTreeSet<(Instant, AssignmentId, usize)>,
    /// Partitions of retry topics whose next record is not due.
    due: BTreeSet<(Instant, AssignmentId)>,
    /// The number of jobs at a handler, including cancelled ones that have not ended yet.
    jobs: usize,
    /// Those cancelled jobs, with their partitions. Nothing of such a partition begins before they have ended, because their
    /// handlers may still be working.
    ending: BTreeMap<JobId, TopicPartition>,
    breaker: Option<BreakerMachine>,
    /// The job that the half-open breaker let through.
    probe: Option<JobId>,
    room: Room,
    actions: VecDeque<Action<R>>,
    next_id: u64,
    random: Random,
    last_commit: Instant,
    /// Whether there is something to commit that no commit contains.
    has_news: bool,
    /// Whether a commit is in flight.
    is_committing: bool,
    /// The number of effects that no transaction has committed.
    kept: usize,
    /// The most effects in one transaction, where less can be committed on its own.
    effects_at_once: usize,
    /// The first partition that the last transaction left out for want of space. The next one begins with it.
    left_out: Option<AssignmentId>,
    commit_from: AssignmentId,
    /// The number of transactions aborted in a row.
    aborted_in_a_row: u32,
    commit_not_before: Instant,
    metrics: Metrics,
}

impl<R: Clone> Machine<R> {
    pub(crate) fn new(
        now: Instant,
        options: Options,
        batch: usize,
        has_dead_letters: bool,
        group: String,
        seed: u64,
    ) -> Self {
        Self {
            room: Room::new(options.queue, options.queue_bytes),
            breaker: options.breaker.clone().map(BreakerMachine::new),
            options,
            batch,
            has_dead_letters,
            group,
            mode: Mode::Running,
            is_owner: true,
            partitions: BTreeMap::new(),
            by_name: BTreeMap::new(),
            rotation: VecDeque::new(),
            waiting: BTreeSet::new(),
            due: BTreeSet::new(),
            jobs: 0,
            ending: BTreeMap::new(),
            probe: None,
            actions: VecDeque::new(),
            next_id: 0,
            random: Random::new(seed),
            last_commit: now,
            has_news: false,
            is_committing: false,
            kept: 0,
            effects_at_once: usize::MAX,
            left_out: None,
            commit_from: AssignmentId(0),
            aborted_in_a_row: 0,
            commit_not_before: now,
            metrics: Metrics::default(),
        }
    }

    /// The next action.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action<R>> {
        self.actions.pop_front().or_else(|| self.next_job(now).map(Action::Start))
    }

    /// When [`advance`](Self::advance) must be called at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let retry = match self.mode {
            Mode::Running => self.waiting.first().map(|(until, ..)| *until),
            Mode::Stopping => None,
        };
        let breaker = self.breaker.as_ref().and_then(BreakerMachine::timeout);
        let due = self.due.first().map(|(until, _)| *until);
        [retry, due, breaker, self.commit_timeout()].into_iter().flatten().min()
    }

    /// Sets whether this member is known to still own its partitions. While it is not, nothing begins.
    pub(crate) fn owns(&mut self, is_owner: bool) {
        self.is_owner = is_owner;
    }

    /// Whether there are any partitions.
    pub(crate) fn has_partitions(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// Advances the clock.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some((until, id, lane)) = self.waiting.first().copied().filter(|(until, ..)| *until <= now)
        {
            self.waiting.remove(&(until, id, lane));
            self.lane_waited(now, id, lane);
        }
        self.advance_due(now);
        self.with_breaker(|breaker| breaker.advance(now));
    }

    /// Starts nothing new from now on.
    pub(crate) fn stop(&mut self) {
        self.mode = Mode::Stopping;
        self.waiting.clear();
        self.balance_all();
    }

    /// Cancels all running handlers.
    pub(crate) fn cancel_all(&mut self) {
        let ids: Vec<_> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cancel_jobs(id));
    }

    /// Whether nothing is at a handler and no letter is being written.
    pub(crate) fn is_idle(&self) -> bool {
        self.partitions.values().all(Partition::is_idle)
    }

    /// Whether only cancelled jobs are still at a handler.
    pub(crate) fn has_no_jobs(&self) -> bool {
        self.jobs == self.ending.len()
    }

    /// Whether all cancelled jobs of these partitions have ended.
    pub(crate) fn have_ended(&self, names: &[TopicPartition]) -> bool {
        self.ending.values().all(|name| !names.contains(name))
    }

    /// Whether nothing of these partitions is at a handler.
    pub(crate) fn run_nothing(&self, names: &[TopicPartition]) -> bool {
        let partitions = names.iter().filter_map(|name| self.partitions.get(self.by_name.get(name)?));
        partitions.into_iter().all(|partition| partition.running == 0)
    }

    /// Whether these partitions are idle.
    pub(crate) fn are_idle(&self, names: &[TopicPartition]) -> bool {
        let idle = |name| {
            self.by_name.get(name).and_then(|id| self.partitions.get(id)).is_none_or(Partition::is_idle)
        };
        names.iter().all(idle)
    }

    /// The next records for a handler, if a job may begin and there is something to do.
    fn next_job(&mut self, now: Instant) -> Option<Job<R>> {
        if self.mode == Mode::Stopping || !self.is_owner || self.jobs >= self.options.concurrency {
            return None;
        }
        let permit = self.breaker.as_ref().map_or(Permit::Attempt, BreakerMachine::permit);
        let most = match permit {
            Permit::Attempt => self.batch,
            Permit::Probe => 1,
            Permit::Nothing => return None,
        };
        if permit == Permit::Probe {
            self.fresh_first();
        }
        while let Some(id) = self.rotation.pop_front() {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            partition.is_in_rotation = false;
            if !partition.is_active() || self.ending.values().any(|name| *name == partition.name) {
                continue;
            }
            let serial = self.next_id;
            let is_probe = permit == Permit::Probe;
            let Taken { records, lanes, bytes } =
                partition.take(serial, most, (is_probe, self.options.retry.attempts), |queued| {
                    self.metrics.queue_time.record(now.saturating_duration_since(queued));
                });
            self.line_up(id);
            if records.is_empty() {
                continue;
            }
            let job = JobId { assignment: id, serial };
            self.next_id += 1;
            self.jobs += 1;
            self.metrics.running += records.len();
            if is_probe && let Some(breaker) = &mut self.breaker {
                breaker.begin_probe();
                self.probe = Some(job);
            }
            self.leave_queue(id, records.len(), bytes);
            return Some(Job { id: job, records, lanes, began: now });
        }
        None
    }

    /// Puts a partition first that has a record which has never failed: a probe with a record that has failed before gives little
    /// information.
    fn fresh_first(&mut self) {
        let is_fresh = |id: &AssignmentId| {
            self.partitions.get(id).is_some_and(|partition| partition.is_active() && partition.has_fresh())
        };
        if let Some(at) = self.rotation.iter().position(is_fresh) {
            self.rotation.rotate_left(at);
        }
    }

    /// Queues a partition that has lanes queued for a handler.
    fn line_up(&mut self, id: AssignmentId) {
        if let Some(partition) = self.partitions.get_mut(&id)
            && !partition.is_in_rotation
            && partition.is_active()
            && !partition.ready.is_empty()
            && self.ending.values().all(|name| *name != partition.name)
        {
            partition.is_in_rotation = true;
            self.rotation.push_back(id);
        }
    }

    fn tell(&mut self, event: Event) {
        self.actions.push_back(Action::Tell(event));
    }

    /// Changes the breaker, if there is one, and reports a new state.
    fn with_breaker(&mut self, change: impl FnOnce(&mut BreakerMachine)) {
        let Some(breaker) = &mut self.breaker else { return };
        let before = breaker.state();
        change(breaker);
        let state = breaker.state();
        if state != before {
            self.metrics.breaker_opened += u64::from(state == crate::BreakerState::Open);
            self.tell(Event::Breaker { state });
            self.balance_all();
        }
    }

    /// The number of records that have failed and are not finished, of the partitions that have not stopped.
    pub(crate) fn count_failed_unfinished(&self) -> u64 {
        self.partitions.values().map(Partition::count_failed_unfinished).sum()
    }

    /// The metrics as of now.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        let of_each = |number: fn(&Partition<R>) -> usize| self.partitions.values().map(number).sum();
        metrics.queued = of_each(|partition| partition.queued);
        metrics.queued_bytes = of_each(|partition| partition.queued_bytes);
        let letters_that_wait = of_each(Partition::count_letters_that_wait);
        metrics.waiting_for_retry = self.waiting.len().saturating_sub(letters_that_wait);
        metrics.writing_dead_letters = of_each(|partition| partition.writing) + letters_that_wait;
        metrics.breaker = self.breaker.as_ref().map(BreakerMachine::state).unwrap_or_default();
        metrics.partitions =
            self.partitions.values().map(|partition| (partition.name.clone(), partition.metrics())).collect();
        metrics
    }
}

/// Pseudo-random numbers from a seed: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this bound, or 0 if the bound is 0.
    #[cfg(test)]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}
