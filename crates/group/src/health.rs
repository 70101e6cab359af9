//! [`Health`]: failures in a row, how long to wait after each, and when to speak of them.

use std::time::{Duration, Instant};

use offtake_machine::{Backoff, BackoffConfig};

use crate::event::{Event, Outbox};

/// Failures in a row that make a Trouble.
const TROUBLE: u32 = 3;

#[derive(Clone, Debug)]
pub(crate) struct Health {
    backoff: Backoff,
    in_trouble: bool,
}

impl Health {
    pub(crate) fn new(config: BackoffConfig, seed: u64) -> Self {
        Self { backoff: Backoff::new(config, seed), in_trouble: false }
    }

    /// Failures since something last worked.
    pub(crate) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether a Trouble has been told and no Recovered.
    #[cfg(feature = "_model")]
    pub(crate) fn in_trouble(&self) -> bool {
        self.in_trouble
    }

    /// When to try again. Told once, when it has failed a few times.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        what: impl FnOnce() -> String,
    ) -> Instant {
        let wait = self.backoff.next_wait();
        if self.failures() >= TROUBLE && !std::mem::replace(&mut self.in_trouble, true) {
            outbox.push(Event::Trouble(what()));
        }
        now + wait
    }

    /// When to try again what has to be begun anew: at once the first time, then ever later, so that a coordinator of firm
    /// opinion is not asked in a loop. Told once, when that has happened a few times (FAILURES F13).
    pub(crate) fn began_anew(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        what: impl FnOnce() -> String,
    ) -> Instant {
        let first = self.failures() == 0;
        let later = self.failed(now, outbox, what);
        if first { now } else { later }
    }

    /// The same of what is nobody's failure: a group may begin one rebalance after another.
    pub(crate) fn soon(&mut self, now: Instant) -> Instant {
        let first = self.failures() == 0;
        let wait = self.backoff.next_wait();
        now + if first { Duration::ZERO } else { wait }
    }

    pub(crate) fn worked(&mut self, outbox: &mut Outbox) {
        self.backoff.reset();
        if std::mem::take(&mut self.in_trouble) {
            outbox.push(Event::Recovered);
        }
    }
}
