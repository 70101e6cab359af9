//! The transaction coordinator: what each transactional id's producer is about (KIP-98), with the server's side of
//! KIP-360 (epochs that are given back) and KIP-890 (an epoch per transaction, partitions added by the first write).
//!
//! Where it departs from Kafka: what is known of a transactional id moves to another coordinator at once, and ids never
//! expire.

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
    /// Markers of transactions that end before this are not written before this.
    held_until: Option<Instant>,
}

impl Transactions {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.all.values().filter_map(Transaction::deadline).min()
    }

    /// An id that no producer had.
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

    /// The transactional id's state, for who may ask about it.
    fn transaction(&mut self, id: &str, producer: i64) -> Result<&mut Transaction, ResponseError> {
        self.transactions
            .all
            .get_mut(id)
            .filter(|transaction| transaction.producer == producer)
            .ok_or(ResponseError::InvalidProducerIdMapping)
    }

    /// Aborts what a producer has under way, and shuts it out by a new epoch, which the markers have and
    /// nobody gets. The bump of KIP-890 is only for those who end their transactions themselves.
    fn fence(&mut self, id: &str) {
        let Some(transaction) = self.transactions.all.get_mut(id) else { return };
        let State::Ongoing { partitions, .. } = &transaction.state else { return };
        let partitions = partitions.clone();
        transaction.previous = transaction.producer;
        // The producer itself may still ask with the epoch it has, and is told the new one (KIP-360).
        transaction.last_epoch = transaction.epoch;
        transaction.epoch = transaction.epoch.saturating_add(1);
        self.end(id, partitions, false, None);
    }

    /// The code as a client of this version knows it, told to observers where no correct client should meet it.
    fn transaction_code(&mut self, context: &Context, error: ResponseError, knows_fenced: bool) -> i16 {
        match error {
            ResponseError::ProducerFenced if !knows_fenced => ResponseError::InvalidProducerEpoch.code(),
            ResponseError::InvalidRequest
            | ResponseError::InvalidTxnState
            | ResponseError::InvalidProducerIdMapping
            | ResponseError::InvalidTransactionTimeout => self.tell_refused(context, error),
            _ => error.code(),
        }
    }

    /// Lets a transaction prepare to end; the markers follow.
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
