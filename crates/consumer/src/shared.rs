//! The two facts that the handle and the engine share without a message: where the application stands towards `poll`, and
//! until when the ownership of what was assigned is known to hold. Each is a word; neither is ever waited for.

use std::time::{Duration, Instant};

use crate::atomics::{AtomicBool, AtomicU64, Ordering};

/// Times are milliseconds since `epoch`.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    /// An [`Application`]: three bits say which, the others since when.
    application: AtomicU64,
    valid_until: AtomicU64,
    /// The handle waits to be told that ownership holds again.
    blocked: AtomicBool,
}

/// Where the application stands towards `poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    /// It has never polled.
    Never,
    /// It is busy with something else since then.
    Away(Instant),
    /// The body of `poll` runs since then.
    Running(Instant),
    /// In `poll`, and nothing has come that it has not seen.
    Waiting,
    /// In `poll`, and has been woken then, but nobody has run it since.
    Woken(Instant),
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
const LATEST: u64 = u64::MAX >> BITS;

const BITS: u32 = 3;
const MASK: u64 = (1 << BITS) - 1;
const NEVER: u64 = 0;
const AWAY: u64 = 1;
const RUNNING: u64 = 2;
/// Runs, and has been woken meanwhile: it will run again.
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

    /// The body of `poll` begins to run, for the first time or again.
    pub(crate) fn poll_runs(&self, now: Instant) {
        self.application.store(self.since(now, RUNNING), Ordering::Release);
    }

    /// It has nothing more to do until it is woken.
    pub(crate) fn poll_waits(&self, now: Instant) {
        let _ =
            self.application.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| match word & MASK {
                RUNNING => Some(WAITING),
                RUNNING_WOKEN => Some(self.since(now, WOKEN)),
                _ => None,
            });
    }

    /// It is woken. Said before whoever runs it hears of it, so that no run follows which does not find this said.
    pub(crate) fn poll_is_woken(&self, now: Instant) {
        let _ =
            self.application.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| match word & MASK {
                RUNNING => Some(word & !MASK | RUNNING_WOKEN),
                WAITING => Some(self.since(now, WOKEN)),
                _ => None,
            });
    }

    /// `poll` ends, or its future was dropped.
    pub(crate) fn poll_ends(&self, now: Instant) {
        self.application.store(self.since(now, AWAY), Ordering::Release);
    }

    /// Where the application stands.
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

    /// When the application was last seen to do its part: `now` while it waits for us. Who has something to do in `poll`
    /// and does not get on with it is as silent as who does not call it (FAILURES M1). `None` before the first `poll`.
    pub(crate) fn last_poll(&self, now: Instant) -> Option<Instant> {
        match self.application() {
            Application::Never => None,
            Application::Waiting => Some(now),
            Application::Away(since) | Application::Running(since) | Application::Woken(since) => Some(since),
        }
    }

    // ---- ownership -----------------------------------------------------------------------------------------------

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

    /// Whether ownership is known to hold now.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.valid_until.load(Ordering::Acquire) > self.millis(now)
    }

    /// The handle: whether ownership is known to hold now. If not, the engine will tell when it does again.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        if self.holds(now) {
            return true;
        }
        // Said before looking again. Both sides swap: whichever is later has the other's word, this one the new validity,
        // the engine that we wait.
        self.blocked.swap(true, Ordering::AcqRel);
        self.holds(now)
    }
}
