//! Opens batches ahead of the application, on threads of their own: verifies and decompresses them.
//!
//! If the application polls again at once, opening them on its own thread is faster, as the bytes are in its
//! core's cache. If it takes its time between two polls, or has set `decompression.threads`, chunks are
//! submitted in the order in which they will be handed out. The application never waits for a thread to
//! begin: a chunk that no thread has begun is taken back. If a thread is working on a chunk, the application
//! waits only if nothing of it is open, and no longer than the current batch takes.
//!
//! The bytes that are open ahead are limited for all partitions together.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use offtake_wire::records::Decompressor;

use super::chunk_batches::ChunkBatches;

/// How long an application must be away between two polls, on average, for two threads to be better than one.
const WORTHWHILE: Duration = Duration::from_micros(200);
/// A longer absence counts as this.
const LONG: Duration = Duration::from_millis(10);
/// The average is over about this many polls: an application may do several in a row and be away after the
/// last of them.
const POLLS: u32 = 16;
/// The limit of what is open ahead, in bytes; each thread may exceed it by a batch.
const MAX_OPEN: usize = 12 << 20;
/// The bytes of buffers that each thread keeps to decompress into: buffers of batches that are open or being
/// handed out return to it. Of fewer than those that are open, each would be given up before it returns.
const KEPT: usize = 16 << 20;
/// The number of chunks that are looked at, or submitted, at a time.
pub(super) const MAX_CHUNKS: usize = 32;

/// Selects what opens batches ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opener {
    /// Threads, started when they are first needed.
    Threads,
    /// The polling task, at once: the same work as a thread's, but deterministic.
    Caller,
    /// As a thread that is early, late or half done, drawn from this seed, so deterministic.
    Random(u64),
    /// Nothing is opened ahead.
    Nobody,
    /// A thread that begins, and never returns anything.
    #[cfg(test)]
    Lossy,
}

#[derive(Debug)]
pub(super) struct Prefetcher {
    opener: Opener,
    /// Whether batches are also opened ahead for an application that polls again at once.
    always: bool,
    threads: usize,
    jobs: Option<mpsc::Sender<Arc<Job>>>,
    /// The limit of one decompressed batch, in bytes.
    batch_limit: usize,
    open: OpenBytes,
    submitted: u64,
    /// When the application last received something.
    left_at: Option<Instant>,
    /// How long it is away between two polls, on average.
    away: Duration,
}

/// The bytes of all batches that are open ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenBytes(Arc<AtomicUsize>);

/// Counts a batch as open ahead for as long as this exists.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: usize,
    of: OpenBytes,
}

impl OpenBytes {
    fn room(&self) -> usize {
        MAX_OPEN.saturating_sub(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, bytes: usize) -> Counted {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Counted { bytes, of: self.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A chunk that was submitted. Dropping it cancels the job.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Job>);

#[derive(Debug)]
struct Job {
    stage: Mutex<Stage>,
    /// Notified when no thread works on it any more.
    settled: Condvar,
    /// Asks the thread to give the chunk back after the current batch.
    wanted: AtomicBool,
    open: OpenBytes,
}

#[derive(Debug)]
enum Stage {
    Waiting(ChunkBatches),
    AtWork,
    Done(ChunkBatches),
    /// Taken back or cancelled; or the thread failed.
    Over,
}

impl Job {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Option<ChunkBatches> {
        let mut stage = self.stage();
        match std::mem::replace(&mut *stage, Stage::AtWork) {
            Stage::Waiting(batches) => Some(batches),
            other => {
                *stage = other;
                None
            }
        }
    }

    /// Opens up to `most` batches, unless the chunk has been taken back.
    fn run(&self, decompressor: &mut Decompressor, most: usize) {
        let Some(mut batches) = self.begin() else { return };
        let unless_done = AbandonOnDrop(self);
        let mut left = most;
        while left > 0
            && self.open.room() > 0
            && !self.wanted.load(Ordering::Relaxed)
            && batches.open_ahead(decompressor, &self.open)
        {
            left -= 1;
        }
        *self.stage() = Stage::Done(batches);
        drop(unless_done);
    }
}

/// Notifies a waiting caller however the job ends.
struct AbandonOnDrop<'a>(&'a Job);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        let mut stage = self.0.stage();
        if matches!(*stage, Stage::AtWork) {
            *stage = Stage::Over;
        }
        self.0.settled.notify_one();
    }
}

