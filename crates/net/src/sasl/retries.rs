//! [`Retries`]: how long requests to a token endpoint are retried.

use std::time::Duration;

use tokio::time::Instant;

use super::error::ProviderError;
use crate::{clock, inbox::sleep_until};

/// Java's `sasl.login.retry.backoff.ms` (the pause between two requests, which doubles) and `sasl.login.retry.backoff.max.ms`
/// (the time in which a request is retried).
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) backoff: Duration,
    pub(super) limit: Duration,
}

impl Retries {
    /// The attempts of one request.
    pub(super) fn begin(self) -> Attempts {
        Attempts { deadline: clock::after(clock::now(), self.limit), backoff: self.backoff.max(MIN_BACKOFF) }
    }
}

/// The minimum pause between two requests.
const MIN_BACKOFF: Duration = Duration::from_millis(10);

/// The deadline of a request's attempts, and the next pause.
pub(super) struct Attempts {
    deadline: Instant,
    backoff: Duration,
}

impl Attempts {
    /// Waits before the next attempt. Returns false if there is to be none.
    pub(super) async fn wait_after(&mut self, error: &ProviderError) -> bool {
        let now = clock::now();
        if !error.is_retriable() || now >= self.deadline {
            return false;
        }
        tracing::debug!(%error, "will be tried again");
        sleep_until(Some(clock::after(now, self.backoff).min(self.deadline))).await;
        self.backoff = self.backoff.saturating_mul(2);
        true
    }
}
