#![doc = include_str!("../README.md")]

use std::{collections::BTreeMap, mem, time::Duration};

use offtake::{Consumer, Error, ErrorKind, Handle, Position, Records, Result, StartAt, TopicPartition};
use offtake_producer::{ProducerRecord, Transaction, TransactionDelivery, TransactionalProducer};
use tokio::time::{Instant, sleep_until};

/// The timeout of one poll; the next one follows.
const POLL: Duration = Duration::from_secs(60);

/// The limit of a pause, so that its end can be represented.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The first position in each partition of a step.
type Firsts = BTreeMap<TopicPartition, Position>;

/// A consumer and a producer that process each poll's records in one transaction.
///
/// ```no_run
/// # async fn run(mut once: offtake_exactly_once::ExactlyOnce) -> offtake::Result<()> {
/// use offtake_producer::ProducerRecord;
///
/// while let Some(step) = once.next().await? {
///     for record in step.records() {
///         step.send(ProducerRecord::to("invoices").value(record.value().unwrap_or_default()));
///     }
///     step.commit().await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// The group's offsets are committed within the transactions (KIP-98, KIP-447). If a member processes a record and then loses its
/// partition, hangs or crashes, nothing of its transaction takes effect, and the next member processes the record.
#[derive(Debug)]
pub struct ExactlyOnce {
    consumer: Consumer,
    producer: TransactionalProducer,
    /// The first positions of the last step, as long as it is not known to be committed.
    uncommitted: Firsts,
    /// The number of consecutive steps that were not committed.
    repeats: u32,
    /// When the next step may begin, if it has to wait. [`next`](Self::next) may be dropped and called again while it waits.
    resume_at: Option<Instant>,
}

impl ExactlyOnce {
    /// Combines the two. The consumer may be subscribed before, or later through [`consumer`](Self::consumer).
    ///
    /// # Errors
    /// `Misuse`: the consumer has no `group.id`, or commits automatically (`enable.auto.commit`), outside of the transactions.
    pub fn new(consumer: Consumer, producer: TransactionalProducer) -> Result<Self> {
        let config = consumer.config();
        if config.group_id.is_none() {
            return Err(Error::misuse(
                "the consumer needs a `group.id`, whose offsets the transactions commit",
            ));
        }
        if config.enable_auto_commit {
            return Err(Error::misuse(
                "this consumer commits by itself, outside of the transactions: set `enable.auto.commit` to false",
            ));
        }
        Ok(Self { consumer, producer, uncommitted: Firsts::new(), repeats: 0, resume_at: None })
    }

    /// The consumer, to subscribe it or to inspect it.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// Waits for records, and begins a transaction for them. Returns `None` when the consumer was closed by its [`Handle`].
    ///
    /// Records of an uncommitted step are delivered again: this seeks back to the committed offsets first, once the outcome of
    /// the step is decided. From the second consecutive uncommitted step on, it waits before: for the consumer's
    /// `retry.backoff.ms`, twice as long each time, up to `retry.backoff.max.ms`.
    ///
    /// Cancel-safe: the next call goes on waiting, so that it may be used in a `select!` in a loop.
    ///
    /// # Errors
    /// Those of [`Consumer::poll`], after which this may be called again like `poll`. `Fenced`: another instance has taken the
    /// `transactional.id`, or a transaction lasted longer than `transaction.timeout.ms` while `transaction.version` is below 2.
    /// Other errors that end the producer.
    pub async fn next(&mut self) -> Result<Option<Step<'_>>> {
        self.producer.wait_until_ready().await?;
        self.pause().await;
        self.go_back().await?;
        let records = loop {
            match self.consumer.poll(POLL).await {
                Ok(records) if records.is_empty() => {}
                Ok(records) => break records,
                Err(error) if error.kind() == ErrorKind::Closed => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        self.uncommitted = firsts(&records);
        self.resume_at = None;
        let transaction = self.producer.begin().await?;
        let handle = self.consumer.handle();
        Ok(Some(Step { records, transaction, handle, uncommitted: &mut self.uncommitted }))
    }

    /// Waits, so that a step that is aborted repeatedly does not load the brokers.
    #[expect(clippy::disallowed_methods, reason = "between two transactions there is nothing but to wait")]
    async fn pause(&mut self) {
        let now = Instant::now();
        let resume_at = self.resume_at.unwrap_or_else(|| {
            self.repeats = if self.uncommitted.is_empty() { 0 } else { self.repeats.saturating_add(1) };
            let client = &self.consumer.config().client;
            let pause = self.repeats.checked_sub(2).map_or(Duration::ZERO, |doublings| {
                client.retry_backoff.saturating_mul(2_u32.saturating_pow(doublings))
            });
            now + pause.min(client.retry_backoff_max).min(LONGEST_PAUSE)
        });
        self.resume_at = Some(resume_at);
        if resume_at > now {
            sleep_until(resume_at).await;
        }
    }

    /// Seeks back to the committed offsets, in those partitions of the previous step that this consumer still owns.
    async fn go_back(&mut self) -> Result<()> {
        while let Some((partition, first)) = self.uncommitted.first_key_value() {
            let from = StartAt::committed_or(StartAt::Offset(*first));
            match self.consumer.seek(partition, from).await {
                Ok(()) => {}
                // The new owner begins at the committed offset.
                Err(error) if error.kind() == ErrorKind::NotOwned => {}
                Err(error) => return Err(error),
            }
            self.uncommitted.pop_first();
        }
        Ok(())
    }

    /// Aborts an uncommitted transaction, leaves the group, and closes both clients.
    ///
    /// # Errors
    /// `Timeout`: one of them took longer; it ends nevertheless.
    pub async fn close(self, timeout: Duration) -> Result<()> {
        let produced = self.producer.close(timeout).await;
        self.consumer.close(timeout).await.and(produced)
    }
}

/// Records, and the transaction in which they are processed. When dropped, the transaction is aborted, and the records are
/// delivered again.
#[derive(Debug)]
#[must_use = "a step that is dropped is aborted, and its records come again"]
pub struct Step<'a> {
    records: Records,
    transaction: Transaction<'a>,
    handle: Handle,
    uncommitted: &'a mut Firsts,
}

