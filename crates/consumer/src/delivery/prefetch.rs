//! Batches opened before they are asked for, on threads of their own: verified and decompressed.
//!
//! If the application polls again at once, opening them on its own thread is faster, with the bytes in its own core's cache. If
//! it stays away between two polls, or has asked for `decompression.threads`, chunks are submitted in the order in which they
//! will be handed out. The application never waits for a thread to begin: a chunk that no thread has begun is taken back. One that a
//! thread is at work on is waited for only if nothing of it is open, and for no longer than the batch in hand takes.
//!
//! What is open ahead is bounded in bytes, whichever partitions it is of.

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

/// How long an application must stay away between two polls, on average, for two threads to be better than one.
const WORTHWHILE: Duration = Duration::from_micros(200);
/// A longer absence counts as this.
const LONG: Duration = Duration::from_millis(10);
/// The average is over about so many polls: an application may work through several and be away after the last of them.
const POLLS: u32 = 16;
/// What is open ahead, in bytes; each thread may exceed it by a batch.
const MAX_OPEN: usize = 6 << 20;
/// Bytes of buffers to decompress into that each thread keeps: what is open, and what is being handed out, comes back to it.
const KEPT: usize = 8 << 20;
/// Chunks that are looked at, or submitted, at a time.
pub(super) const MAX_CHUNKS: usize = 32;

/// How batches are opened ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenWith {
    /// What one may unpack to, in bytes.
    pub(super) limit: usize,
    /// How many of its records are checked: no poll hands out more.
    pub(super) records: usize,
}

/// Who opens batches ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opener {
    /// Threads, from when they are needed first.
    Threads,
    /// The task that polls, at once: what a thread does, but the same again each time.
    Caller,
    /// As a thread would that is early, late or in the middle of it, by a number for each time; but the same again each time.
    Drawn(u64),
    /// Nobody.
    Nobody,
    /// One that begins, and never gives anything back.
    #[cfg(test)]
    Loser,
}

#[derive(Debug)]
pub(super) struct Prefetcher {
    opener: Opener,
    /// Whether batches are opened ahead of an application that polls again at once, too.
    always: bool,
    threads: usize,
    jobs: Option<mpsc::Sender<Arc<Job>>>,
    with: OpenWith,
    open: OpenBytes,
    submitted: u64,
    /// When the application was handed something last.
    left_at: Option<Instant>,
    /// How long it has stayed away between two polls, on average.
    away: Duration,
}

/// The bytes of all batches that are open ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenBytes(Arc<AtomicUsize>);

/// Counts a batch that is open ahead for as long as it lives.
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

/// A chunk that was submitted. Dropping it says that its batches are not wanted any more.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Job>);

#[derive(Debug)]
struct Job {
    stage: Mutex<Stage>,
    /// Notified when a thread is no longer at work on it.
    settled: Condvar,
    /// It is to be given back after the batch in hand.
    wanted: AtomicBool,
    open: OpenBytes,
}

#[derive(Debug)]
enum Stage {
    Waiting(ChunkBatches),
    AtWork,
    Done(ChunkBatches),
    /// Taken back, or not wanted any more; or the thread failed.
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
    fn run(&self, decompressor: &mut Decompressor, most: usize, records: usize) {
        let Some(mut batches) = self.begin() else { return };
        let unless_done = AbandonOnDrop(self);
        let mut left = most;
        while left > 0
            && self.open.room() > 0
            && !self.wanted.load(Ordering::Relaxed)
            && batches.open_ahead(decompressor, records, &self.open)
        {
            left -= 1;
        }
        *self.stage() = Stage::Done(batches);
        drop(unless_done);
    }
}

/// However a job ends, whoever waits for it hears of that.
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

    /// Whether a thread has it, or will.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(*self.0.stage(), Stage::Waiting(_) | Stage::AtWork)
    }

    /// Bytes of the batches that are opened.
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
    /// With so many `threads` for an application that has asked for some; with none, one thread for an application that stays away.
    pub(super) fn new(opener: Opener, threads: usize, with: OpenWith) -> Self {
        let opener = match opener {
            Opener::Nobody if threads > 0 => Opener::Threads,
            opener => opener,
        };
        Self {
            opener,
            always: threads > 0,
            threads: threads.max(1),
            jobs: None,
            with,
            open: OpenBytes::default(),
            submitted: 0,
            left_at: None,
            away: Duration::ZERO,
        }
    }

    /// The application has been handed something.
    pub(super) fn application_leaves(&mut self, now: Instant) {
        self.left_at = Some(now);
    }

    /// The application is back.
    pub(super) fn application_returns(&mut self, now: Instant) {
        if let Some(left_at) = self.left_at.take() {
            let away = now.saturating_duration_since(left_at).min(LONG);
            self.away = (self.away * (POLLS - 1) + away) / POLLS;
        }
    }

    /// Bytes of batches that should be opened now, beside those that are.
    pub(super) fn wanted(&self) -> usize {
        let pays = match self.opener {
            Opener::Threads => self.always || self.away >= WORTHWHILE,
            Opener::Caller | Opener::Drawn(_) => true,
            Opener::Nobody => false,
            #[cfg(test)]
            Opener::Loser => true,
        };
        if pays { self.open.room() } else { 0 }
    }

    /// Has these opened. Without a thread they stay as they are.
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
            Opener::Drawn(seed) => {
                // All of it in time, nothing, or one batch.
                let mixed = (seed ^ self.submitted).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                match (mixed >> 60) % 3 {
                    0 => self.run(&job, usize::MAX),
                    1 => {}
                    _ => self.run(&job, 1),
                }
            }
            Opener::Nobody => {}
            #[cfg(test)]
            Opener::Loser => drop((job.begin(), AbandonOnDrop(&job))),
        }
        InFlight(job)
    }

    fn run(&self, job: &Job, most: usize) {
        job.run(&mut Decompressor::with_limit(self.with.limit), most, self.with.records);
    }

    fn hand_over(&mut self, job: &Arc<Job>) {
        if self.jobs.is_none() {
            self.jobs = start(self.threads, self.with);
        }
        let taken = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job.clone()).is_ok());
        if !taken {
            self.opener = Opener::Nobody;
        }
    }
}

/// Threads that end when the consumer does; `None` if there are none to be had.
fn start(threads: usize, with: OpenWith) -> Option<mpsc::Sender<Arc<Job>>> {
    let (sender, jobs) = mpsc::channel::<Arc<Job>>();
    let jobs = Arc::new(Mutex::new(jobs));
    let started = (0..threads).filter(|_| {
        let jobs = jobs.clone();
        let work = move || {
            let mut decompressor = Decompressor::with_limit(with.limit).keeping(KEPT);
            let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(job) = next() {
                job.run(&mut decompressor, usize::MAX, with.records);
            }
        };
        let thread = thread::Builder::new().name("offtake-open".to_owned()).spawn(work);
        thread.inspect_err(|error| tracing::debug!(%error, "no thread to open batches ahead")).is_ok()
    });
    (started.count() > 0).then_some(sender)
}
