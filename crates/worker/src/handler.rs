//! The inputs of handlers other than records, and the results of batch handlers.

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

/// One attempt at a record.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(crate) number: u32,
    pub(crate) is_probe: bool,
    pub(crate) is_last: bool,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    pub(crate) limit: Option<Duration>,
    /// Set for a handler that cannot be dropped.
    pub(crate) cancelled: Option<Arc<AtomicBool>>,
    /// Set in a transactional worker.
    pub(crate) outbox: Option<Outbox>,
    /// Set for a record of a retry topic.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// The failure of the first attempt at a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFailure {
    /// Why it failed.
    pub reason: String,
    /// When it failed, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Attempt {
    /// Sends a record in the same transaction that finishes the handled record. Only in a
    /// [transactional](crate::Worker::transactional) worker.
    ///
    /// The record is kept until then, so that this neither waits nor reports whether it is written. Records sent by an attempt
    /// are dropped if the attempt fails or is cancelled, or if its record is handled again elsewhere. If the brokers do not
    /// accept a sent record (it is too large, or its topic does not exist), the partition of the handled record stops
    /// ([`ResultFailed`](crate::StopReason::ResultFailed)). It also stops if the records sent for one handled record exceed the
    /// producer's `buffer.memory` (32 MiB, unless set by [`Transactions`](crate::Transactions::property)), because one
    /// transaction must write them all.
    ///
    /// # Errors
    /// [`Fatal`](crate::FailureKind::Fatal): the worker is not transactional. A failure that is retried: the attempt has ended.
    pub fn send(&self, record: ProducerRecord<'_>) -> Result<(), Failure> {
        self.send_for(&record, None)
    }

    fn send_for(&self, record: &ProducerRecord<'_>, first: Option<i64>) -> Result<(), Failure> {
        let no_transactions = || {
            Failure::fatal(
                "the handler sends records, but the worker has no transactions: use `Worker::transactional`",
            )
        };
        self.outbox.as_ref().ok_or_else(no_transactions)?.send(record, first)
    }

    /// The origin of a record in a [retry topic](crate::Retry::then_topics), and its failures so far; `None` for every other
    /// record.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// The time limit of the attempt ([`Worker::timeout`](crate::Worker::timeout)), shared by all records of its batch; `None`
    /// without a limit.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// The number of the attempt, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether the attempt is a probe of the [breaker](crate::Breaker). The failure of a probe is not counted.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Whether this is the record's last attempt here. If it fails and counts, the record goes to a retry topic or the dead
    /// letters, or stops its partition. (If its only attempt is in a batch of several, and an error of the whole batch ends it, the
    /// record is tried once more, alone.)
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// The failure of the first attempt at this record, if this is a later one.
    pub fn first_failure(&self) -> Option<&FirstFailure> {
        self.first_failure.as_deref()
    }

    /// Whether the result of this attempt no longer counts, because the partition was revoked or lost or the worker's time has
    /// ended; or whether the attempt has exceeded [`Worker::timeout`](crate::Worker::timeout). Meant for [blocking
    /// handlers](crate::Worker::run_blocking); the futures of other handlers are dropped then.
    pub fn cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Acquire))
    }
}

/// Records to be handled together. Those of one lane (key or partition) are in the order of the log.
#[derive(Clone)]
pub struct Batch {
    pub(crate) records: Vec<(OwnedRecord, Attempt)>,
}

impl Batch {
    /// The number of records; at least one.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Always `false`.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &OwnedRecord> {
        self.records.iter().map(|(record, _)| record)
    }

    /// The records, each with its attempt.
    pub fn attempts(&self) -> impl Iterator<Item = (&OwnedRecord, &Attempt)> {
        self.records.iter().map(|(record, attempt)| (record, attempt))
    }

    /// Sends a record made of all records of the batch, as [`Attempt::send`] does: they are committed together with it, and none
    /// before. For handlers with one result for the whole batch ([`Handled::All`], or an error): if some of its records fail and
    /// others do not, the worker ends with a [fatal](crate::Error::Fatal) error, and commits neither.
    ///
    /// Other records of the partition may lie between those of a batch (with [`Order::Key`](crate::Order::Key), for example). The
    /// sent record is then committed once those are finished too. If brokers lose the last records of a batch before that (the
    /// log is truncated), the sent record is lost with them.
    ///
    /// # Errors
    /// Those of [`Attempt::send`].
    pub fn send(&self, record: ProducerRecord<'_>) -> Result<(), Failure> {
        let last = self.records.iter().max_by_key(|(record, _)| record.offset());
        let first = self.iter().map(OwnedRecord::offset).min();
        last.map_or(Ok(()), |(_, attempt)| attempt.send_for(&record, first))
    }

    /// The results for all records, computed by this function.
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

/// The result of a batch.
#[derive(Clone, Debug)]
pub enum Handled {
    /// All records are done.
    All,
    /// The result of each record, in the order of the batch. Records without a result have failed, and are retried; results
    /// without a record are ignored. After a failed record, the results of later records of its lane do not count: these records are handled again after it, to keep
    /// their order.
    Each(Vec<Result<(), Failure>>),
}

impl From<Vec<Result<(), Failure>>> for Handled {
    fn from(results: Vec<Result<(), Failure>>) -> Self {
        Self::Each(results)
    }
}
