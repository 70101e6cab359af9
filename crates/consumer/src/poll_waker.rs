//! A waker that records its use: so the engine can distinguish an application that waits from one whose
//! future is not polled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use crate::{clock, shared::Shared};

/// Wraps the waker of the polling task in one that records its use. Created anew only when another task
/// polls.
#[derive(Debug, Default)]
pub(crate) struct PollWaker(Option<(Arc<NotingWaker>, Waker)>);

#[derive(Debug)]
struct NotingWaker {
    shared: Arc<Shared>,
    task: Waker,
    /// Whether that task is the one that polls.
    current: AtomicBool,
}

impl Wake for NotingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.current.load(Ordering::Relaxed) {
            self.shared.poll_is_woken(clock::now());
        }
        self.task.wake_by_ref();
    }
}

impl PollWaker {
    /// The waker to poll with in place of `task`.
    pub(crate) fn of(&mut self, task: &Waker, shared: &Arc<Shared>) -> Waker {
        if let Some((noting, waker)) = &self.0 {
            if noting.task.will_wake(task) {
                return waker.clone();
            }
            noting.current.store(false, Ordering::Relaxed);
        }
        let (shared, current) = (shared.clone(), AtomicBool::new(true));
        let noting = Arc::new(NotingWaker { shared, task: task.clone(), current });
        let waker = Waker::from(noting.clone());
        self.0 = Some((noting, waker.clone()));
        waker
    }
}

/// Includes tests of the shared state: `shared.rs` is also built with another clock and other atomics
/// (tests/handover.rs).
#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::shared::{Application, Validity};

    fn shared() -> (Shared, impl Fn(u64) -> Instant) {
        let epoch = crate::clock::now();
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
    fn m4_a_poll_that_found_ownership_unconfirmed_is_notified_once_when_it_holds() {
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

    #[test]
    fn m1_only_the_waker_of_the_task_that_polls_says_that_it_is_woken() {
        let (shared, _) = shared();
        let shared = Arc::new(shared);
        let mut waking = PollWaker::default();
        // Tasks are distinguished by their wakers.
        let task = || {
            Waker::from(Arc::new(NotingWaker {
                shared: shared.clone(),
                task: Waker::noop().clone(),
                current: AtomicBool::new(false),
            }))
        };
        let (first, second) = (task(), task());
        let of_first = waking.of(&first, &shared);
        assert!(waking.of(&first, &shared).will_wake(&of_first), "it is not made anew");
        let of_second = waking.of(&second, &shared);
        let now = clock::now();
        shared.poll_runs(now);
        shared.poll_waits(now);
        of_first.wake();
        assert_eq!(shared.application(), Application::Waiting);
        of_second.wake();
        assert!(matches!(shared.application(), Application::Woken(_)));
    }
}
