//! What a worker decides: which record is handled when, what becomes of it, what is paused, what may be committed. Sans-IO.
//!
//! Drive it: change it (`assigned`, `received`, `job_ended`, …), then carry out `poll_action` until `None`, and ask `poll_timeout` when to call
//! `advance`. What is to be committed is asked for (`take_commit`) when `is_commit_due`, and before partitions are given up.
//!
//! Always true:
//! - an offset is committed only when each record before it is handled or its dead letter acknowledged;
//! - of a lane one job runs at a time, and its first record is handled again before the next one is;
//! - what belongs to an assignment that is over changes nothing: jobs and letters carry its id, which is used once;
//! - so many jobs run at most as `concurrency` says, and records wait as `queue` says, plus what one poll brings.
//!
//! `room.rs` decides about pauses, `outcome.rs` what becomes of a record, `breaker.rs` when not to try, `due.rs` what a retry topic waits for;
//! `effects.rs` has what transactions write.

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
    outcome::{Cause, Letter, LetterTicket, LetterTo, Results, Verdict},
};
use crate::{Event, Metrics, worker::Options};

/// One assignment of one partition. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AssignmentId(u64);

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action<R> {
    Start(Job<R>),
    /// Nothing that comes of it counts any more.
    Cancel(JobId),
    /// Hand out nothing more of these, or again.
    SetPaused {
        partitions: Vec<TopicPartition>,
        is_paused: bool,
    },
    /// Read on from here, as the record there is not due; it is told how that [ended](Machine::seek_ended).
    Seek {
        seek: SeekId,
        partition: TopicPartition,
        to: Position,
    },
    /// Write the record to the dead letters, or to a retry topic.
    Write {
        letter: LetterTicket,
        record: R,
    },
    Tell(Event),
    /// A handler said that nothing can be handled: the worker ends.
    Fatal {
        partition: TopicPartition,
        offset: i64,
        reason: String,
    },
}

/// Whether anything new begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    Stopping,
}

#[derive(Debug)]
pub(crate) struct Machine<R> {
    options: Options,
    /// Records in one job at most.
    batch: usize,
    has_dead_letters: bool,
    /// Whose offsets are committed.
    group: String,
    mode: Mode,
    /// Whether its partitions are known to be this member's.
    is_owner: bool,
    partitions: BTreeMap<AssignmentId, Partition<R>>,
    by_name: BTreeMap<TopicPartition, AssignmentId>,
    /// Partitions with lanes in line for a handler, in turn.
    rotation: VecDeque<AssignmentId>,
    /// Lanes that wait for another attempt.
    waiting: BTreeSet<(Instant, AssignmentId, usize)>,
    /// Partitions of retry topics whose next record is not due.
    due: BTreeSet<(Instant, AssignmentId)>,
    /// Jobs at a handler, those that were cancelled and have not ended yet among them.
    jobs: usize,
    /// Those, and of which partition: nothing of it begins before they have ended, for their handlers may still be at it.
    ending: BTreeMap<JobId, TopicPartition>,
    breaker: Option<BreakerMachine>,
    /// The job that the breaker let through while it is half-open.
    probe: Option<JobId>,
    room: Room,
    actions: VecDeque<Action<R>>,
    next_id: u64,
    random: Random,
    last_commit: Instant,
    /// Whether there is something to commit that no commit has.
    has_news: bool,
    /// Whether a commit is on its way.
    is_committing: bool,
    /// How much finished records leave behind that no transaction has committed.
    kept: usize,
    /// So much of that goes into one transaction at most, where less can be committed alone.
    effects_at_once: usize,
    /// The first partition of which the last transaction could not have all for that. The next one begins with it.
    left_out: Option<AssignmentId>,
    commit_from: AssignmentId,
    /// Transactions that were aborted, the last ones.
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

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action<R>> {
        self.actions.pop_front().or_else(|| self.next_job(now).map(Action::Start))
    }

    /// When to [`advance`](Self::advance), at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let retry = match self.mode {
            Mode::Running => self.waiting.first().map(|(until, ..)| *until),
            Mode::Stopping => None,
        };
        let breaker = self.breaker.as_ref().and_then(BreakerMachine::timeout);
        let due = self.due.first().map(|(until, _)| *until);
        [retry, due, breaker, self.commit_timeout()].into_iter().flatten().min()
    }

    /// Whether its partitions are known to be this member's. While they are not, nothing begins.
    pub(crate) fn owns(&mut self, is_owner: bool) {
        self.is_owner = is_owner;
    }

    /// Whether it has any.
    pub(crate) fn has_partitions(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// The clock has gone on.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some((until, id, lane)) = self.waiting.first().copied().filter(|(until, ..)| *until <= now)
        {
            self.waiting.remove(&(until, id, lane));
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.go_on(lane);
                self.line_up(id);
            }
        }
        self.advance_due(now);
        self.with_breaker(|breaker| breaker.advance(now));
    }

    /// Nothing new begins from here on.
    pub(crate) fn stop(&mut self) {
        self.mode = Mode::Stopping;
        self.waiting.clear();
        self.balance_all();
    }

    /// Everything at a handler is cancelled.
    pub(crate) fn cancel_all(&mut self) {
        let ids: Vec<_> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cancel_jobs(id));
    }

    /// Whether nothing is at a handler or on its way to the dead letters.
    pub(crate) fn is_idle(&self) -> bool {
        self.partitions.values().all(Partition::is_idle)
    }

    /// Whether nothing is at a handler but what was cancelled.
    pub(crate) fn has_no_jobs(&self) -> bool {
        self.jobs == self.ending.len()
    }

    /// Whether all that was cancelled of these has ended.
    pub(crate) fn have_ended(&self, names: &[TopicPartition]) -> bool {
        self.ending.values().all(|name| !names.contains(name))
    }

    /// The same for these.
    pub(crate) fn are_idle(&self, names: &[TopicPartition]) -> bool {
        let idle = |name| {
            self.by_name.get(name).and_then(|id| self.partitions.get(id)).is_none_or(Partition::is_idle)
        };
        names.iter().all(idle)
    }

    /// The next records for a handler, if there is a place and something to do.
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

    /// A probe with a record that has failed before says little: one that never has is tried first, whichever partition it is of.
    fn fresh_first(&mut self) {
        let is_fresh = |id: &AssignmentId| {
            self.partitions.get(id).is_some_and(|partition| partition.is_active() && partition.has_fresh())
        };
        if let Some(at) = self.rotation.iter().position(is_fresh) {
            self.rotation.rotate_left(at);
        }
    }

    /// A partition with lanes in line gets in line itself.
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

    /// Changes the breaker, if there is one, and tells when it has another state.
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

    /// In figures, as of now.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        metrics.queued = self.room.queued();
        metrics.queued_bytes = self.room.queued_bytes();
        metrics.waiting_for_retry = self.waiting.len();
        metrics.writing_dead_letters = self.partitions.values().map(|partition| partition.writing).sum();
        metrics.breaker = self.breaker.as_ref().map(BreakerMachine::state).unwrap_or_default();
        metrics.partitions =
            self.partitions.values().map(|partition| (partition.name.clone(), partition.metrics())).collect();
        metrics
    }
}

/// Numbers that look random, from a seed: SplitMix64.
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

    /// Below this, and 0 where that is 0.
    #[cfg(test)]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}
