//! [`Retry`]: how often a record is tried, and how long it waits in between.

use std::{ops::Range, time::Duration};

/// How often a record is tried, and how long it waits before it is tried again. Meanwhile the records of its lane (its key, or its partition) wait
/// with it; others go on.
///
/// Default: exponential from 100 ms to 10 s, with jitter, 5 attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    least: Duration,
    most: Duration,
    has_jitter: bool,
    /// The first one included.
    pub(crate) attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)..Duration::from_secs(10)).jitter()
    }
}

impl Retry {
    /// Waits the range's start after the first attempt, twice as long after each further one, and its end at most. 5 attempts, no jitter.
    pub fn exponential(delays: Range<Duration>) -> Self {
        Self { least: delays.start, most: delays.end.max(delays.start), has_jitter: false, attempts: 5 }
    }

    /// Waits as long after each attempt. 5 attempts, no jitter.
    pub fn fixed(delay: Duration) -> Self {
        Self::exponential(delay..delay)
    }

    /// One attempt.
    pub fn never() -> Self {
        Self::fixed(Duration::ZERO).attempts(1)
    }

    /// Each delay is drawn between half of it and the whole, so that records that failed together are not tried together.
    #[must_use]
    pub fn jitter(self) -> Self {
        Self { has_jitter: true, ..self }
    }

    /// How often a record is tried, the first time included. Attempts are counted by this process: a record whose partition moves, or whose
    /// worker starts again, begins anew. 0 is refused when the worker starts.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Tries until it is done: only poison is dead-lettered.
    #[must_use]
    pub fn unlimited(self) -> Self {
        self.attempts(u32::MAX)
    }

    /// How long a record waits after this attempt, from 1; `random` decides where in the jitter.
    pub(crate) fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        let delay = self.least.saturating_mul(doubled).min(self.most);
        if !self.has_jitter {
            return delay;
        }
        let half = delay / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half.saturating_add(Duration::from_nanos(
            random.checked_rem(spread.saturating_add(1)).unwrap_or(random),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn delays_double_up_to_the_most() {
        let retry = Retry::exponential(millis(100)..millis(1000));
        let delays: Vec<_> = (1..=6).map(|attempt| retry.delay(attempt, 0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(retry.delay(u32::MAX, 0), millis(1000));
        assert_eq!(
            Retry::exponential(millis(5)..millis(1)).delay(9, 0),
            millis(5),
            "an empty range is its start"
        );
        assert!(Retry::exponential(Duration::MAX..Duration::MAX).jitter().delay(3, u64::MAX) > millis(1));
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole() {
        let retry = Retry::fixed(millis(100)).jitter();
        for random in (0..1_000_000_000_000u64).step_by(7_777_777_777) {
            let delay = retry.delay(1, random);
            assert!(delay >= millis(50) && delay <= millis(100), "{delay:?}");
        }
        assert_eq!(Retry::fixed(Duration::ZERO).jitter().delay(1, 99), Duration::ZERO);
    }
}
