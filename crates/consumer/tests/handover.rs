//! Tests the state that the engine's thread and the application's share without a lock, in every order in
//! which their steps can interleave and with every value that the memory model allows (`docs/failures.md`).
//! The code under test is the real `shared.rs` and `ledger.rs`, with loom's atomics and lock in place of the
//! standard library's.
//!
//! The snapshot of what may be committed (FAILURES BUG1, BUG2) is made by the application's task alone, and
//! sent to the engine as a value; only with `finish_each` does it read state that others write.

#![allow(clippy::unwrap_used, reason = "a test")]

mod atomics {
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };
}
#[path = "../src/ledger.rs"]
#[allow(dead_code, reason = "not all of it is handed over")]
mod ledger;
#[path = "../src/shared.rs"]
#[allow(dead_code, reason = "not all of it is handed over")]
mod shared;

use std::time::{Duration, Instant};

use ledger::Ledger;
use loom::{
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
};
use offtake_machine::Position;
use shared::{Application, Shared, Validity};

fn origin() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
    Instant::now()
}

fn after(origin: Instant, seconds: u64) -> Instant {
    origin + Duration::from_secs(seconds)
}

/// A message of the engine to the handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// Everything is lost; to be answered.
    Lost,
    /// Ownership is valid again.
    Current,
}

/// Acts as `poll` does: handles notices first, then checks the validity, then hands out records. Ends when
/// something may be handed out; returns whether that was before `Lost` was received.
fn polls(notices: &Receiver<Notice>, is_valid: impl Fn() -> bool, released: impl Fn()) -> bool {
    let mut buffered = true;
    let mut heed = |notice: Notice| {
        if notice == Notice::Lost {
            buffered = false;
            released();
        }
    };
    loop {
        while let Ok(notice) = notices.try_recv() {
            heed(notice);
        }
        if is_valid() {
            return buffered;
        }
        // Nothing else wakes it: if nothing is sent, loom finds all threads blocked.
        heed(notices.recv().unwrap());
    }
}

#[test]
fn m2_a_waiting_poll_is_notified_when_ownership_holds_again() {
    loom::model(|| {
        let origin = origin();
        let shared = Arc::new(Shared::new(origin));
        shared.set_validity(origin, Validity::Until(Some(after(origin, 10))));
        let (notices, noticed) = channel();
        let engine = thread::spawn({
            let shared = shared.clone();
            move || {
                // A heartbeat is accepted at last.
                if shared.set_validity(after(origin, 20), Validity::Until(Some(after(origin, 30)))) {
                    notices.send(Notice::Current).unwrap();
                }
                notices
            }
        });
        // The handle wakes up before that or after.
        polls(&noticed, || shared.is_valid(after(origin, 20)), || {});
        drop(engine.join().unwrap());
    });
}

#[test]
fn m2_a_poll_is_notified_each_time_that_ownership_holds_again() {
    loom::model(|| {
        let origin = origin();
        let shared = Arc::new(Shared::new(origin));
        shared.set_validity(origin, Validity::Until(None));
        let (notices, noticed) = channel();
        let engine = thread::spawn({
            let shared = shared.clone();
            move || {
                for (now, until) in [(1, Some(5)), (6, None), (7, Some(20))] {
                    let validity = Validity::Until(until.map(|until| after(origin, until)));
                    if shared.set_validity(after(origin, now), validity) {
                        notices.send(Notice::Current).unwrap();
                    }
                }
                notices
            }
        });
        polls(&noticed, || shared.is_valid(after(origin, 8)), || {});
        drop(engine.join().unwrap());
    });
}

