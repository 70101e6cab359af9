//! Arithmetic on times that cannot overflow.

use std::time::{Duration, Instant};

/// Later than any run ends, and within the range of any clock.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `wait` after `now`. A wait of more than 30 years, such as [`Duration::MAX`], ends 30 years from now.
pub fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FAR_FUTURE)).unwrap_or(now)
}

/// The earliest of some wake-up times.
pub fn earliest(times: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    times.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn d13_an_endless_wait_is_a_long_one() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::MAX), now + FAR_FUTURE);
        assert_eq!(after(after(now, Duration::MAX), Duration::MAX), now + FAR_FUTURE + FAR_FUTURE);
        assert_eq!(after(now, Duration::from_secs(1)), now + Duration::from_secs(1));
    }
}
