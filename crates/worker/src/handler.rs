//! What handlers are given beside a record, and what a handler of batches gives back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use offtake::OwnedRecord;

use crate::Failure;

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

    /// Whether what comes of this is of no account any more, as the partition was taken away or the worker's time is over; or whether it has taken
    /// longer than [`Worker::timeout`](crate::Worker::timeout). For [blocking handlers](crate::Worker::run_blocking): the future of any other is dropped then.
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
