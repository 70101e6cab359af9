//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The current time, by tokio's clock, so that a paused runtime pauses the worker too.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time after this duration. A time too far away to represent becomes one a century away.
pub(crate) fn later(from: Instant, duration: Duration) -> Instant {
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
    from.checked_add(duration).or_else(|| from.checked_add(FOREVER)).unwrap_or(from)
}

/// The wall clock; a test may fix it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WallClock {
    System,
    Since { start: Instant, start_ms: i64 },
}

impl WallClock {
    /// Milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
    pub(crate) fn now_ms(self) -> i64 {
        let (start_ms, since) = match self {
            Self::System => (0, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Self::Since { start, start_ms } => (start_ms, now().saturating_duration_since(start)),
        };
        start_ms.saturating_add(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
