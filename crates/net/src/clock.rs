//! The one place of this crate that reads a clock.

use tokio::time::Instant;

/// Now, on tokio's clock, which tests can stop.
#[expect(clippy::disallowed_methods, reason = "connections are the loop's hands: deadlines are kept here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
