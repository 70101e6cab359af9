//! [`Health`]: failures in a row, the wait after each, and when to report them.

use std::time::{Duration, Instant};

use offtake_machine::{Backoff, BackoffConfig};

use crate::event::{Event, Outbox};

/// How many failures in a row are needed before they are reported.
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

    /// The failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whether failures were reported, and no recovery since.
    #[cfg(feature = "_model")]
    pub(crate) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// A call failed. Returns when to retry. Reported once, after a few failures.
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

    /// The member has to rejoin. Returns when: at once the first time, then later and later, so that there is
    /// no busy loop. Reported once, after a few times (FAILURES F13).
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

    /// The same for a rebalance, which is not a failure and is not reported: a group may have many in a row.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f13_the_first_rejoin_is_immediate_and_later_ones_wait() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let now = Instant::now();
        let (mut health, mut outbox) = (Health::new(BackoffConfig::default(), 1), Outbox::default());
        assert_eq!(health.on_restart(now, &mut outbox, String::new), now);
        assert!(health.on_restart(now, &mut outbox, String::new) > now);
        health.on_success(&mut outbox);
        assert_eq!(health.on_restart(now, &mut outbox, String::new), now);
    }

    #[test]
    fn a_rebalance_is_joined_at_once_and_the_next_one_on_end_later() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let now = Instant::now();
        let (mut health, mut outbox) = (Health::new(BackoffConfig::default(), 1), Outbox::default());
        assert_eq!(health.on_rebalance(now), now);
        assert!(health.on_rebalance(now) > now);
        health.on_success(&mut outbox);
        assert_eq!(health.on_rebalance(now), now);
        assert_eq!(outbox.pop(), None, "it is no failure");
    }
}
