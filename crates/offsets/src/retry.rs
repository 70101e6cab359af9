//! One request that is repeated until it succeeds.

use std::time::{Duration, Instant};

use offtake_machine::{Backoff, BackoffConfig, BrokerId, CallId, LeaderEpoch, after};

use crate::Cause;

/// Backoffs that are equal for all partitions that fail together, so that one request does not become many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackoffSchedule {
    config: BackoffConfig,
    seed: u64,
    round: u64,
}

impl BackoffSchedule {
    pub(crate) fn new(config: BackoffConfig, seed: u64) -> Self {
        Self { config, seed, round: 0 }
    }

    /// The backoffs for the partitions of the next response.
    pub(crate) fn next_round(&mut self) -> Self {
        self.round = self.round.wrapping_add(1);
        *self
    }

    /// The wait after a failure that follows `failures` others in a row.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        let mut backoff = Backoff::new(self.config, self.seed ^ self.round.rotate_left(32));
        let mut wait = backoff.next_wait();
        // After sixteen doublings the wait is at its cap.
        for _ in 0..failures.min(16) {
            wait = backoff.next_wait();
        }
        wait
    }
}

/// The state of the attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retry {
    /// The call that is outstanding.
    pub(crate) outstanding: Option<CallId>,
    /// The earliest time of the next attempt.
    not_before: Option<Instant>,
    failures: u32,
    /// Why the last attempt failed.
    pub(crate) last_cause: Option<Cause>,
    /// The leader that was queried, or passed over, from the metadata.
    leader: Option<(BrokerId, LeaderEpoch)>,
    /// Whether a new leader in the metadata ends the wait.
    waits_for_metadata: bool,
}

impl Retry {
    /// A first attempt not before `at`.
    pub(crate) fn at(at: Option<Instant>) -> Self {
        Self { not_before: at, ..Self::default() }
    }

    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.outstanding.is_none() && self.not_before.is_none_or(|at| at <= now)
    }

    pub(crate) fn sent(&mut self, id: CallId, leader: Option<(BrokerId, LeaderEpoch)>) {
        self.outstanding = Some(id);
        self.leader = leader;
        self.waits_for_metadata = false;
    }

    /// The metadata names this leader, which is not worth asking.
    pub(crate) fn passed_over(&mut self, leader: (BrokerId, LeaderEpoch)) {
        self.leader = Some(leader);
    }

    /// The attempt failed; `waits_for_metadata` if another leader may respond.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        cause: Cause,
        backoffs: &BackoffSchedule,
        waits_for_metadata: bool,
    ) {
        self.outstanding = None;
        self.not_before = Some(after(now, backoffs.after(self.failures)));
        self.failures = self.failures.saturating_add(1);
        if matches!(cause, Cause::NoLeader | Cause::Topic(_)) {
            self.leader = None;
        }
        self.last_cause = Some(cause);
        self.waits_for_metadata = waits_for_metadata;
    }

    /// The earliest time of the next attempt, if it is not at once.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// The call was never sent, which does not count as a failure.
    pub(crate) fn withdrawn(&mut self) {
        self.outstanding = None;
    }

    /// The attempt succeeded; the next request begins afresh.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// How many attempts in a row have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Ends the wait, because something has changed.
    pub(crate) fn retry_now(&mut self) {
        if self.outstanding.is_none() {
            self.not_before = None;
        }
    }

    /// The metadata has this leader now. If it is not the one that was queried, the wait ends; returns
    /// whether it does.
    pub(crate) fn on_new_leader(&mut self, leader: (BrokerId, LeaderEpoch)) -> bool {
        let news = self.waits_for_metadata && self.outstanding.is_none() && self.leader != Some(leader);
        if news {
            self.waits_for_metadata = false;
            self.not_before = None;
        }
        news
    }

    /// When the wait ends, if that is after `drained`.
    pub(crate) fn next_wakeup(&self, drained: Instant) -> Option<Instant> {
        self.not_before.filter(|at| self.outstanding.is_none() && *at > drained)
    }
}
