//! The two facts that the handle and the engine share without a message: when `poll` was called, and until when the
//! ownership of what was assigned is known to hold. Both are single words; neither is ever waited for.

use std::time::{Duration, Instant};

use crate::atomics::{AtomicBool, AtomicU64, Ordering};

/// Times are milliseconds since `epoch`.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    last_poll: AtomicU64,
    polling: AtomicBool,
    valid_until: AtomicU64,
    /// The handle waits to be told that ownership holds again.
    blocked: AtomicBool,
}

/// For how long ownership is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// A hand assignment: nobody takes it away.
    Forever,
    /// A member's: until the coordinator may have given it to somebody else; `None` while it is no member.
    Until(Option<Instant>),
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
            blocked: AtomicBool::new(false),
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

    /// The engine: until when what was assigned may be handed out (FAILURES M2, M4). True if the
    /// handle has to be told that it may again.
    pub(crate) fn set_validity(&self, now: Instant, validity: Validity) -> bool {
        let until = match validity {
            Validity::Forever => FOREVER,
            Validity::Until(Some(until)) => self.millis(until),
            Validity::Until(None) => 0,
        };
        self.valid_until.store(until, Ordering::Release);
        until > self.millis(now) && self.blocked.swap(false, Ordering::AcqRel)
    }

    /// The handle: whether ownership is known to hold now. If not, the engine will tell when it does again.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        let holds = || self.valid_until.load(Ordering::Acquire) > self.millis(now);
        if holds() {
            return true;
        }
        // Said before looking again. Both sides swap: whichever is later has the other's word, this one the new validity,
        // the engine that we wait.
        self.blocked.swap(true, Ordering::AcqRel);
        holds()
    }
}
