//! The two facts that the handle and the engine share without a message: the application's state with regard
//! to `poll`, and until when its ownership is known to be valid. Each is an atomic word; nothing ever waits
//! for either.

use std::time::{Duration, Instant};

use crate::atomics::{AtomicBool, AtomicU64, Ordering};

/// Times are milliseconds since `epoch`.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    /// An [`Application`]: three bits for the state, the others for its start.
    application: AtomicU64,
    valid_until: AtomicU64,
    /// The handle waits until ownership is valid again.
    blocked: AtomicBool,
}

/// The application's state with regard to `poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    /// It has never polled.
    Never,
    /// It has been busy with something else since then.
    Away(Instant),
    /// The body of `poll` has been running since then.
    Running(Instant),
    /// It is in `poll`, and has seen everything that has arrived.
    Waiting,
    /// It is in `poll`, and was woken then, but its task has not run since.
    Woken(Instant),
}

/// How long ownership is known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// A manual assignment: it cannot be taken away.
    Forever,
    /// A member's: until the coordinator may have reassigned it; `None` while it is no member.
    Until(Option<Instant>),
}

/// Nothing limits the ownership: a manual assignment, or nothing assigned.
const FOREVER: u64 = u64::MAX;
const LATEST: u64 = u64::MAX >> BITS;

const BITS: u32 = 3;
const MASK: u64 = (1 << BITS) - 1;
const NEVER: u64 = 0;
const AWAY: u64 = 1;
const RUNNING: u64 = 2;
/// It runs, and has been woken meanwhile: it will run again.
const RUNNING_WOKEN: u64 = 3;
const WAITING: u64 = 4;
const WOKEN: u64 = 5;

impl Shared {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            application: AtomicU64::new(NEVER),
            valid_until: AtomicU64::new(FOREVER),
            blocked: AtomicBool::new(false),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(LATEST).min(LATEST)
    }

    fn since(&self, now: Instant, what: u64) -> u64 {
        self.millis(now) << BITS | what
    }

    // ---- the application -----------------------------------------------------------------------------------------

    /// Notes that the body of `poll` begins to run, for the first time or again.
    pub(crate) fn poll_runs(&self, now: Instant) {
        self.application.store(self.since(now, RUNNING), Ordering::Release);
    }

    /// Notes that it has nothing to do until it is woken.
    pub(crate) fn poll_waits(&self, now: Instant) {
        let _ =
            self.application.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| match word & MASK {
                RUNNING => Some(WAITING),
                RUNNING_WOKEN => Some(self.since(now, WOKEN)),
                _ => None,
            });
    }

    /// Notes the wake-up before the task is woken, so that every following run sees it.
    pub(crate) fn poll_is_woken(&self, now: Instant) {
        let _ =
            self.application.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| match word & MASK {
                RUNNING => Some(word & !MASK | RUNNING_WOKEN),
                WAITING => Some(self.since(now, WOKEN)),
                _ => None,
            });
    }

    /// Notes that `poll` ends, or that its future was dropped.
    pub(crate) fn poll_ends(&self, now: Instant) {
        self.application.store(self.since(now, AWAY), Ordering::Release);
    }

    /// The application's state.
    pub(crate) fn application(&self) -> Application {
        let word = self.application.load(Ordering::Acquire);
        let since = self.epoch + Duration::from_millis(word >> BITS);
        match word & MASK {
            AWAY => Application::Away(since),
            RUNNING | RUNNING_WOKEN => Application::Running(since),
            WAITING => Application::Waiting,
            WOKEN => Application::Woken(since),
            _ => Application::Never,
        }
    }

    /// When the application last did its part: `now` while it waits for us. An application that has been
    /// woken in `poll` and does not run counts as silent from then, as one that does not call `poll`
    /// (FAILURES M1). `None` before the first `poll`.
    pub(crate) fn last_poll(&self, now: Instant) -> Option<Instant> {
        match self.application() {
            Application::Never => None,
            Application::Waiting => Some(now),
            Application::Away(since) | Application::Running(since) | Application::Woken(since) => Some(since),
        }
    }

    // ---- ownership -----------------------------------------------------------------------------------------------

    /// Called by the engine: sets until when records of the assignment may be handed out (FAILURES M2, M4).
    /// True if the handle has to be told that it may continue.
    pub(crate) fn set_validity(&self, now: Instant, validity: Validity) -> bool {
        let until = match validity {
            Validity::Forever => FOREVER,
            Validity::Until(Some(until)) => self.millis(until),
            Validity::Until(None) => 0,
        };
        self.valid_until.store(until, Ordering::Release);
        until > self.millis(now) && self.blocked.swap(false, Ordering::AcqRel)
    }

    /// Whether ownership is known to be valid now.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.valid_until.load(Ordering::Acquire) > self.millis(now)
    }

    /// Called by the handle: whether ownership is known to be valid now. If not, the engine will notify it
    /// when it is again.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        if self.holds(now) {
            return true;
        }
        // Set before looking again. Both sides swap, so whichever is later sees the other's write: the handle
        // sees the new validity, or the engine sees that the handle waits.
        self.blocked.swap(true, Ordering::AcqRel);
        self.holds(now)
    }
}
