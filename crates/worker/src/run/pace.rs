//! [`Pace`]: the choice between running handlers in place and as tasks.
//!
//! A task costs more than a handler that need not wait for anything. But a handler that runs in place holds up the loop. So
//! handlers run in place only while nearly all of them are ready at once and take almost no time. Handlers that run as tasks are
//! measured as well. A handler that always blocks its thread therefore never runs in place, and one that starts to do so does it
//! three times.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::clock;

/// The longest time that may hold up the loop: about twice the cost of a task.
const QUICK: Duration = Duration::from_micros(5);
/// A quick handler adds 1, up to this maximum.
const MOST: u32 = 64;
/// The count from which handlers run in place.
const ENOUGH: u32 = 32;
/// The deduction for a handler that was not quick. It is not the whole count, because a thread may be held up by others.
const SETBACK: u32 = 16;

/// Measures how quick handlers were lately, on any thread.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    /// Whether the next handler should begin in place.
    pub(crate) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENOUGH
    }

    /// Polls a handler for the first time, and measures it. Returns the time after that.
    fn first<T>(&self, poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, Instant) {
        let began = clock::now();
        let polled = poll();
        let ended = clock::now();
        let is_quick = polled.is_ready() && ended.saturating_duration_since(began) <= QUICK;
        // If two updates run concurrently, one may be lost.
        let before = self.0.load(Ordering::Relaxed);
        let after = if is_quick { (before + 1).min(MOST) } else { before.saturating_sub(SETBACK) };
        self.0.store(after, Ordering::Relaxed);
        (polled, ended)
    }

    /// Polls a handler here and now. Returns the time after that. The handler has no waker yet: if it is not ready, a task must
    /// poll it next. A panic that the handler does not catch, for example from dropping a value, is returned.
    pub(crate) fn in_place<T>(
        &self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> std::thread::Result<(Poll<T>, Instant)> {
        let poll = || work.poll(&mut Context::from_waker(Waker::noop()));
        catch_unwind(AssertUnwindSafe(|| self.first(poll)))
    }

    /// Runs a handler as a task, and measures its first poll.
    pub(crate) async fn as_task<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut is_first = true;
        std::future::poll_fn(|cx| match std::mem::take(&mut is_first) {
            true => self.first(|| work.as_mut().poll(cx)).0,
            false => work.as_mut().poll(cx),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(pace: &Pace, work: impl Future<Output = ()>) -> Poll<()> {
        pace.in_place(pin!(work)).expect("no panic").0
    }

    /// In virtual time, a handler that advances no clock is quick, however busy the machine is.
    #[tokio::test(start_paused = true)]
    async fn handlers_that_are_ready_at_once_are_begun_in_place_after_many_of_them() {
        let pace = Pace::default();
        for _ in 0..ENOUGH {
            assert!(!pace.is_quick());
            pace.as_task(async {}).await;
        }
        for _ in 0..MOST {
            assert!(pace.is_quick());
            assert_eq!(begin(&pace, async {}), Poll::Ready(()), "what runs in place counts as well");
        }
        for _ in 0..2 {
            assert_eq!(begin(&pace, tokio::task::yield_now()), Poll::Pending);
            assert!(pace.is_quick(), "now and then one may wait");
        }
        assert_eq!(begin(&pace, tokio::task::yield_now()), Poll::Pending);
        assert!(!pace.is_quick(), "but not one after the other");
    }

    #[tokio::test(start_paused = true)]
    async fn handlers_that_take_their_time_are_tasks() {
        let pace = Pace::default();
        for nth in 0..1000u32 {
            assert!(!pace.is_quick(), "{nth}");
            // Nine of ten are quick.
            match nth % 10 {
                0 => pace.as_task(tokio::time::advance(QUICK * 2)).await,
                _ => pace.as_task(async {}).await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_place_is_given_back() {
        let pace = Pace::default();
        assert!(pace.in_place(pin!(async { panic!("no") })).is_err());
        assert_eq!(begin(&pace, async {}), Poll::Ready(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_woken_by_what_it_waits_for_though_it_was_polled_in_place_before() {
        let pace = Pace::default();
        let (wake, woken) = tokio::sync::oneshot::channel();
        let mut work = Box::pin(woken);
        assert!(pace.in_place(work.as_mut()).is_ok_and(|(polled, _)| polled.is_pending()));
        #[expect(clippy::disallowed_methods, reason = "as the loop does")]
        let task = tokio::spawn(work);
        tokio::task::yield_now().await;
        wake.send(7).expect("somebody waits");
        assert_eq!(task.await.expect("it ends"), Ok(7));
    }
}