/// The outcome of a step.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// The sent records and the offsets of the step are committed.
    Committed,
    /// Nothing of it is committed, for the reason in the error: the group has rebalanced, or a record could not be written. The
    /// records are delivered again, to the owner of their partition.
    Aborted(Error),
    /// No broker confirmed whether it was committed. The next step waits until that is decided, and continues after these records
    /// if they are committed.
    Unknown(Error),
}

impl Step<'_> {
    /// The records of the step.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Sends a record within the transaction, like [`Transaction::send`]. The delivery need not be awaited:
    /// [`commit`](Self::commit) fails if the record was not written.
    pub fn send(&self, record: ProducerRecord<'_>) -> TransactionDelivery {
        self.transaction.send(record)
    }

    /// Commits the sent records, and the offsets of the step.
    ///
    /// # Errors
    /// Errors that a repetition would not avoid: a record that is too large, or whose topic does not exist (`TransactionAborted`:
    /// the step is aborted, and [`next`](ExactlyOnce::next) returns its records again), and errors that end the producer or the
    /// consumer (`Fenced`, `Authorization`, `Closed`, …).
    pub async fn commit(self) -> Result<Ended> {
        let Self { records, transaction, handle, uncommitted } = self;
        let committed = async {
            let offsets = handle.offsets_for_transaction(&records).await?;
            transaction.send_offsets(offsets).await?;
            transaction.commit().await
        };
        match committed.await {
            Ok(()) => {
                drop(mem::take(uncommitted));
                Ok(Ended::Committed)
            }
            Err(error) => match error.kind() {
                ErrorKind::NotOwned | ErrorKind::Timeout => Ok(Ended::Aborted(error)),
                ErrorKind::TransactionAborted if error.is_retriable() => Ok(Ended::Aborted(error)),
                ErrorKind::OutcomeUnknown => Ok(Ended::Unknown(error)),
                _ => Err(error),
            },
        }
    }

    /// Aborts the step: nothing of it becomes visible, and the records are delivered again.
    ///
    /// # Errors
    /// `Fenced`, and other errors that end the producer.
    pub async fn abort(self) -> Result<()> {
        match self.transaction.abort().await {
            Err(error) if error.kind() != ErrorKind::Timeout => Err(error),
            _ => Ok(()),
        }
    }
}

fn firsts(records: &Records) -> Firsts {
    let mut firsts = Firsts::new();
    for part in records.partitions() {
        if let Some(record) = part.iter().next() {
            // A partition may have several parts, the first one first.
            firsts.entry(part.topic_partition().clone()).or_insert(Position::at(record.offset()));
        }
    }
    firsts
}
