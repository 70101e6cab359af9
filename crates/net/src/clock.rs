//! The one place of this crate that reads a clock.

use std::time::Duration;

use tokio::time::Instant;

/// The current time, on tokio's clock, which tests can pause.
#[expect(clippy::disallowed_methods, reason = "connections are the loop's hands: deadlines are kept here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time `wait` after `now`, or a time so far away that it is never reached.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    Instant::from_std(offtake_machine::after(now.into_std(), wait))
}
