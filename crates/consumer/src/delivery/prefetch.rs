//! Batches opened on a thread of their own, while the application is busy with those before.
//!
//! To check and to inflate is most of what reading costs. Whoever comes back at once does it better itself, with the bytes in
//! its own core's cache; whoever takes its time finds its next records opened. Nothing waits for that thread to begin: what
//! it has not begun is taken back. Who comes back while it is at work, and has not enough opened, waits for the batch in
//! hand, as it would if it opened that itself, and for no other.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use offtake_machine::TopicPartition;
use offtake_wire::records::Decompressor;

use super::chunk_batches::{Amount, Reading};

/// How long an application must stay away between two calls, on average, for two threads to be better than one.
const WORTHWHILE: Duration = Duration::from_micros(200);
/// A longer absence counts as this.
const LONG: Duration = Duration::from_millis(10);
/// What is opened and waits of one chunk, in polls and in bytes; and one batch.
const MOST_POLLS: usize = 4;
const MOST_BYTES: usize = 2 << 20;

/// Who opens batches ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opener {
    /// A thread, from when it is needed first.
    Thread,
    /// Whoever polls, at once: what a thread does, but the same again each time.
    Caller,
    /// As a thread would that is early, late or in the middle of it, by a number for each time; but the same again each time.
    Drawn(u64),
    /// Nobody.
    Nobody,
    /// One that begins, and never gives anything back.
    #[cfg(test)]
    Loser,
}

/// How far a thread that opens batches ahead has come when they are wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schedule {
    /// Through.
    Early,
    /// Nowhere.
    Late,
    /// One batch is open, and it is at work on the next.
    Begun,
}

/// Names what was given away to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoanId(u64);

#[derive(Debug)]
pub(super) struct Ahead {
    opener: Opener,
    thread: Option<mpsc::Sender<Arc<Job>>>,
    decompression_limit: usize,
    amount: Amount,
    loan: Option<Loan>,
    loans: u64,
    /// When the application was handed something last.
    left_at: Option<Instant>,
    /// How long it has stayed away of late.
    away: Duration,
}

/// What was given away.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) id: LoanId,
    pub(super) partition: TopicPartition,
    /// `None` if it was lost.
    pub(super) reading: Option<Reading>,
}

#[derive(Debug)]
struct Loan {
    id: LoanId,
    partition: TopicPartition,
    job: Arc<Job>,
    /// A drawn schedule is in the middle of it: whoever wants it back waits for one more batch.
    in_the_middle: bool,
}

#[derive(Debug)]
struct Job {
    stage: Mutex<Stage>,
    /// Notified when it is no longer at work.
    settled: Condvar,
    /// The application is back.
    wanted: AtomicBool,
    amount: Amount,
}

#[derive(Debug)]
enum Stage {
    Waits(Reading),
    AtWork,
    Done(Reading),
    /// Taken back; or lost.
    Over,
}

