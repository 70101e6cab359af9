//! Transactions (KIP-98): records, and a consumer's offsets, become visible together or not at all.

pub(crate) mod machine;
mod work;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use offtake_client::{BootstrapServers, Error, ErrorKind, Result};
use offtake_machine::GroupOffsets;
use tokio::sync::oneshot;

use crate::{
    Builder, Delivery, Producer, ProducerRecord, RecordMetadata,
    engine::{Command, TransactionCommand},
};

/// A producer whose records are parts of transactions.
///
/// ```no_run
/// # async fn run() -> Result<(), offtake_producer::Error> {
/// use offtake_producer::{ProducerRecord, TransactionalProducer};
///
/// let mut producer = TransactionalProducer::builder("localhost:9092", "billing-1").build_transactional().await?;
/// let transaction = producer.begin().await?;
/// transaction.send(ProducerRecord::to("paid").key("7").value("12.50"));
/// transaction.send(ProducerRecord::to("receipts").key("7").value("sent"));
/// transaction.commit().await?;
/// producer.close(std::time::Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
///
/// A `transactional.id` has one producer at a time: a producer that starts with it ends an earlier producer's transaction, and
/// fences that producer ([`ErrorKind::Fenced`]). Give each instance of a service its own id, and the same id after a restart.
///
/// The producer chooses the transaction protocol when it is built: that of KIP-98, or that of KIP-890 where `transaction.version`
/// is 2.
///
/// When dropped, the producer aborts an open transaction; [`close`](Self::close) waits for that.
#[derive(Debug)]
pub struct TransactionalProducer {
    producer: Producer,
}

impl TransactionalProducer {
    /// Begins a producer with this `transactional.id` for these brokers, with the defaults of [`Config`](crate::Config).
    pub fn builder(bootstrap: impl Into<BootstrapServers>, transactional_id: impl Into<String>) -> Builder {
        Producer::builder(bootstrap).transactional_id(transactional_id)
    }

    /// Waits until the coordinator has registered the producer, which fences an earlier one.
    pub(crate) async fn start(producer: Producer) -> Result<Self> {
        let mut this = Self { producer };
        this.ready().await?;
        Ok(this)
    }

    /// Waits until a transaction can begin: until the outcome of the previous one is known.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin).
    pub async fn ready(&mut self) -> Result<()> {
        self.producer.ask(TransactionCommand::AwaitReady).await
    }

    /// Waits as [`ready`](Self::ready) does, but without a limit: it logs a warning each time `max.block.ms` has passed.
    ///
    /// # Errors
    /// `Fenced`, and other errors that end the producer. No `Timeout`.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        loop {
            match self.ready().await {
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    tracing::warn!(%error, "waiting for the end of a transaction");
                }
                ready => return ready,
            }
        }
    }

    /// Begins a transaction, once the previous one has ended. Beginning needs no request of its own.
    ///
    /// # Errors
    /// - `Timeout`: the previous transaction could not be ended within `max.block.ms`. The attempt continues; call again.
    /// - `Fenced`, and other errors that end the producer (`Authorization`, `Closed`, `Authentication`, …): this producer is
    ///   unusable.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        self.producer.ask(TransactionCommand::Begin).await?;
        Ok(Transaction { producer: &self.producer, is_ended: false })
    }

    /// Waits until the last transaction has ended, then ends the producer. No transaction can be open at this point. But a
    /// dropped transaction may still be aborting, and a transaction whose [`commit`](Transaction::commit) was dropped may still
    /// be committing, or aborting if it cannot be committed. `Ok` does not say which.
    ///
    /// # Errors
    /// `Timeout`: that took longer, and the attempt ends. The error says what is known:
    /// - a commit was wanted and did not happen: the coordinator aborts the transaction after `transaction.timeout.ms`;
    /// - whether the transaction was committed is unknown, because the coordinator has not responded: it may be committed;
    /// - an abort was wanted: the coordinator aborts the transaction after `transaction.timeout.ms`, if not before.
    ///
    /// Or the error that ended the producer (`Fenced`, …).
    pub async fn close(self, timeout: Duration) -> Result<()> {
        self.producer.close(timeout).await
    }
}

