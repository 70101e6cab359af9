//! [`InTurn`]: operations that run one after the other, in the order in which they were requested.

use std::{collections::VecDeque, future::pending, pin::Pin};

/// The requested operations, and the running one. The next begins when that has ended.
pub(super) struct InTurn<W, T> {
    wanted: VecDeque<W>,
    answer: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<W, T> InTurn<W, T> {
    pub(super) fn new() -> Self {
        Self { wanted: VecDeque::new(), answer: None }
    }

    pub(super) fn push(&mut self, wanted: W) {
        self.wanted.push_back(wanted);
    }

    /// The next operation to [begin](Self::begin); `None` while one is running.
    pub(super) fn next(&mut self) -> Option<W> {
        if self.answer.is_some() { None } else { self.wanted.pop_front() }
    }

    pub(super) fn begin(&mut self, answer: impl Future<Output = T> + Send + 'static) {
        self.answer = Some(Box::pin(answer));
    }

    /// Waits for the running operation; for ever if there is none. Cancel-safe.
    pub(super) async fn ended(&mut self) -> T {
        let Some(answer) = &mut self.answer else { return pending().await };
        let ended = answer.await;
        self.answer = None;
        ended
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Two operations in flight at once could arrive in either order.
    #[tokio::test(start_paused = true)]
    async fn nothing_begins_before_what_was_wanted_first_has_ended() {
        let mut seeks = InTurn::new();
        (1..=3).for_each(|offset| seeks.push(offset));
        for offset in 1..=3 {
            assert_eq!(seeks.next(), Some(offset));
            let (answer, answered) = oneshot::channel::<i32>();
            seeks.begin(answered);
            assert_eq!(seeks.next(), None, "one is on its way");
            tokio::select! {
                biased;
                ended = seeks.ended() => panic!("{ended:?}, and nobody answered"),
                () = tokio::task::yield_now() => {}
            }
            answer.send(offset * 10).expect("somebody waits, though it was dropped in between");
            assert_eq!(seeks.ended().await, Ok(offset * 10));
        }
        assert_eq!(seeks.next(), None);
    }
}
