//! Finishes one record, from anywhere.

use std::sync::Arc;

use offtake_machine::TopicPartition;

use crate::{
    error::{Error, ErrorKind, Result},
    ledger::{Ledger, Refusal},
};

/// The right to finish one record, separate from the record: small, and usable on any thread. Made by
/// [`Record::ticket`](crate::Record::ticket).
///
/// A ticket that is dropped, by a task that panicked for example, finishes nothing: the record stays
/// unfinished, and neither it nor any record after it in its partition is committed. Within seconds that is
/// logged (WARN) and reported ([`Event::Unfinished`](crate::Event::Unfinished)), unless the record is
/// finished otherwise.
#[derive(Debug)]
#[must_use = "a record is finished by `finish`, not by dropping its ticket"]
pub struct Ticket {
    partition: TopicPartition,
    /// `None` once the ticket is used.
    ledger: Option<Arc<Ledger>>,
    offset: i64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.ticket_dropped(self.offset);
        }
    }
}

impl Ticket {
    pub(crate) fn new(partition: &TopicPartition, ledger: Option<&Arc<Ledger>>, offset: i64) -> Result<Self> {
        let ledger = ledger.ok_or_else(not_one_by_one)?.clone();
        Ok(Self { partition: partition.clone(), ledger: Some(ledger), offset })
    }

    /// The topic and partition of the record.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The record's offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Marks the record as finished; see [`Record::finish`](crate::Record::finish).
    ///
    /// # Errors
    /// `NotOwned` if the partition was revoked, lost or sought elsewhere since, with the reason.
    pub fn finish(mut self) -> Result<()> {
        let ledger = self.ledger.take();
        finish(&self.partition, ledger.as_deref(), self.offset, self.offset.saturating_add(1))
    }
}

/// Marks the records from one offset up to the other as finished.
pub(crate) fn finish(partition: &TopicPartition, ledger: Option<&Ledger>, from: i64, to: i64) -> Result<()> {
    let ledger = ledger.ok_or_else(not_one_by_one)?;
    if ledger.finish(from, to) {
        return Ok(());
    }
    let since = format!("since offset {from} was handed out");
    let message = match ledger.refusal(from).unwrap_or(Refusal::Revoked) {
        Refusal::Revoked => {
            format!(
                "{partition} was revoked or given up {since}: its record comes again, to whoever owns it now"
            )
        }
        Refusal::Lost(Some(why)) => format!("{partition} was lost {since}: {why}"),
        Refusal::Lost(None) => format!("{partition} was lost {since}: its record comes again"),
        Refusal::Sought => format!("{partition} was sought elsewhere, or its topic created again, {since}"),
        Refusal::Truncated => {
            format!(
                "the cluster has lost the record at offset {from} of {partition}; what is there now comes again"
            )
        }
        Refusal::ConsumerClosed => format!("the consumer was closed {since} of {partition}: it comes again"),
    };
    Err(Error::new(ErrorKind::NotOwned, message).with_partition(partition.clone()))
}

fn not_one_by_one() -> Error {
    Error::misuse(
        "this consumer's records are finished by the next poll, or by store: build it with finish_each to finish them one by one",
    )
}