#[test]
fn m4_lost_records_are_not_delivered_when_ownership_holds_again() {
    loom::model(|| {
        let origin = origin();
        let shared = Arc::new(Shared::new(origin));
        // Expired by the clock, though the engine has not reported it yet.
        shared.set_validity(origin, Validity::Until(Some(after(origin, 10))));
        let (notices, noticed) = channel();
        let (released, releases) = channel::<()>();
        let engine = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.set_validity(after(origin, 20), Validity::Until(None));
                notices.send(Notice::Lost).unwrap();
                // The member rejoins only when that is answered.
                releases.recv().unwrap();
                if shared.set_validity(after(origin, 20), Validity::Until(Some(after(origin, 30)))) {
                    notices.send(Notice::Current).unwrap();
                }
                notices
            }
        });
        let stale = polls(&noticed, || shared.is_valid(after(origin, 20)), || released.send(()).unwrap());
        assert!(!stale, "records of the old assignment were handed out under the new one");
        drop(engine.join().unwrap());
    });
}

/// The engine measures silence from the last poll: it may believe that poll to be older only while it cannot
/// know better.
#[test]
fn m1_a_poll_that_has_ended_is_known_to_have() {
    loom::model(|| {
        let origin = origin();
        let (first, second, now) = (after(origin, 1), after(origin, 2), after(origin, 3));
        let shared = Arc::new(Shared::new(origin));
        let (done, dones) = channel::<()>();
        let handle = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.poll_runs(first);
                shared.poll_ends(first);
                done.send(()).unwrap();
                shared.poll_runs(second);
                shared.poll_ends(second);
                done
            }
        });
        let before = shared.last_poll(now);
        assert!([None, Some(first), Some(second), Some(now)].contains(&before));
        dones.recv().unwrap();
        let later = shared.last_poll(now);
        assert!(later >= Some(first), "the end of a poll that was told of is not seen: {later:?}");
        drop(handle.join().unwrap());
        assert_eq!(shared.last_poll(now), Some(second));
    });
}

/// A reader that has seen one poll never falls back to none, nor from the end of one to an earlier state.
#[test]
fn m1_the_observed_poll_state_does_not_go_back() {
    loom::model(|| {
        let origin = origin();
        let (first, second, now) = (after(origin, 1), after(origin, 2), after(origin, 3));
        let shared = Arc::new(Shared::new(origin));
        let handle = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.poll_runs(first);
                shared.poll_waits(first);
                shared.poll_runs(first);
                shared.poll_ends(first);
                shared.poll_runs(second);
                shared.poll_ends(second);
            }
        });
        let before = shared.last_poll(now);
        let later = shared.last_poll(now);
        if before == Some(now) {
            assert!(later.is_some(), "a poll was running, and now there has never been one");
        } else {
            assert!(later >= before, "{before:?}, then {later:?}");
        }
        handle.join().unwrap();
    });
}

/// An item for the handle, and the handle's waiting state.
#[derive(Default)]
struct Slot {
    item: bool,
    waits: bool,
}

/// The handle runs, finds nothing, waits, is woken, and runs again; `waits` is called when it has nothing
/// more to do. Returns the state that the engine sees after it has woken the handle, if it had to.
fn woken(waits: impl Fn(&Shared, std::time::Instant) + Send + 'static) -> Option<Application> {
    let origin = origin();
    let shared = Arc::new(Shared::new(origin));
    let slot = Arc::new(loom::sync::Mutex::new(Slot::default()));
    let (wakes, woken) = channel();
    let handle = thread::spawn({
        let (shared, slot) = (shared.clone(), slot.clone());
        move || {
            loop {
                shared.poll_runs(after(origin, 1));
                let mut slot = slot.lock().unwrap();
                if slot.item {
                    break;
                }
                slot.waits = true;
                drop(slot);
                waits(&shared, after(origin, 1));
                woken.recv().unwrap();
            }
            shared.poll_ends(after(origin, 3));
        }
    });
    let waited = {
        let mut slot = slot.lock().unwrap();
        slot.item = true;
        slot.waits
    };
    let seen = waited.then(|| {
        shared.poll_is_woken(after(origin, 2));
        wakes.send(()).unwrap();
        shared.application()
    });
    handle.join().unwrap();
    assert_eq!(shared.application(), Application::Away(after(origin, 3)));
    seen
}

