//! The clock of the loop. Tests pause it with tokio's.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the loop reads the clock, here alone")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the loop reads the clock, here alone")]
pub(crate) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
