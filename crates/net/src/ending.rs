//! That everything is to end, said once to all connections. They hear of it in the order in which they began to wait, so
//! that a simulation repeats itself (a `watch` channel wakes them in any order).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<(AtomicBool, Notify)>);

impl Ending {
    pub(crate) fn begin(&self) {
        let (begun, waiting) = &*self.0;
        begun.store(true, Ordering::Release);
        waiting.notify_waiters();
    }

    pub(crate) async fn begun(&self) {
        let (begun, waiting) = &*self.0;
        // Listens before it looks: nothing is missed between the two.
        let mut notified = std::pin::pin!(waiting.notified());
        notified.as_mut().enable();
        if !begun.load(Ordering::Acquire) {
            notified.await;
        }
    }
}
