//! [`WorkerHandle`]: access to a worker from other tasks.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use offtake::Health;
use tokio::sync::watch;

use crate::Metrics;

/// Stops a worker from another task, and returns its metrics and its health. Created by [`Worker::handle`](crate::Worker::handle) before the
/// worker runs; cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    stop: Arc<watch::Sender<StopStage>>,
    metrics: Arc<Mutex<Arc<Metrics>>>,
    consumer: Arc<OnceLock<offtake::Handle>>,
}

/// How far a worker was asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopStage {
    #[default]
    Running,
    /// No new handlers begin; running ones may end.
    Stopping,
    /// Running handlers are cancelled.
    Now,
}

impl WorkerHandle {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::new(watch::Sender::default()), metrics: Arc::default(), consumer: Arc::default() }
    }

    /// Asks the worker to stop, as the end of its shutdown future does: no new handlers begin, running ones may end within the
    /// [grace](crate::Worker::grace), dead letters are written, finished records are committed, and the member leaves the group.
    /// A second call has no effect. If called before the worker runs, the worker stops at once.
    pub fn stop(&self) {
        self.reach(StopStage::Stopping);
    }

    /// Stops without waiting for running handlers, which are cancelled. Finished records are still committed, and the member
    /// still leaves the group, each with its own timeout.
    pub fn stop_now(&self) {
        self.reach(StopStage::Now);
    }

    /// The worker's metrics, at most a quarter of a second old while it runs. After its end, the final ones.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The health of the worker's consumer, for the probes of a service: [`Health::is_live`] and [`Health::is_ready`]. `None` until the worker
    /// runs and its settings are found valid; not running after its end.
    pub fn health(&self) -> Option<Health> {
        self.consumer.get().map(offtake::Handle::health)
    }

    pub(crate) fn consumes_with(&self, consumer: offtake::Handle) {
        // A worker has one consumer.
        let _ = self.consumer.set(consumer);
    }

    fn reach(&self, stage: StopStage) {
        self.stop.send_if_modified(|now| std::mem::replace(now, stage.max(*now)) < stage);
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
