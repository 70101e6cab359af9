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

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test has to begin at some time")]
    fn shared() -> (Shared, impl Fn(u64) -> Instant) {
        let epoch = Instant::now();
        (Shared::new(epoch), move |seconds| epoch + Duration::from_secs(seconds))
    }

    #[test]
    fn m1_an_application_that_waits_is_not_silent_and_one_that_is_woken_and_not_run_is() {
        let (shared, at) = shared();
        assert_eq!((shared.application(), shared.last_poll(at(1))), (Application::Never, None));
        shared.poll_is_woken(at(1));
        assert_eq!(shared.application(), Application::Never, "nobody waits");
        shared.poll_runs(at(2));
        assert_eq!(shared.application(), Application::Running(at(2)));
        assert_eq!(shared.last_poll(at(9)), Some(at(2)));
        shared.poll_waits(at(3));
        assert_eq!(shared.application(), Application::Waiting);
        assert_eq!(shared.last_poll(at(9)), Some(at(9)));
        shared.poll_is_woken(at(4));
        assert_eq!(shared.application(), Application::Woken(at(4)));
        shared.poll_is_woken(at(5));
        shared.poll_waits(at(5));
        assert_eq!(
            shared.application(),
            Application::Woken(at(4)),
            "it waits to be run since the first time"
        );
        assert_eq!(shared.last_poll(at(9)), Some(at(4)));
        shared.poll_runs(at(6));
        shared.poll_ends(at(7));
        assert_eq!((shared.application(), shared.last_poll(at(9))), (Application::Away(at(7)), Some(at(7))));
        shared.poll_is_woken(at(8));
        shared.poll_waits(at(8));
        assert_eq!(shared.application(), Application::Away(at(7)), "it is not in poll");
    }

    #[test]
    fn m1_one_that_is_woken_while_it_runs_is_woken_when_it_waits() {
        let (shared, at) = shared();
        shared.poll_runs(at(1));
        shared.poll_is_woken(at(2));
        assert_eq!(shared.application(), Application::Running(at(1)), "it still does its part");
        shared.poll_waits(at(3));
        assert_eq!(shared.application(), Application::Woken(at(3)));
    }

    #[test]
    fn m4_who_finds_ownership_not_known_to_hold_is_told_once_when_it_does() {
        let (shared, at) = shared();
        let until = |seconds| Validity::Until(Some(at(seconds)));
        assert!(shared.is_valid(at(1)), "nothing is assigned");
        assert!(!shared.set_validity(at(1), until(5)));
        assert!(shared.is_valid(at(4)));
        assert!(!shared.set_validity(at(4), until(6)), "nobody has found it otherwise");
        assert!(!shared.is_valid(at(6)), "not at its very end");
        assert!(!shared.set_validity(at(7), until(6)), "it does not hold yet");
        assert!(shared.set_validity(at(7), until(9)));
        assert!(!shared.set_validity(at(7), until(9)), "it was told");
        shared.set_validity(at(7), Validity::Until(None));
        assert!(!shared.is_valid(at(7)));
        assert!(shared.set_validity(at(7), Validity::Forever) && shared.is_valid(at(100)));
    }
}