/// An application that has been woken counts as silent until it runs, even if it was woken just before it
/// waited.
#[test]
fn m1_a_woken_application_does_not_count_as_waiting() {
    loom::model(|| {
        let seen = woken(Shared::poll_waits);
        assert_ne!(
            seen,
            Some(Application::Waiting),
            "it has been woken, and nobody would notice if it is not run"
        );
    });
}

/// Detects an implementation that, when it waits, forgets that it has been woken meanwhile.
#[test]
fn a_handle_that_waits_without_looking_would_be_found_to_wait() {
    use std::sync::atomic::{AtomicBool as Flag, Ordering::Relaxed};

    static FOUND: Flag = Flag::new(false);
    loom::model(|| {
        let seen = woken(|shared, now| {
            shared.poll_runs(now);
            shared.poll_waits(now);
        });
        if seen == Some(Application::Waiting) {
            FOUND.store(true, Relaxed);
        }
    });
    assert!(FOUND.load(Relaxed));
}

/// A handle that does not look a second time may sleep for ever: loom finds that order.
#[test]
fn a_handle_that_does_not_look_again_would_be_found_asleep() {
    use std::sync::atomic::{AtomicBool as Flag, Ordering::Relaxed};

    use atomics::{
        AtomicBool,
        Ordering::{AcqRel, Acquire, Release},
    };

    static FOUND: Flag = Flag::new(false);
    loom::model(|| {
        let (holds, blocked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let engine = thread::spawn({
            let (holds, blocked) = (holds.clone(), blocked.clone());
            move || {
                holds.store(true, Release);
                blocked.swap(false, AcqRel)
            }
        });
        let sleeps = !holds.load(Acquire);
        if sleeps {
            blocked.swap(true, AcqRel);
        }
        let told = engine.join().unwrap();
        if sleeps && !told {
            FOUND.store(true, Relaxed);
        }
    });
    assert!(FOUND.load(Relaxed));
}

/// Two threads finish what the consumer's own thread hands out and reports meanwhile: everything reported is
/// finished, and in the end everything is reported.
#[test]
fn h3_an_offset_reported_during_concurrent_finishes_is_finished() {
    use std::sync::atomic::{AtomicU32 as Count, Ordering::SeqCst};

    loom::model(|| {
        let ledger = Arc::new(Ledger::starting_at(0));
        ledger.hand_out(0..2, Position::at(2));
        // Outside the model, so that it orders nothing: the records being finished.
        let begun = std::sync::Arc::new(Count::new(0));
        let workers = [0, 1].map(|offset: i64| {
            let (ledger, begun) = (ledger.clone(), begun.clone());
            thread::spawn(move || {
                begun.fetch_or(1 << offset, SeqCst);
                assert!(ledger.finish(offset, offset + 1));
            })
        });
        ledger.hand_out([2], Position::at(3));
        let reported = ledger.finished().map_or(0, |position| position.offset);
        let begun = begun.load(SeqCst);
        assert!((0..reported).all(|offset| begun & (1 << offset) != 0), "{reported}, of {begun:b}");
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(ledger.finished(), Some(Position::at(2)));
        ledger.finish(2, 3);
        assert_eq!(ledger.finished(), Some(Position::at(3)));
    });
}

/// A `finish` that returns true is included in the last commit; a later one returns false (H2).
#[test]
fn h2_a_finish_during_close_is_committed_or_refused() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::starting_at(0));
        ledger.hand_out(0..2, Position::at(2));
        let worker = thread::spawn({
            let ledger = ledger.clone();
            move || (ledger.finish(1, 2), ledger.finish(0, 1))
        });
        let last = ledger.close(ledger::Refusal::Revoked);
        let (second, first) = worker.join().unwrap();
        let expected = match (first, second) {
            (true, true) => Some(Position::at(2)),
            _ => None,
        };
        assert_eq!(last, expected, "finished: {first}, {second}");
        assert!(second || !first);
        assert_eq!(ledger.close(ledger::Refusal::Revoked), last, "nothing counts after it");
    });
}
