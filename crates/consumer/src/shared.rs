//! The two facts that the handle and the engine share without a message: when `poll` was called, and until when the
//! ownership of what was assigned is known to hold. Both are single words; neither is ever waited for.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Times are milliseconds since `epoch`.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    last_poll: AtomicU64,
    polling: AtomicBool,
    valid_until: AtomicU64,
}

/// Nothing limits the ownership: a hand assignment, or nothing assigned.
const FOREVER: u64 = u64::MAX;
/// `poll` was never called.
const NEVER: u64 = u64::MAX;

impl Shared {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            last_poll: AtomicU64::new(NEVER),
            polling: AtomicBool::new(false),
            valid_until: AtomicU64::new(FOREVER),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(NEVER - 1)
    }

    /// `poll` begins.
    pub(crate) fn poll_begins(&self) {
        self.polling.store(true, Ordering::Release);
    }

    /// `poll` ends, or its future was dropped.
    pub(crate) fn poll_ends(&self, now: Instant) {
        self.last_poll.store(self.millis(now), Ordering::Release);
        self.polling.store(false, Ordering::Release);
    }

    /// When `poll` was last running; `now` while it is. `None` before the first.
    pub(crate) fn last_poll(&self, now: Instant) -> Option<Instant> {
        if self.polling.load(Ordering::Acquire) {
            return Some(now);
        }
        match self.last_poll.load(Ordering::Acquire) {
            NEVER => None,
            millis => Some(self.epoch + Duration::from_millis(millis)),
        }
    }

    /// The engine: nothing may be handed out after `until` (FAILURES M2, M4). True if it had run out before `now`.
    pub(crate) fn set_valid_until(&self, now: Instant, until: Option<Instant>) -> bool {
        let until = until.map_or(FOREVER, |until| self.millis(until));
        let before = self.valid_until.swap(until, Ordering::AcqRel);
        let now = self.millis(now);
        before <= now && until > now
    }

    /// The handle: whether ownership is known to hold now.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.valid_until.load(Ordering::Acquire) > self.millis(now)
    }
}
