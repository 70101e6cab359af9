//! The arena's clock: tokio's, which advances only when all tasks wait.

use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "the arena is the loop here; its clock is virtual")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "virtual time: nobody waits for real")]
pub(crate) async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