impl Job {
    fn new(reading: Reading, amount: Amount) -> Self {
        let stage = Mutex::new(Stage::Waits(reading));
        Self { stage, settled: Condvar::new(), wanted: AtomicBool::new(false), amount }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Option<Reading> {
        let mut stage = self.stage();
        match std::mem::replace(&mut *stage, Stage::AtWork) {
            Stage::Waits(reading) => Some(reading),
            other => {
                *stage = other;
                None
            }
        }
    }

    /// Does it, unless it has been taken back.
    fn run(&self, decompressor: &mut Decompressor) {
        let Some(mut reading) = self.begin() else { return };
        let unless_done = Loses(self);
        let mut more = true;
        while more && !self.wanted.load(Ordering::Relaxed) {
            more = reading.opens_one(decompressor, self.amount);
        }
        *self.stage() = Stage::Done(reading);
        drop(unless_done);
    }

    /// As far as it has come; `None` if it was lost.
    fn end_handed_out(&self) -> Option<Reading> {
        self.wanted.store(true, Ordering::Relaxed);
        let mut stage = self.stage();
        loop {
            match std::mem::replace(&mut *stage, Stage::Over) {
                Stage::Waits(reading) | Stage::Done(reading) => return Some(reading),
                Stage::Over => return None,
                Stage::AtWork => {
                    *stage = Stage::AtWork;
                    stage = self.settled.wait(stage).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Whoever waits for a job hears of it however it ends.
struct Loses<'a>(&'a Job);

impl Drop for Loses<'_> {
    fn drop(&mut self) {
        let mut stage = self.0.stage();
        if matches!(*stage, Stage::AtWork) {
            *stage = Stage::Over;
        }
        self.0.settled.notify_one();
    }
}

impl Ahead {
    /// For an application that is handed `most` records at a time.
    pub(super) fn new(opener: Opener, most: usize, decompression_limit: usize) -> Self {
        let amount = Amount { records: most.saturating_mul(MOST_POLLS), bytes: MOST_BYTES };
        Self {
            opener,
            thread: None,
            decompression_limit,
            amount,
            loan: None,
            loans: 0,
            left_at: None,
            away: Duration::ZERO,
        }
    }

    /// The application has been handed something.
    pub(super) fn leaves(&mut self, now: Instant) {
        self.left_at = Some(now);
    }

    /// It is back.
    pub(super) fn returns(&mut self, now: Instant) {
        if let Some(left_at) = self.left_at.take() {
            let away = now.saturating_duration_since(left_at).min(LONG);
            self.away = (self.away * 3 + away) / 4;
        }
    }

    /// Whether something should be given away, and how much is then wanted.
    pub(super) fn wants(&self) -> Option<Amount> {
        let pays = match self.opener {
            Opener::Thread => self.away >= WORTHWHILE,
            Opener::Caller | Opener::Drawn(_) => true,
            Opener::Nobody => false,
            #[cfg(test)]
            Opener::Loser => true,
        };
        (pays && self.loan.is_none()).then_some(self.amount)
    }

    /// Gives it away. Without a thread to give it to it is back at once.
    pub(super) fn lend(&mut self, partition: &TopicPartition, reading: Reading, amount: Amount) -> LoanId {
        self.loans = self.loans.wrapping_add(1);
        let id = LoanId(self.loans);
        let schedule = self.schedule();
        let amount = match schedule {
            Some(Schedule::Begun) => Amount { records: 1, ..amount },
            _ => amount,
        };
        let job = Arc::new(Job::new(reading, amount));
        match self.opener {
            Opener::Thread => self.revoke_all(&job),
            Opener::Drawn(_) if schedule == Some(Schedule::Late) => {}
            Opener::Caller | Opener::Drawn(_) => {
                job.run(&mut Decompressor::with_limit(self.decompression_limit));
            }
            Opener::Nobody => {}
            #[cfg(test)]
            Opener::Loser => drop((job.begin(), Loses(&job))),
        }
        let in_the_middle = schedule == Some(Schedule::Begun);
        self.loan = Some(Loan { id, partition: partition.clone(), job, in_the_middle });
        id
    }

    /// When what is given away now is opened, if that is drawn.
    fn schedule(&self) -> Option<Schedule> {
        let Opener::Drawn(seed) = self.opener else { return None };
        let mixed = (seed ^ self.loans).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some(match (mixed >> 60) % 3 {
            0 => Schedule::Early,
            1 => Schedule::Late,
            _ => Schedule::Begun,
        })
    }

    #[cfg(test)]
    pub(super) fn is_lending(&self) -> bool {
        self.loan.is_some()
    }

    fn revoke_all(&mut self, job: &Arc<Job>) {
        if self.thread.is_none() {
            self.thread = start(self.decompression_limit);
        }
        let taken = self.thread.as_ref().is_some_and(|thread| thread.send(job.clone()).is_ok());
        if !taken {
            self.opener = Opener::Nobody;
        }
    }

    /// Whether somebody is at work for us.
    pub(super) fn is_at_work(&self) -> bool {
        let is_at_work = |loan: &Loan| loan.in_the_middle || matches!(*loan.job.stage(), Stage::AtWork);
        self.loan.as_ref().is_some_and(is_at_work)
    }

    /// What was given away, if anything was.
    pub(super) fn end_handed_out(&mut self) -> Option<Back> {
        let Loan { id, partition, job, in_the_middle } = self.loan.take()?;
        let mut reading = job.end_handed_out();
        if let Some(reading) = reading.as_mut().filter(|_| in_the_middle) {
            let mut decompressor = Decompressor::with_limit(self.decompression_limit);
            reading.opens_one(&mut decompressor, self.amount);
        }
        Some(Back { id, partition, reading })
    }
}

/// Ends when the consumer does.
fn start(decompression_limit: usize) -> Option<mpsc::Sender<Arc<Job>>> {
    let (jobs, given) = mpsc::channel::<Arc<Job>>();
    let work = move || {
        let mut decompressor = Decompressor::with_limit(decompression_limit);
        while let Ok(job) = given.recv() {
            job.run(&mut decompressor);
        }
    };
    let thread = thread::Builder::new().name("offtake-ahead".to_owned()).spawn(work);
    thread.inspect_err(|error| tracing::debug!(%error, "no thread to open batches ahead")).ok().map(|_| jobs)
}