impl InFlight {
    /// The chunk's batches, as far as they are opened; `None` if the thread failed.
    pub(super) fn take_back(self) -> Option<ChunkBatches> {
        let job = &self.0;
        job.wanted.store(true, Ordering::Relaxed);
        let mut stage = job.stage();
        loop {
            match std::mem::replace(&mut *stage, Stage::Over) {
                Stage::Waiting(batches) | Stage::Done(batches) => return Some(batches),
                Stage::Over => return None,
                Stage::AtWork => {
                    *stage = Stage::AtWork;
                    stage = job.settled.wait(stage).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Whether a thread works on it, or will.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(*self.0.stage(), Stage::Waiting(_) | Stage::AtWork)
    }

    /// The size in bytes of the opened batches.
    #[cfg(test)]
    pub(super) fn open_bytes(&self) -> usize {
        match &*self.0.stage() {
            Stage::Done(batches) => batches.open_bytes(),
            Stage::Waiting(_) | Stage::AtWork | Stage::Over => 0,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.wanted.store(true, Ordering::Relaxed);
        let mut stage = self.0.stage();
        if !matches!(*stage, Stage::AtWork) {
            *stage = Stage::Over;
        }
    }
}

impl Prefetcher {
    /// With this number of `threads`, for an application that has requested some; with 0, one thread for an
    /// application that takes its time.
    pub(super) fn new(opener: Opener, threads: usize, batch_limit: usize) -> Self {
        let opener = match opener {
            Opener::Nobody if threads > 0 => Opener::Threads,
            opener => opener,
        };
        Self {
            opener,
            always: threads > 0,
            threads: threads.max(1),
            jobs: None,
            batch_limit,
            open: OpenBytes::default(),
            submitted: 0,
            left_at: None,
            away: Duration::ZERO,
        }
    }

    /// Notes that the application has received something.
    pub(super) fn application_leaves(&mut self, now: Instant) {
        self.left_at = Some(now);
    }

    /// Notes that the application is back.
    pub(super) fn application_returns(&mut self, now: Instant) {
        if let Some(left_at) = self.left_at.take() {
            let away = now.saturating_duration_since(left_at).min(LONG);
            self.away = (self.away * (POLLS - 1) + away) / POLLS;
        }
    }

    /// The bytes of batches that should be opened now, in addition to those that are.
    pub(super) fn wanted(&self) -> usize {
        let pays = match self.opener {
            Opener::Threads => self.always || self.away >= WORTHWHILE,
            Opener::Caller | Opener::Random(_) => true,
            Opener::Nobody => false,
            #[cfg(test)]
            Opener::Lossy => true,
        };
        if pays { self.open.room() } else { 0 }
    }

    /// Has these batches opened. Without a thread they stay as they are.
    pub(super) fn submit(&mut self, batches: ChunkBatches) -> InFlight {
        self.submitted = self.submitted.wrapping_add(1);
        let job = Arc::new(Job {
            stage: Mutex::new(Stage::Waiting(batches)),
            settled: Condvar::new(),
            wanted: AtomicBool::new(false),
            open: self.open.clone(),
        });
        match self.opener {
            Opener::Threads => self.hand_over(&job),
            Opener::Caller => self.run(&job, usize::MAX),
            Opener::Random(seed) => {
                // All of them in time, none, or one batch.
                let mixed = (seed ^ self.submitted).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                match (mixed >> 60) % 3 {
                    0 => self.run(&job, usize::MAX),
                    1 => {}
                    _ => self.run(&job, 1),
                }
            }
            Opener::Nobody => {}
            #[cfg(test)]
            Opener::Lossy => drop((job.begin(), AbandonOnDrop(&job))),
        }
        InFlight(job)
    }

    fn run(&self, job: &Job, most: usize) {
        job.run(&mut Decompressor::with_limit(self.batch_limit), most);
    }

    fn hand_over(&mut self, job: &Arc<Job>) {
        if self.jobs.is_none() {
            self.jobs = start(self.threads, self.batch_limit);
        }
        let taken = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job.clone()).is_ok());
        if !taken {
            self.opener = Opener::Nobody;
        }
    }
}

/// Starts threads that end when the consumer does; `None` if none can be started.
fn start(threads: usize, batch_limit: usize) -> Option<mpsc::Sender<Arc<Job>>> {
    let (sender, jobs) = mpsc::channel::<Arc<Job>>();
    let jobs = Arc::new(Mutex::new(jobs));
    let started = (0..threads).filter(|_| {
        let jobs = jobs.clone();
        let work = move || {
            let mut decompressor = Decompressor::with_limit(batch_limit).with_buffer_limit(KEPT);
            let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(job) = next() {
                job.run(&mut decompressor, usize::MAX);
            }
        };
        let thread = thread::Builder::new().name("offtake-open".to_owned()).spawn(work);
        thread.inspect_err(|error| tracing::debug!(%error, "no thread to decode batches ahead")).is_ok()
    });
    (started.count() > 0).then_some(sender)
}

#[cfg(test)]
mod tests {
    use offtake_wire::records::{BatchBuilder, Crc};

    use super::*;

    fn job(stage: impl FnOnce(ChunkBatches) -> Stage) -> Arc<Job> {
        let mut builder = BatchBuilder::new(0);
        builder.push(1, None, Some(b"value"), &[]);
        let batch = builder.build().unwrap();
        let batches = ChunkBatches::of([batch].into_iter().collect(), 0, Crc::Check);
        Arc::new(Job {
            stage: Mutex::new(stage(batches)),
            settled: Condvar::new(),
            wanted: AtomicBool::new(false),
            open: OpenBytes::default(),
        })
    }

    #[test]
    fn a_chunk_that_is_dropped_is_opened_by_no_thread_and_keeps_no_memory() {
        for stage in [Stage::Waiting, Stage::Done] {
            let job = job(stage);
            drop(InFlight(job.clone()));
            assert!(matches!(*job.stage(), Stage::Over), "{job:?}");
            assert!(job.begin().is_none(), "no thread begins it");
        }
    }

    #[test]
    fn a_chunk_that_is_dropped_while_a_thread_opens_it_is_given_up_after_the_current_batch() {
        let job = job(Stage::Waiting);
        let batches = job.begin();
        drop(InFlight(job.clone()));
        assert!(batches.is_some() && matches!(*job.stage(), Stage::AtWork), "{job:?}");
        assert!(job.wanted.load(Ordering::Relaxed));
    }
}
