//! The only place in this crate that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::Sleep;

/// Now. Tokio's clock, so that a paused runtime pauses the consumer with it.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Milliseconds since 1970, read once when a consumer starts.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What tells this consumer's jitter from that of every other.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's own source of randomness: each `RandomState` has other keys.
    RandomState::new().hash_one(std::process::id())
}

/// Ends at that moment.
pub(crate) fn alarm(at: Instant) -> Sleep {
    tokio::time::sleep_until(at.into())
}

/// What the future gives, or `None` when it took too long. A future that is ready is never too late.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// The same with the moment itself.
pub(crate) async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}
