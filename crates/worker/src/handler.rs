//! What handlers are given beside a record, and what a handler of batches gives back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use offtake::OwnedRecord;
use offtake_producer::ProducerRecord;

use crate::{Failure, dead_letters::Origin, output::Outbox};

/// Which attempt at a record this is.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(crate) number: u32,
    pub(crate) is_probe: bool,
    pub(crate) is_last: bool,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    pub(crate) limit: Option<Duration>,
    /// Of a handler that cannot be dropped.
    pub(crate) cancelled: Option<Arc<AtomicBool>>,
    /// Of a transactional worker.
    pub(crate) outbox: Option<Outbox>,
    /// Of a record of a retry topic.
    pub(crate) origin: Option<Arc<Origin>>,
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
    /// Sends a record in the transaction in which the record that is handled is finished. Of a
    /// [transactional](crate::Worker::transactional) worker.
    ///
    /// It is kept until then, so that this neither waits nor says whether it is written. What an attempt has sent that fails, is cancelled, or whose record is
    /// handled again elsewhere is dropped. What the brokers do not take (it is too large, its topic does not exist) stops the partition of the record that
    /// is handled ([`ResultFailed`](crate::StopReason::ResultFailed)). So does a record of which more is sent in all than the producer's `buffer.memory` holds
    /// (32 MiB, unless [`Transactions`](crate::Transactions::property) says otherwise), as that is written by one transaction.
    ///
    /// # Errors
    /// [`Fatal`](crate::FailureKind::Fatal): the worker is not transactional. A failure that is retried: the attempt has ended.
    pub fn send(&self, record: ProducerRecord<'_>) -> Result<(), Failure> {
        self.send_for(&record, None)
    }

    fn send_for(&self, record: &ProducerRecord<'_>, first: Option<i64>) -> Result<(), Failure> {
        let no_transactions =
            || Failure::fatal("a handler sends, and there are no transactions: say `Worker::transactional`");
        self.outbox.as_ref().ok_or_else(no_transactions)?.send(record, first)
    }

    /// Where a record of a [retry topic](crate::Retry::then_topics) comes from, and why it failed there; `None` for every other record.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// How long it may take ([`Worker::timeout`](crate::Worker::timeout)), with all records of its batch; `None` without an end.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// From 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is tried again to see if the [breaker](crate::Breaker) may close. A failure of such an attempt is not counted.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Whether the record has no other attempt left here: where this one fails and counts, it is put aside, dead-lettered, or stops its partition.
    pub fn is_last(&self) -> bool {
        self.is_last
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

    /// Sends a record as [`Attempt::send`] does, which is made of all of its records: they are committed together with it, none before. For a handler
    /// that gives one result for the whole batch ([`Handled::All`], or an error).
    ///
    /// Between the records of a batch there may be others of the partition (with [`Order::Key`](crate::Order::Key), for example): then it is committed when these
    /// are finished too. Where brokers lose the last records of a batch before that (the log is cut), what was made of it is lost with them.
    ///
    /// # Errors
    /// As [`Attempt::send`].
    pub fn send(&self, record: ProducerRecord<'_>) -> Result<(), Failure> {
        let last = self.records.iter().max_by_key(|(record, _)| record.offset());
        let first = self.iter().map(OwnedRecord::offset).min();
        last.map_or(Ok(()), |(_, attempt)| attempt.send_for(&record, first))
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
