//! How much of a processor is left for a test: what it may wait for a timer depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);

/// A thread that takes nap after nap, and notes how much longer than it wanted the worst of them took.
///
/// A test that says when something ends adds [`Oversleep::allows`] to its bound, so that it holds on a machine that has other
/// things to do, too.
pub struct Oversleep {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    naps: Option<JoinHandle<()>>,
}

/// What ends a wait passes through up to so many threads that may each have to wait for a processor.
const HANDS: u32 = 8;

impl Oversleep {
    /// Begins to watch, until it is dropped.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a thread")]
    pub fn new() -> Self {
        let (worst, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (longest, ended) = (Arc::clone(&worst), Arc::clone(&over));
        let naps = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(NAP);
                let late = began.elapsed().saturating_sub(NAP).as_nanos();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { worst, over, naps: Some(naps) }
    }

    /// The worst until now.
    #[must_use]
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }

    /// How much longer than on an idle machine something may take that a timer ends.
    #[must_use]
    pub fn allows(&self) -> Duration {
        HANDS * self.worst()
    }
}

impl Drop for Oversleep {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.naps.take().map(JoinHandle::join));
    }
}
