//! One thing that is asked for until there is an answer.

use std::time::{Duration, Instant};

use offtake_machine::{Backoff, BackoffConfig, BrokerId, CallId, LeaderEpoch, after};

use crate::Cause;

/// Pauses that are alike for all that fails together, so that what was one request does not fall apart into many.
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

    /// The backoffs of the next answer.
    pub(crate) fn next_round(&mut self) -> Self {
        self.round = self.round.wrapping_add(1);
        *self
    }

    /// After so many failures in a row before this one.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        let mut backoff = Backoff::new(self.config, self.seed ^ self.round.rotate_left(32));
        let mut wait = backoff.next_wait();
        // Beyond sixteen doublings only the cap counts.
        for _ in 0..failures.min(16) {
            wait = backoff.next_wait();
        }
        wait
    }
}

/// Where the asking stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retry {
    /// On its way under this id.
    pub(crate) outstanding: Option<CallId>,
    /// Not to be asked before.
    not_before: Option<Instant>,
    failures: u32,
    /// What was wrong last.
    pub(crate) last_cause: Option<Cause>,
    /// Whom it was asked of, as the metadata had it.
    leader: Option<(BrokerId, LeaderEpoch)>,
    /// Waits for the metadata rather than for the clock.
    waits_for_metadata: bool,
}

impl Retry {
    /// Not before `at`.
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

    /// It came to nothing; `waits_for_metadata` if another leader may do better.
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

    /// It was never sent, which is no failure.
    pub(crate) fn withdrawn(&mut self) {
        self.asked = None;
    }

    /// It was answered, and the next question follows from the answer.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// How many times in a row it has failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Something changed that it may have waited for.
    pub(crate) fn retry_now(&mut self) {
        if self.outstanding.is_none() {
            self.not_before = None;
        }
    }

    /// The metadata has changed, and this is the leader now. True if it is another one than was asked.
    pub(crate) fn on_new_leader(&mut self, leader: (BrokerId, LeaderEpoch)) -> bool {
        let news = self.waits_for_metadata && self.outstanding.is_none() && self.leader != Some(leader);
        if news {
            self.waits_for_metadata = false;
            self.not_before = None;
        }
        news
    }

    /// When the pause ends, if one is what it waits for and that lies after `drained`.
    pub(crate) fn next_wakeup(&self, drained: Instant) -> Option<Instant> {
        self.not_before.filter(|at| self.outstanding.is_none() && *at > drained)
    }
}
