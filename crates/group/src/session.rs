//! [`Session`]: how long the coordinator certainly keeps the member, by the member's own clock (FAILURES M2,
//! M4).

use std::time::{Duration, Instant};

/// The calls that renewed the session at the coordinator. Each counts from when it was sent, as it may have arrived at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Session {
    last_accepted_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl Session {
    /// The coordinator accepted a call that was sent at this time, and renewed the session.
    pub(crate) fn on_accepted(&mut self, sent: Instant, timeout: Duration) {
        self.last_accepted_at = self.last_accepted_at.max(Some(sent));
        self.expires_at = self.expires_at.max(sent.checked_add(timeout));
    }

    /// The coordinator kept the member while a call waited, and restarts the session with its response. The
    /// time of that is not known, only that it was not later than now. That is enough to stay a member, but
    /// not to hand anything out.
    pub(crate) fn restart(&mut self, now: Instant, timeout: Duration) {
        self.expires_at = self.expires_at.max(now.checked_add(timeout));
    }

    /// The session timeout is known now.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.expires_at = self.last_accepted_at.and_then(|at| at.checked_add(timeout));
    }

    pub(crate) fn last_accepted_at(&self) -> Option<Instant> {
        self.last_accepted_at
    }

    /// When the member gives up its partitions.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }

    /// How long the partitions are certainly owned, by the session.
    pub(crate) fn valid_until(&self, timeout: Duration) -> Option<Instant> {
        self.last_accepted_at?.checked_add(timeout)
    }
}
