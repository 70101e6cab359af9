//! [`Health`]: failures in a row, how long to wait after each, and when to speak of them.

use std::time::{Duration, Instant};

use offtake_machine::{Backoff, BackoffConfig};

use crate::event::{Event, Outbox};

/// Failures in a row that make a Trouble.
const REPORT_AFTER: u32 = 3;

#[derive(Clone, Debug)]
pub(crate) struct Health {
    backoff: Backoff,
    is_failing: bool,
}

impl Health {
    pub(crate) fn new(config: BackoffConfig, seed: u64) -> Self {
        Self { backoff: Backoff::new(config, seed), is_failing: false }
    }

    /// Failures since something last worked.
    pub(crate) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether a Trouble has been told and no Recovered.
    #[cfg(feature = "_model")]
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// When to try again. Told once, when it has failed a few times.
    pub(crate) fn on_failure(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        what: impl FnOnce() -> String,
    ) -> Instant {
        let wait = self.backoff.next_wait();
        if self.failures() >= REPORT_AFTER && !std::mem::replace(&mut self.is_failing, true) {
            outbox.push(Event::CoordinatorFailing(what()));
        }
        now + wait
    }

    /// When to try again what has to be begun anew: at once the first time, then ever later, so that a coordinator of firm
    /// opinion is not asked in a loop. Told once, when that has happened a few times (FAILURES F13).
    pub(crate) fn on_restart(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        what: impl FnOnce() -> String,
    ) -> Instant {
        let first = self.failures() == 0;
        let later = self.on_failure(now, outbox, what);
        if first { now } else { later }
    }

    /// The same of what is nobody's failure: a group may begin one rebalance after another.
    pub(crate) fn on_rebalance(&mut self, now: Instant) -> Instant {
        let first = self.failures() == 0;
        let wait = self.backoff.next_wait();
        now + if first { Duration::ZERO } else { wait }
    }

    pub(crate) fn on_success(&mut self, outbox: &mut Outbox) {
        self.backoff.reset();
        if std::mem::take(&mut self.is_failing) {
            outbox.push(Event::CoordinatorRecovered);
        }
    }
}
