//! The one place of this crate that reads a clock.

use std::time::Duration;

use tokio::time::Instant;

/// Now, on tokio's clock, which tests can stop.
#[expect(clippy::disallowed_methods, reason = "connections are the loop's hands: deadlines are kept here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// `wait` after `now`, or as good as never.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    Instant::from_std(offtake_machine::after(now.into_std(), wait))
}
