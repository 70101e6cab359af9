//! What handles records: a function of a record, of a batch, or one that blocks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use offtake::OwnedRecord;

use crate::Failure;

/// Handles a record at a time: `async fn handle(record: OwnedRecord, attempt: Attempt) -> Result<(), Failure>`, or a closure like it.
///
/// Its futures run as tasks of the runtime on which [`Worker::run`](crate::Worker::run) runs. One is dropped where it stands, at an `await`, when its
/// partition is taken away or the worker's time is over; its record is handled again then, here or elsewhere. A panic is a failure that is retried.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record.
    fn handle(
        &self,
        record: OwnedRecord,
        attempt: Attempt,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static;
}

impl<F, T> Handler for F
where
    F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    fn handle(
        &self,
        record: OwnedRecord,
        attempt: Attempt,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        self(record, attempt)
    }
}

/// Handles several records at a time: `async fn handle(batch: Batch) -> Result<Handled, Failure>`, or a closure like it.
///
/// An error says that none of the records is done: each fails so.
pub trait BatchHandler: Send + Sync + 'static {
    /// Handles these.
    fn handle(&self, batch: Batch) -> impl Future<Output = Result<Handled, Failure>> + Send + 'static;
}

impl<F, T> BatchHandler for F
where
    F: Fn(Batch) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Handled, Failure>> + Send + 'static,
{
    fn handle(&self, batch: Batch) -> impl Future<Output = Result<Handled, Failure>> + Send + 'static {
        self(batch)
    }
}

/// Handles a record at a time, on a thread where it may block: `fn handle(record: OwnedRecord, attempt: Attempt) -> Result<(), Failure>`.
///
/// A thread cannot be ended from outside: one that takes long looks at [`Attempt::cancelled`] now and then.
pub trait BlockingHandler: Send + Sync + 'static {
    /// Handles one record.
    fn handle(&self, record: OwnedRecord, attempt: Attempt) -> Result<(), Failure>;
}

impl<F> BlockingHandler for F
where
    F: Fn(OwnedRecord, Attempt) -> Result<(), Failure> + Send + Sync + 'static,
{
    fn handle(&self, record: OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
        self(record, attempt)
    }
}

/// Which attempt at a record this is.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(crate) number: u32,
    pub(crate) is_probe: bool,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    /// Of a handler that cannot be dropped.
    pub(crate) cancelled: Option<Arc<AtomicBool>>,
}

/// How the first attempt at a record ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFailure {
    /// Why it failed.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Attempt {
    /// From 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is tried again to see if the [breaker](crate::Breaker) may close. A failure of such an attempt is not counted.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// How the first attempt at this record ended, where this is a later one.
    pub fn first_failure(&self) -> Option<&FirstFailure> {
        self.first_failure.as_deref()
    }

    /// Whether what comes of this is of no account any more, as the partition was taken away or the worker's time is over. For
    /// [blocking handlers](BlockingHandler): the future of any other is dropped then.
    pub fn cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Acquire))
    }
}

/// Records to be handled together: each lane's (key's, partition's) in the order of its log.
#[derive(Clone)]
pub struct Batch {
    pub(crate) records: Vec<(OwnedRecord, Attempt)>,
}

impl Batch {
    /// How many; one at least.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &OwnedRecord> {
        self.records.iter().map(|(record, _)| record)
    }

    /// The records, and which attempt at each this is.
    pub fn attempts(&self) -> impl Iterator<Item = (&OwnedRecord, &Attempt)> {
        self.records.iter().map(|(record, attempt)| (record, attempt))
    }

    /// A result for each, by this function.
    pub fn each(&self, result: impl FnMut(&OwnedRecord) -> Result<(), Failure>) -> Handled {
        Handled::Each(self.iter().map(result).collect())
    }
}

impl IntoIterator for Batch {
    type Item = (OwnedRecord, Attempt);
    type IntoIter = std::vec::IntoIter<(OwnedRecord, Attempt)>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("records", &self.records.len()).finish()
    }
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub enum Handled {
    /// All of it is done.
    All,
    /// What became of each record, in the order of the batch. Those for which there is none failed, and are retried. Behind a record that
    /// failed, what became of the others of its lane does not count: they come again after it, so that their order holds.
    Each(Vec<Result<(), Failure>>),
}

impl From<Vec<Result<(), Failure>>> for Handled {
    fn from(results: Vec<Result<(), Failure>>) -> Self {
        Self::Each(results)
    }
}
