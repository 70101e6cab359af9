#![doc = include_str!("../README.md")]

use std::{collections::BTreeMap, mem, time::Duration};

use offtake::{Consumer, Error, ErrorKind, Handle, Position, Records, Result, StartAt, TopicPartition};
use offtake_producer::{ProducerRecord, Transaction, TransactionDelivery, TransactionalProducer};
use tokio::time::{Instant, sleep_until};

/// How long one poll waits. The next one follows.
const POLL: Duration = Duration::from_secs(60);

/// A pause is not longer than this, so that its end can be said.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where the records of a step begin, by partition.
type Firsts = BTreeMap<TopicPartition, Position>;

/// A consumer and a producer whose work is done in transactions, one for what a poll gives.
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
/// The group keeps its offsets; they are committed within the transactions (KIP-98, KIP-447), so that a record that was handled by a member
/// which then lost its partition, stood still or crashed has no effect of it, and is handled by the next one.
#[derive(Debug)]
pub struct ExactlyOnce {
    consumer: Consumer,
    producer: TransactionalProducer,
    /// What was handed out last, and is not known to be committed.
    uncommitted: Firsts,
    /// Steps in a row that were not committed.
    repeats: u32,
    /// When the step that is waited for may begin. [`next`](Self::next) may be dropped and called again while it waits.
    resume_at: Option<Instant>,
}

impl ExactlyOnce {
    /// A loop of these two. The consumer may be subscribed already or later, by [`consumer`](Self::consumer).
    ///
    /// # Errors
    /// `Misuse`: the consumer has no `group.id`, or commits by itself (`enable.auto.commit`), outside of the transactions.
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

    /// The consumer, to subscribe, or to look at it.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// Waits for records, and begins a transaction for them. `None` when the consumer was closed by its [`Handle`].
    ///
    /// What the step before did not commit comes again: this goes back to what is committed first, once it is decided what that is. From the second
    /// such step in a row on it waits before: `retry.backoff.ms` of the consumer, twice as long each time, up to `retry.backoff.max.ms`.
    ///
    /// Dropped, it loses nothing, and the next call goes on waiting: it may stand in a `select!` that is run again and again.
    ///
    /// # Errors
    /// Those of [`Consumer::poll`], after which this may be called again as `poll` may. `Fenced`: another instance has taken the
    /// `transactional.id`, or a transaction lasted longer than `transaction.timeout.ms` where `transaction.version` is below 2. What else ended
    /// the producer.
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

    /// What is aborted again and again is not aborted as fast as brokers can.
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

    /// Goes back to what is committed, in the partitions of the step before that are still this consumer's.
    async fn go_back(&mut self) -> Result<()> {
        while let Some((partition, first)) = self.uncommitted.first_key_value() {
            let from = StartAt::committed_or(StartAt::Offset(*first));
            match self.consumer.seek(partition, from).await {
                Ok(()) => {}
                // Whoever has it now begins at what is committed.
                Err(error) if error.kind() == ErrorKind::NotOwned => {}
                Err(error) => return Err(error),
            }
            self.uncommitted.pop_first();
        }
        Ok(())
    }

    /// Aborts what was not committed, leaves the group, and ends both.
    ///
    /// # Errors
    /// `Timeout`: one of them took longer; it ends nevertheless.
    pub async fn close(self, timeout: Duration) -> Result<()> {
        let produced = self.producer.close(timeout).await;
        self.consumer.close(timeout).await.and(produced)
    }
}

/// Records, and the transaction in which they are handled. Dropped, it is aborted, and its records come again.
#[derive(Debug)]
#[must_use = "a step that is dropped is aborted, and its records come again"]
pub struct Step<'a> {
    records: Records,
    transaction: Transaction<'a>,
    handle: Handle,
    uncommitted: &'a mut Firsts,
}

/// How a step ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// What was sent, and that the records are done, is committed.
    Committed,
    /// Nothing of it is committed, as the error says: the group has rebalanced, or something could not be written. The records come again, to
    /// whoever owns their partitions.
    Aborted(Error),
    /// Nobody said whether it was committed. The next step waits until that is decided, and goes on behind these records if they are done.
    Unknown(Error),
}

impl Step<'_> {
    /// What was read.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Sends a record within the transaction, as [`Transaction::send`] does. It need not be awaited: [`commit`](Self::commit) fails without it.
    pub fn send(&self, record: ProducerRecord<'_>) -> TransactionDelivery {
        self.transaction.send(record)
    }

    /// Commits what was sent, and that the records are done.
    ///
    /// # Errors
    /// What will not be otherwise the next time: a record that is too large, or whose topic does not exist (`TransactionAborted`: the step is aborted,
    /// and [`next`](ExactlyOnce::next) gives its records again), and what ended the producer or the consumer (`Fenced`, `Authorization`, `Closed`, …).
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

    /// Aborts: nothing of it is seen, and the records come again.
    ///
    /// # Errors
    /// `Fenced`, and what else ended the producer.
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
            // A partition may come in several parts, the first one first.
            firsts.entry(part.topic_partition().clone()).or_insert(Position::at(record.offset()));
        }
    }
    firsts
}
