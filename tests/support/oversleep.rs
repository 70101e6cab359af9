//! Measures the scheduling delay of the machine, which bounds the precision of a test's timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);

/// A thread that sleeps repeatedly, and records how much longer than requested the worst sleep took.
///
/// A test that bounds when something ends adds [`Oversleep::allows`] to the bound, so that it also holds on a busy machine.
pub struct Oversleep {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    naps: Option<JoinHandle<()>>,
}

/// The end of a wait passes through up to this many threads, each of which may have to wait for a processor.
const HANDS: u32 = 8;

impl Oversleep {
    /// Measures until it is dropped.
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

    /// The worst delay so far.
    #[must_use]
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }

    /// The additional time, compared with an idle machine, that an action triggered by a timer may take.
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
