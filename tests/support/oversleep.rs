//! Measures the scheduling delay of the machine, which bounds the precision of a test's timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SLEEP: Duration = Duration::from_millis(5);

/// A thread that sleeps repeatedly, and records how much longer than requested the worst sleep took.
///
/// A test that bounds when something ends adds [`Oversleep::allowance`] to the bound, so that it also holds on a busy machine.
pub struct Oversleep {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The end of a wait passes through up to this many threads, each of which may have to wait for a processor.
const HANDOVERS: u32 = 8;

impl Oversleep {
    /// Measures until it is dropped.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a thread")]
    pub fn new() -> Self {
        let (worst, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (longest, ended) = (Arc::clone(&worst), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(SLEEP);
                let late = began.elapsed().saturating_sub(SLEEP).as_nanos();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { worst, over, thread: Some(thread) }
    }

    /// The worst delay so far.
    #[must_use]
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }

    /// The additional time, compared with an idle machine, that an action triggered by a timer may take.
    #[must_use]
    pub fn allowance(&self) -> Duration {
        HANDOVERS * self.worst()
    }
}

impl Drop for Oversleep {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
