//! The effect of transactions on the sender.

use std::{collections::HashMap, mem, time::Instant};

use offtake_client::Error;
use offtake_machine::TopicPartition;

use super::{Event, Sender, partition::Numbering};
use crate::{
    accumulator::{DroppedBatch, Shared, SlotId},
    delivery::Outcome,
};

/// The state of a transactional producer's transaction.
#[derive(Debug, Default)]
pub(super) enum TransactionState {
    /// No transaction is open, so that nothing is sent.
    #[default]
    None,
    Open(OpenTransaction),
    /// The last one was given up, for this reason: nothing of it is sent again.
    GivenUp(Error),
}

#[derive(Debug)]
pub(super) struct OpenTransaction {
    /// The partitions announced to the coordinator, for protocols that require this before writing (before KIP-890).
    admissions: Option<HashMap<TopicPartition, Admission>>,
    /// Whether a batch of the transaction was sent.
    is_sent: bool,
}

/// Whether the open transaction may write to a partition.
#[derive(Clone, Copy, Debug)]
enum Admission {
    Asked(SlotId),
    Given,
}

impl Sender {
    pub(super) fn numbering(&self) -> Numbering {
        match (self.config.is_idempotent, &self.config.transactional_id) {
            (false, _) => Numbering::None,
            (true, None) => Numbering::OwnEpochs,
            (true, Some(_)) => Numbering::GivenEpochs,
        }
    }

    pub(super) fn waits_for_transaction(&self) -> bool {
        self.config.transactional_id.is_some() && !matches!(self.transaction, TransactionState::Open(_))
    }

    /// Whether partitions are announced to the coordinator before they are written to.
    pub(super) fn is_announced(&self) -> bool {
        matches!(&self.transaction, TransactionState::Open(open) if open.admissions.is_some())
    }

    /// Why batches of the transaction are not sent again, if it was given up.
    pub(super) fn given_up(&self) -> Option<&Error> {
        match &self.transaction {
            TransactionState::GivenUp(why) => Some(why),
            TransactionState::None | TransactionState::Open(_) => None,
        }
    }

    /// Notes that a transaction is open from now on.
    pub(crate) fn open_transaction(&mut self, is_announced: bool) {
        let admissions = is_announced.then(HashMap::new);
        self.transaction = TransactionState::Open(OpenTransaction { admissions, is_sent: false });
        self.look_at_all();
    }

    /// Whether a new batch of this slot may be sent. If its partition must be announced first, this requests it.
    pub(super) fn may_begin(&mut self, now: Instant, slot: SlotId, shared: &Shared) -> bool {
        if self.config.transactional_id.is_none() {
            return true;
        }
        if !shared.lock().is_ready_now(now, slot) {
            if let Some(partition) = self.partitions.get_mut(slot.index()) {
                partition.has_more = false;
            }
            return false;
        }
        let TransactionState::Open(open) = &mut self.transaction else { return false };
        if let Some(admissions) = &mut open.admissions {
            let Some(partition) = self.partitions.get(slot.index()) else { return false };
            match admissions.get(&partition.partition) {
                Some(Admission::Given) => {}
                Some(Admission::Asked(_)) => return false,
                None => {
                    let partition = partition.partition.clone();
                    admissions.insert(partition.clone(), Admission::Asked(slot));
                    self.events.push_back(Event::WantsPartition(partition));
                    return false;
                }
            }
        }
        if !mem::replace(&mut open.is_sent, true) {
            self.events.push_back(Event::TransactionSent);
        }
        true
    }

    /// Allows the open transaction to write to these partitions.
    pub(crate) fn admit(&mut self, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            let TransactionState::Open(OpenTransaction { admissions: Some(admissions), .. }) =
                &mut self.transaction
            else {
                return;
            };
            if let Some(Admission::Asked(slot)) = admissions.insert(partition, Admission::Given) {
                self.look_at(slot);
            }
        }
    }

    /// Sends nothing more of the transaction, and no retries. Requests in flight end with their responses.
    pub(crate) fn give_up_transaction(&mut self, now: Instant, why: &Error, shared: &Shared) {
        self.transaction = TransactionState::GivenUp(why.clone());
        for at in 0..self.partitions.len() {
            let slot = SlotId::at(at);
            let Some(partition) = self.partitions.get_mut(at) else { return };
            for shipment in partition.take_retries() {
                let (info, bytes) = (shipment.batch.info.clone(), shipment.batch.held());
                self.give_up(now, slot, &info, bytes, Outcome::Failed(why.clone()), shared);
            }
        }
    }

    /// Notes that the transaction was committed, or is aborted, with nothing left of it.
    pub(crate) fn end_transaction(&mut self) {
        self.transaction = TransactionState::None;
    }

    /// Fails batches that the accumulator dropped with their transaction.
    pub(crate) fn dropped(&mut self, now: Instant, why: &Error, batches: Vec<DroppedBatch>, shared: &Shared) {
        for (slot, info, bytes) in batches {
            self.give_up(now, slot, &info, bytes, Outcome::Failed(why.clone()), shared);
        }
    }

    /// Whether no request is in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sent.is_empty()
    }

    /// Fails the open transaction if a batch was not written, because it cannot be committed without that.
    pub(super) fn note_outcome(&mut self, outcome: &Outcome) {
        if let TransactionState::Open(_) = self.transaction
            && let Outcome::Failed(error) | Outcome::Refused { others: error, .. } = outcome
        {
            self.events.push_back(Event::BatchFailed(error.clone()));
        }
    }
}
