//! The transaction coordinator: the state of each transactional id's producer (KIP-98), with the server's side of
//! KIP-360 (epochs are restored) and KIP-890 (an epoch per transaction, partitions added by the first write).
//!
//! Departures from Kafka: the state of a transactional id moves to another coordinator at once, and ids never expire.

mod begin;
mod describe;
mod end;
mod markers;
mod state;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use kafka_protocol::error::ResponseError;

use crate::{model::Model, request::Context};

use state::{State, Transaction};

/// A topic's name and a partition's number.
type TopicAndPartition = (String, i32);

/// All transactional ids.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    all: BTreeMap<String, Transaction>,
    /// The next producer id.
    next: i64,
    /// Markers of transactions that end before this are written then.
    held_until: Option<Instant>,
}

impl Transactions {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.all.values().filter_map(Transaction::deadline).min()
    }

    /// An id that no producer had before.
    fn fresh_producer(&mut self) -> i64 {
        let id = self.next;
        self.next += 1;
        id
    }
}

impl Model {
    pub(crate) fn expire_transactions(&mut self) {
        self.write_markers();
        let now = self.now;
        let late = |transaction: &Transaction| match &transaction.state {
            State::Ongoing { deadline, .. } => *deadline <= now,
            _ => false,
        };
        let late: Vec<String> = self
            .transactions
            .all
            .iter()
            .filter(|(_, transaction)| late(transaction))
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.fence(&id);
        }
    }

    /// The transactional id's state, if this producer may ask about it.
    fn transaction(&mut self, id: &str, producer: i64) -> Result<&mut Transaction, ResponseError> {
        self.transactions
            .all
            .get_mut(id)
            .filter(|transaction| transaction.producer == producer)
            .ok_or(ResponseError::InvalidProducerIdMapping)
    }

    /// Aborts a producer's ongoing transaction, and fences the producer by a new epoch, which the markers carry and no
    /// producer gets. KIP-890's bump of the epoch is only for producers that end their transactions themselves.
    fn fence(&mut self, id: &str) {
        let Some(transaction) = self.transactions.all.get_mut(id) else { return };
        let State::Ongoing { partitions, .. } = &transaction.state else { return };
        let partitions = partitions.clone();
        transaction.previous = transaction.producer;
        // The producer itself may still ask with its old epoch, and gets the new one (KIP-360).
        transaction.last_epoch = transaction.epoch;
        transaction.epoch = transaction.epoch.saturating_add(1);
        self.end(id, partitions, false, None);
    }

    /// The code that a client of this version knows, reported to observers where no correct client should meet it.
    fn transaction_code(&mut self, context: &Context, error: ResponseError, knows_fenced: bool) -> i16 {
        match error {
            ResponseError::ProducerFenced if !knows_fenced => ResponseError::InvalidProducerEpoch.code(),
            ResponseError::InvalidRequest
            | ResponseError::InvalidTxnState
            | ResponseError::InvalidProducerIdMapping
            | ResponseError::InvalidTransactionTimeout => self.report_refusal(context, error),
            _ => error.code(),
        }
    }

    /// Prepares the end of a transaction; the markers follow.
    fn end(&mut self, id: &str, partitions: BTreeSet<TopicAndPartition>, commit: bool, next: Option<i64>) {
        let now = self.now;
        let held = self.transactions.held_until.filter(|until| *until > now);
        if let Some(transaction) = self.transactions.all.get_mut(id) {
            transaction.state =
                State::Ending { commit, left: partitions, next, due: Some(held.unwrap_or(now)) };
        }
        self.write_markers();
    }
}