/// An open transaction. It ends with [`commit`](Self::commit) or [`abort`](Self::abort). When dropped, it is aborted, and the
/// next one waits for that.
///
/// After `transaction.timeout.ms` the coordinator aborts it, and fences the producer if the cluster's `transaction.version` is
/// below 2 (KIP-890). A warning is logged after four fifths of that time.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'a> {
    producer: &'a Producer,
    is_ended: bool,
}

impl Transaction<'_> {
    /// Sends a record, as [`Producer::send`] does. Consumers see it when the transaction is committed, or at once if they read
    /// uncommitted records.
    ///
    /// The delivery need not be awaited: [`commit`](Self::commit) waits for all records, and fails if one of them was not
    /// written.
    ///
    /// # Errors
    /// Those of [`Producer::send`], returned by the delivery; the transaction then cannot be committed. `TransactionAborted`:
    /// another record was not written.
    pub fn send(&self, record: ProducerRecord<'_>) -> TransactionDelivery {
        TransactionDelivery(self.producer.send(record))
    }

    /// Commits these offsets of a consumer group with the transaction: the consumed records count as processed when the
    /// transaction's records become visible, and not otherwise (KIP-98, KIP-447). `Consumer::offsets_for_transaction` returns the
    /// offsets. Call this after sending the records, and before the commit.
    ///
    /// # Errors
    /// `TransactionAborted`: the group has rebalanced since, or does not accept the offsets, for example because one of their
    /// topics was missing for 5 s. The transaction cannot be committed: seek back to the committed offsets and begin another.
    /// `Fenced`.
    pub async fn send_offsets(&self, offsets: GroupOffsets) -> Result<()> {
        self.producer.ask(|done| TransactionCommand::SendOffsets(offsets, done)).await
    }

    /// Writes the remaining records, and commits.
    ///
    /// If this is dropped before it ends, the commit continues without reporting its outcome; the next transaction waits for it.
    ///
    /// # Errors
    /// - `TransactionAborted`: a record was not written, offsets were not accepted, or the transaction lasted longer than
    ///   `transaction.timeout.ms`. Nothing of it is committed; the next transaction may succeed.
    /// - `OutcomeUnknown`: no broker confirmed within `max.block.ms` whether it was committed. It may be. The next transaction
    ///   waits until that is decided.
    /// - `Fenced`: another producer has begun with this `transactional.id`, or, with a `transaction.version` below 2, the
    ///   transaction lasted longer than `transaction.timeout.ms`. Nothing of it is committed. If a broker refused a record for
    ///   that reason (INVALID_PRODUCER_EPOCH), the error is `TransactionAborted`, as in Java, and the next
    ///   [`begin`](TransactionalProducer::begin) returns `Fenced`.
    pub async fn commit(mut self) -> Result<()> {
        self.end(true).await
    }

    /// Aborts the transaction. Consumers that read committed records see nothing of it.
    ///
    /// # Errors
    /// `Timeout`: the coordinator did not respond within `max.block.ms`. The attempt to abort continues. `Fenced`: the
    /// coordinator has aborted the transaction.
    pub async fn abort(mut self) -> Result<()> {
        self.end(false).await
    }

    async fn end(&mut self, commits: bool) -> Result<()> {
        self.is_ended = true;
        self.producer.ask(|done| TransactionCommand::End { commits, done: Some(done) }).await
    }
}

/// A record that is being sent in a transaction. It need not be awaited: [`Transaction::commit`] fails if the record was not
/// written.
///
/// # Errors
/// Those of [`Transaction::send`].
#[derive(Debug)]
pub struct TransactionDelivery(Delivery);

impl Future for TransactionDelivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_ended {
            self.producer.tell(TransactionCommand::End { commits: false, done: None });
        }
    }
}

impl Producer {
    fn tell(&self, command: TransactionCommand) {
        drop(self.commands.send(Command::Transaction(command)));
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<()>>) -> TransactionCommand,
    ) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        self.tell(command(done));
        is_done.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the producer is closed")))
    }
}
