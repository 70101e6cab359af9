//! The wait before a retry: exponential, bounded, with seeded jitter (KIP-580).

use std::time::Duration;

use crate::random::SplitMix64;

/// `retry.backoff.ms` and `retry.backoff.max.ms`, or the `reconnect.` pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The first wait.
    pub base: Duration,
    /// The longest wait, before jitter.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_millis(1000) }
    }
}

/// The shortest wait, whatever is configured.
const SHORTEST: Duration = Duration::from_millis(1);

/// The waits between repeated attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    random: SplitMix64,
}

impl Backoff {
    /// A backoff without failures so far. Equal seeds give equal waits.
    pub fn new(config: BackoffConfig, seed: u64) -> Self {
        Self { config, failures: 0, random: SplitMix64::new(seed) }
    }

    /// Counts a failure and returns the wait after it: between 80 % and 120 % of `base × 2ⁿ`, capped at
    /// `max`. The wait is never less than a millisecond, so that no setting causes a busy loop.
    pub fn next_wait(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let wait = self.config.base.saturating_mul(factor).min(self.config.max);
        let per_mille = 800 + u32::try_from(self.random.next_u64() % 401).unwrap_or(200);
        (wait.saturating_mul(per_mille) / 1000).max(SHORTEST)
    }

    /// An attempt succeeded: the wait after the next failure is `base` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_waits_grow_to_the_maximum_and_never_reach_zero() {
        let mut backoff = Backoff::new(BackoffConfig::default(), 7);
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait().as_millis()).collect();
        assert!((80..=120).contains(&waits[0]), "{waits:?}");
        assert!((160..=240).contains(&waits[1]), "{waits:?}");
        assert!(waits[4..].iter().all(|ms| (800..=1200).contains(ms)), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait().as_millis() <= 120);
    }

    #[test]
    fn safe15_no_setting_makes_a_wait_of_nothing_or_overflows() {
        for (base, max) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::MAX, Duration::MAX),
            (Duration::MAX, Duration::ZERO),
            (Duration::ZERO, Duration::MAX),
        ] {
            let mut backoff = Backoff::new(BackoffConfig { base, max }, 7);
            assert!((0..40).all(|_| backoff.next_wait() >= SHORTEST), "{base:?} up to {max:?}");
        }
    }

    #[test]
    fn equal_seeds_wait_equally_long_and_others_do_not() {
        let waits = |seed| {
            let mut backoff = Backoff::new(BackoffConfig::default(), seed);
            (0..5).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
