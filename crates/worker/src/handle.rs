//! [`WorkerHandle`]: a worker from other tasks.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::Metrics;

/// Stops a worker from elsewhere, and tells how it fares. Made by [`Worker::handle`](crate::Worker::handle), before it runs; cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    stop: Arc<watch::Sender<StopStage>>,
    metrics: Arc<Mutex<Arc<Metrics>>>,
}

/// How far a worker has been asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopStage {
    #[default]
    Running,
    /// No new work; what runs may end.
    Stopping,
    /// What runs is cancelled.
    Now,
}

impl WorkerHandle {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::new(watch::Sender::default()), metrics: Arc::default() }
    }

    /// Asks the worker to stop, as the end of its shutdown future does: no new work, what runs may end within the [grace](crate::Worker::grace), dead
    /// letters are written, what is finished is committed, the group is left. Again, it changes nothing; before the worker runs, it stops at once.
    pub fn stop(&self) {
        self.reach(StopStage::Stopping);
    }

    /// The second signal: what runs is cancelled instead of waited for. What is finished is committed all the same, and the group is left, each with
    /// its deadline.
    pub fn stop_now(&self) {
        self.reach(StopStage::Now);
    }

    /// The worker in figures, not older than a quarter of a second while it runs; after its end, the last ones.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reach(&self, stage: StopStage) {
        self.stop.send_if_modified(|now| std::mem::replace(now, stage.max(*now)) < stage);
    }

    pub(crate) fn is_to_stop(&self) -> bool {
        *self.stop.borrow() != StopStage::Running
    }

    pub(crate) fn stages(&self) -> watch::Receiver<StopStage> {
        self.stop.subscribe()
    }

    pub(crate) fn publish(&self, metrics: Metrics) {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_never_taken_back() {
        let handle = WorkerHandle::new();
        let stages = handle.stages();
        assert_eq!(*stages.borrow(), StopStage::Running);
        handle.stop_now();
        handle.stop();
        assert_eq!(*stages.borrow(), StopStage::Now);
        assert_eq!(*handle.stages().borrow(), StopStage::Now, "one that looks later sees it too");
    }
}
