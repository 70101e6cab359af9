//! [`ShutdownSignal`]: makes all connections close. It wakes them in the order in which they began to wait, so that a simulation
//! is reproducible (a `watch` channel wakes them in any order).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

#[derive(Clone, Debug, Default)]
pub(crate) struct ShutdownSignal(Arc<(AtomicBool, Notify)>);

impl ShutdownSignal {
    pub(crate) fn send(&self) {
        let (is_sent, waiting) = &*self.0;
        is_sent.store(true, Ordering::Release);
        waiting.notify_waiters();
    }

    pub(crate) async fn received(&self) {
        let (is_sent, waiting) = &*self.0;
        // Registers before it checks, so that no signal is missed between the two.
        let mut notified = std::pin::pin!(waiting.notified());
        notified.as_mut().enable();
        if !is_sent.load(Ordering::Acquire) {
            notified.await;
        }
    }
}
