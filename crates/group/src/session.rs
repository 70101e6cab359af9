//! [`Session`]: until when the coordinator certainly takes us for alive, by our own clock (FAILURES M2, M4).

use std::time::{Duration, Instant};

/// The signs of life that the coordinator took. All of them count from when they left: it may have taken them then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Session {
    last_accepted_at: Option<Instant>,
    expires_at: Option<Instant>,
}

impl Session {
    /// The coordinator took a call that left then for a sign of life.
    pub(crate) fn on_accepted(&mut self, sent: Instant, timeout: Duration) {
        self.last_accepted_at = self.last_accepted_at.max(Some(sent));
        self.expires_at = self.expires_at.max(sent.checked_add(timeout));
    }

    /// The coordinator kept us while a call of ours waited, and counts again from its answer on. When it gave that we cannot
    /// know, only that it was not later than now: enough for not giving ourselves up, though not for handing anything out.
    pub(crate) fn restart(&mut self, now: Instant, timeout: Duration) {
        self.expires_at = self.expires_at.max(now.checked_add(timeout));
    }

    /// It is as long as that, which was not known.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.expires_at = self.last_accepted_at.and_then(|at| at.checked_add(timeout));
    }

    pub(crate) fn last_accepted_at(&self) -> Option<Instant> {
        self.last_accepted_at
    }

    /// When we give ourselves up.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }

    /// Until when what we hold is certainly ours, as far as the session goes.
    pub(crate) fn valid_until(&self, timeout: Duration) -> Option<Instant> {
        self.last_accepted_at?.checked_add(timeout)
    }
}
