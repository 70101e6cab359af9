//! [`Pace`]: whether handlers may be begun in place, or each as a task.
//!
//! A task costs more than a handler that has nothing to wait for. But whatever runs in place holds up the loop: so only handlers that were ready at
//! once, and took next to no time, many in turn, are begun there. One that was not sends those after it back to tasks, where they are measured again.
//! A handler that blocks its thread each time therefore never runs in place.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::clock;

/// What may hold up the loop: about twice what a task costs.
const QUICK: Duration = Duration::from_micros(5);
/// So many in turn.
const ENOUGH: u32 = 32;

/// How many handlers in turn were ready at once and quick. Tasks count too, on whichever thread they run.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    /// Whether the next handler is to be begun in place.
    pub(crate) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENOUGH
    }

    /// Polls a handler for the first time, and notes how that went.
    fn first<T>(&self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let began = clock::now();
        let polled = poll();
        let is_quick = polled.is_ready() && clock::now().saturating_duration_since(began) <= QUICK;
        // Two that count at once may count as one.
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(if is_quick { before.saturating_add(1) } else { 0 }, Ordering::Relaxed);
        polled
    }

    /// Polls a handler here and now. It is not woken by what it waits for: where it is not ready, a task must poll it next. A panic that
    /// it does not contain itself, as that of a value that it drops, is given back.
    pub(crate) fn in_place<T>(
        &self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> std::thread::Result<Poll<T>> {
        let poll = || work.poll(&mut Context::from_waker(Waker::noop()));
        catch_unwind(AssertUnwindSafe(|| self.first(poll)))
    }

    /// Runs a handler as a task, and notes how its beginning went.
    pub(crate) async fn as_task<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut is_first = true;
        std::future::poll_fn(|cx| match std::mem::take(&mut is_first) {
            true => self.first(|| work.as_mut().poll(cx)),
            false => work.as_mut().poll(cx),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(pace: &Pace, work: impl Future<Output = ()>) -> Poll<()> {
        pace.in_place(pin!(work)).expect("no panic")
    }

    /// Virtual time: what takes none is quick, however busy the machine is.
    #[tokio::test(start_paused = true)]
    async fn handlers_that_are_ready_at_once_are_begun_in_place_after_many_in_turn() {
        let pace = Pace::default();
        for _ in 0..ENOUGH {
            assert!(!pace.is_quick());
            pace.as_task(async {}).await;
        }
        assert!(pace.is_quick());
        assert_eq!(begin(&pace, async {}), Poll::Ready(()));
        assert!(pace.is_quick(), "what runs in place counts as well");
        assert_eq!(begin(&pace, tokio::task::yield_now()), Poll::Pending);
        assert!(!pace.is_quick(), "one that waits is enough");
        for _ in 0..ENOUGH {
            assert!(!pace.is_quick());
            assert_eq!(begin(&pace, async {}), Poll::Ready(()));
        }
        pace.as_task(tokio::time::advance(Duration::from_millis(1))).await;
        assert!(!pace.is_quick(), "as is one that takes its time, wherever it runs");
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
        assert!(pace.in_place(work.as_mut()).is_ok_and(|polled| polled.is_pending()));
        #[expect(clippy::disallowed_methods, reason = "as the loop does")]
        let task = tokio::spawn(work);
        tokio::task::yield_now().await;
        wake.send(7).expect("somebody waits");
        assert_eq!(task.await.expect("it ends"), Ok(7));
    }
}
