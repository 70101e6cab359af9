//! [`PollTimer`]: whether the application still polls (`max.poll.interval.ms`, KIP-62).

use std::time::{Duration, Instant};

/// When the application polled last, and whether the warning was given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PollTimer {
    last_poll_at: Option<Instant>,
    is_warned: bool,
}

impl PollTimer {
    /// The application polled at this time, or subscribed, which counts as a poll.
    pub(crate) fn on_poll(&mut self, at: Instant) {
        if self.last_poll_at < Some(at) {
            *self = Self { last_poll_at: Some(at), is_warned: false };
        }
    }

    /// Starts the timer again.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self { last_poll_at: Some(now), is_warned: false };
    }

    /// When to warn: with a fifth of the interval left.
    pub(crate) fn warns_at(&self, interval: Duration) -> Option<Instant> {
        self.last_poll_at.filter(|_| !self.is_warned)?.checked_add(interval / 5 * 4)
    }

    /// The warning is given. Returns when the application polled last.
    pub(crate) fn warn(&mut self) -> Option<Instant> {
        self.is_warned = true;
        self.last_poll_at
    }

    /// When the interval is exceeded.
    pub(crate) fn expires_at(&self, interval: Duration) -> Option<Instant> {
        self.last_poll_at?.checked_add(interval)
    }

    /// For a fingerprint.
    #[cfg(feature = "_model")]
    pub(crate) fn contents(&self) -> (Option<Instant>, bool) {
        (self.last_poll_at, self.is_warned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_is_told_twice_is_one_and_is_warned_of_once() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let polled = Instant::now();
        let (mut timer, interval) = (PollTimer::default(), Duration::from_secs(300));
        timer.on_poll(polled);
        assert_eq!(timer.warns_at(interval), Some(polled + Duration::from_secs(240)));
        assert_eq!(timer.warn(), Some(polled));
        for earlier in [polled, polled - Duration::from_millis(1)] {
            timer.on_poll(earlier);
            assert_eq!(timer.warns_at(interval), None);
        }
        timer.on_poll(polled + Duration::from_millis(1));
        assert!(timer.warns_at(interval).is_some());
    }
}
