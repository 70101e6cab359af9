//! Transactions (KIP-98): records, and a consumer's offsets, that are seen together or not at all.

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
/// There is one producer of a `transactional.id` at a time: one that starts with it ends what an earlier one began, and fences that one
/// ([`ErrorKind::Fenced`]). Give each instance of a service its own, the same after a restart.
///
/// How it speaks of transactions (KIP-98, or KIP-890 where `transaction.version` is 2) is decided when it is built.
///
/// Dropped, it aborts a transaction that is open; [`close`](Self::close) waits for that.
#[derive(Debug)]
pub struct TransactionalProducer {
    producer: Producer,
}

impl TransactionalProducer {
    /// A producer with this `transactional.id` for these brokers, with the defaults of [`Config`](crate::Config).
    pub fn builder(bootstrap: impl Into<BootstrapServers>, transactional_id: impl Into<String>) -> Builder {
        Producer::builder(bootstrap).transactional_id(transactional_id)
    }

    /// Waits until the coordinator knows the producer, which fences an earlier one.
    pub(crate) async fn start(producer: Producer) -> Result<Self> {
        let mut this = Self { producer };
        this.ready().await?;
        Ok(this)
    }

    /// Waits until a transaction can be begun: until it is known what became of the one before.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn ready(&mut self) -> Result<()> {
        self.producer.ask(TransactionCommand::AwaitReady).await
    }

    /// Waits as [`ready`](Self::ready) does, however long that takes: whenever `max.block.ms` is over, a warning is logged.
    ///
    /// # Errors
    /// `Fenced`, and what else ended the producer. No `Timeout`.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        loop {
            match self.ready().await {
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    tracing::warn!(%error, "waits for the end of a transaction");
                }
                ready => return ready,
            }
        }
    }

    /// Begins a transaction, once the one before has ended. Nothing is sent for that.
    ///
    /// # Errors
    /// - `Timeout`: the transaction before could not be ended within `max.block.ms`. That goes on; call again.
    /// - `Fenced`, and what else ended the producer (`Authorization`, `Closed`, `Authentication`, …): this one can do nothing more.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        self.producer.ask(TransactionCommand::Begin).await?;
        Ok(Transaction { producer: &self.producer, is_ended: false })
    }

    /// Waits until what was begun has ended, and then the producer ends. No transaction can be open; but one that was dropped is still being
    /// aborted, and one whose [`commit`](Transaction::commit) was dropped is still being committed, or aborted if that cannot be. `Ok` does not
    /// say which.
    ///
    /// # Errors
    /// `Timeout`: that took longer, and nobody goes on with it. The error says what is known:
    /// - it was to be committed, and was not: the coordinator aborts it when `transaction.timeout.ms` is over;
    /// - whether it was committed is not known, as its coordinator was asked for that and has not answered: it may be;
    /// - it was to be aborted: the coordinator aborts it when `transaction.timeout.ms` is over, if not before.
    ///
    /// What ended the producer (`Fenced`, …).
    pub async fn close(self, timeout: Duration) -> Result<()> {
        self.producer.close(timeout).await
    }
}

/// A transaction that is open. It ends with [`commit`](Self::commit) or [`abort`](Self::abort); dropped, it is aborted, and the next one waits
/// for that.
///
/// After `transaction.timeout.ms` the coordinator aborts it, and fences the producer where the cluster's `transaction.version` is below 2
/// (KIP-890); a warning is logged when four fifths of that are over.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'a> {
    producer: &'a Producer,
    is_ended: bool,
}

impl Transaction<'_> {
    /// Sends a record, as [`Producer::send`] does. Readers see it when the transaction is committed, unless they read uncommitted.
    ///
    /// The delivery need not be awaited: [`commit`](Self::commit) waits for all, and fails if one of them was not written.
    ///
    /// # Errors
    /// Those of [`Producer::send`], by the delivery: then the transaction cannot be committed. `TransactionAborted`, because another record
    /// was not written.
    pub fn send(&self, record: ProducerRecord<'_>) -> TransactionDelivery {
        TransactionDelivery(self.producer.send(record))
    }

    /// Commits these offsets of a consumer's group with the transaction: what was read is done when what was made of it is seen, and not
    /// otherwise (KIP-98, KIP-447). `Consumer::offsets_for_transaction` gives them. Call it after the records were sent: it has to be within
    /// the transaction, not at its end.
    ///
    /// # Errors
    /// `TransactionAborted`: the group has rebalanced since, or does not take them, as a topic of theirs was missing for 5 s, for example. The transaction cannot be committed: go back to what is
    /// committed and begin another. `Fenced`.
    pub async fn send_offsets(&self, offsets: GroupOffsets) -> Result<()> {
        self.producer.ask(|done| TransactionCommand::SendOffsets(offsets, done)).await
    }

    /// Writes what was sent, and commits.
    ///
    /// Dropped before it ends, this goes on, and nobody hears whether the transaction was committed: the next one waits for that.
    ///
    /// # Errors
    /// - `TransactionAborted`: a record was not written, offsets were not taken, or the transaction lasted longer than
    ///   `transaction.timeout.ms`. Nothing of it is committed; the next transaction may be.
    /// - `OutcomeUnknown`: nobody said within `max.block.ms` whether it was committed. It may be. The next transaction waits until that is
    ///   decided.
    /// - `Fenced`: another producer has begun with this `transactional.id`, or, with a `transaction.version` below 2, the transaction lasted
    ///   longer than `transaction.timeout.ms`. Nothing of it is committed. Where a broker has refused a record for that (INVALID_PRODUCER_EPOCH) it is
    ///   `TransactionAborted`, as in Java, and the next [`begin`](TransactionalProducer::begin) says `Fenced`.
    pub async fn commit(mut self) -> Result<()> {
        self.end(true).await
    }

    /// Aborts: readers of what is committed will see nothing of it.
    ///
    /// # Errors
    /// `Timeout`: the coordinator did not answer within `max.block.ms`. Aborting goes on. `Fenced`: the coordinator has aborted it.
    pub async fn abort(mut self) -> Result<()> {
        self.end(false).await
    }

    async fn end(&mut self, commits: bool) -> Result<()> {
        self.is_ended = true;
        self.producer.ask(|done| TransactionCommand::End { commits, done: Some(done) }).await
    }
}

/// A record of a transaction on its way, which may be awaited or not: [`Transaction::commit`] fails if it was not written.
///
/// # Errors
/// What [`Transaction::send`] says.
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
