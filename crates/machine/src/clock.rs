//! Sums of times that cannot overflow.

use std::time::{Duration, Instant};

/// As good as never, and within any clock's range.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `wait` after `now`. A wait of more than 30 years, such as [`Duration::MAX`], ends 30 years from now.
pub fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FAR)).unwrap_or(now)
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
        assert_eq!(after(now, Duration::MAX), now + FAR);
        assert_eq!(after(after(now, Duration::MAX), Duration::MAX), now + FAR + FAR);
        assert_eq!(after(now, Duration::from_secs(1)), now + Duration::from_secs(1));
    }
}
