//! The command's own clock.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a command runs once, in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
