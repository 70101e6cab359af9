//! The state that a log keeps of its producers: epochs, sequences, open transactions (KIP-98, KIP-360).

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::error::ResponseError;

use super::batch::Header;

/// How many of a producer's last batches are recognized when they are sent again.
const REMEMBERED: usize = 5;

/// All producers of a log, by id.
pub(super) type Producers = BTreeMap<i64, Producer>;

/// One producer.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) epoch: i16,
    sent: VecDeque<Sent>,
    pub(super) coordinator_epoch: i32,
    pub(super) last_timestamp: i64,
    /// The first offset of its transaction, while that is open.
    pub(super) open: Option<i64>,
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) timestamp: i64,
}

impl Default for Producer {
    fn default() -> Self {
        Self { epoch: -1, sent: VecDeque::new(), coordinator_epoch: -1, last_timestamp: -1, open: None }
    }
}

impl Producer {
    /// The earlier append of this batch, if there was one.
    pub(super) fn duplicate(&self, batch: &Header) -> Option<Sent> {
        if batch.producer_epoch != self.epoch {
            return None;
        }
        let same = |sent: &&Sent| {
            sent.first_sequence == batch.base_sequence && sent.last_sequence == batch.last_sequence()
        };
        self.sent.iter().find(same).copied()
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.sent.back().map_or(-1, |sent| sent.last_sequence)
    }

    /// The last offset of the data that the producer wrote in its epoch.
    pub(super) fn last_offset(&self) -> Option<i64> {
        self.sent.back().map(|sent| sent.last_offset)
    }

    /// Checks that a client's batch may follow. A producer without state may begin with any sequence, as its records
    /// may all have been deleted; but with `from_zero`, a transactional producer whose epoch grows with each
    /// transaction (KIP-890), it may not.
    pub(super) fn check(&self, batch: &Header, from_zero: bool) -> Result<(), ResponseError> {
        if batch.producer_epoch < self.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let next = batch.base_sequence;
        if from_zero && next != 0 && self.sent.is_empty() {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        let follows = if self.epoch == -1 {
            true
        } else if batch.producer_epoch != self.epoch {
            next == 0
        } else {
            let last = self.last_sequence();
            i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
        };
        if !follows {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        if self.open.is_some() && !batch.is_transactional() {
            return Err(ResponseError::InvalidTxnState);
        }
        Ok(())
    }

    pub(super) fn on_append(&mut self, batch: &Header) {
        self.enter(batch.producer_epoch);
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            first_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp,
        });
        self.last_timestamp = batch.max_timestamp;
        if batch.is_transactional() && self.open.is_none() {
            self.open = Some(batch.base_offset);
        }
    }

    /// Ends the producer's transaction: returns its first offset, if it wrote anything.
    pub(super) fn ended(&mut self, marker: &Header, coordinator_epoch: i32) -> Option<i64> {
        self.enter(marker.producer_epoch);
        self.coordinator_epoch = coordinator_epoch;
        self.last_timestamp = marker.max_timestamp;
        self.open.take()
    }

    fn enter(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.sent.clear();
        }
    }
}
