//! EndTxn: the producer commits or aborts.

use std::collections::BTreeSet;

use kafka_protocol::{
    error::ResponseError,
    messages::{EndTxnRequest, EndTxnResponse, ProducerId},
};

use super::{
    State, TopicAndPartition,
    state::{LAST_EPOCH, Transaction},
};
use crate::{
    model::Model,
    request::{Context, Reply},
};

/// The decision about a request to end.
enum EndAction {
    /// The transaction ends, with these partitions.
    End(BTreeSet<TopicAndPartition>),
    /// The transaction ended before: the request was sent again.
    Ended,
}

impl Model {
    pub(crate) fn handle_end_txn(&mut self, context: &Context, request: EndTxnRequest) -> Reply {
        let response = EndTxnResponse::default();
        match self.end_txn(context, &request) {
            Ok((producer, epoch)) => {
                response.with_producer_id(ProducerId(producer)).with_producer_epoch(epoch).into()
            }
            Err(error) => {
                let code = self.transaction_code(context, error, context.version >= 2);
                response.with_error_code(code).into()
            }
        }
    }

    /// Ends the transaction. Returns the id and epoch for the next one; -1 for a producer that keeps its own.
    fn end_txn(&mut self, context: &Context, request: &EndTxnRequest) -> Result<(i64, i16), ResponseError> {
        let id = request.transactional_id.as_str();
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if !self.coordinates(context, id) {
            return Err(ResponseError::NotCoordinator);
        }
        let unmapped = ResponseError::InvalidProducerIdMapping;
        let (producer, epoch) = (request.producer_id.0, request.producer_epoch);
        let wall_ms = self.wall_ms();
        let transaction = self.transactions.all.get_mut(id).ok_or(unmapped)?;
        if context.version < 5 {
            let action = transaction.may_end_v1(producer, epoch, request.committed)?;
            transaction.previous = transaction.producer;
            if let EndAction::End(partitions) = action {
                self.end(id, partitions, request.committed, None);
            }
            return Ok((-1, -1));
        }
        match transaction.may_end_v2(producer, epoch, request.committed)? {
            EndAction::Ended => Ok((transaction.producer, transaction.epoch)),
            EndAction::End(partitions) => {
                if partitions.is_empty() {
                    transaction.started_ms = wall_ms;
                }
                transaction.previous = transaction.producer;
                transaction.last_epoch = transaction.epoch;
                let next = if transaction.is_exhausted() {
                    self.transactions.next += 1;
                    Some(self.transactions.next - 1)
                } else {
                    None
                };
                transaction.epoch = transaction.epoch.saturating_add(1);
                let answer = next.map_or((transaction.producer, transaction.epoch), |next| (next, 0));
                self.end(id, partitions, request.committed, next);
                Ok(answer)
            }
        }
    }
}

impl Transaction {
    /// The check before KIP-890: the epoch stays.
    fn may_end_v1(&self, producer: i64, epoch: i16, commits: bool) -> Result<EndAction, ResponseError> {
        if self.producer != producer {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if self.epoch != epoch {
            return Err(ResponseError::ProducerFenced);
        }
        match &self.state {
            State::Ongoing { partitions, .. } => Ok(EndAction::End(partitions.clone())),
            State::Ending { commit, .. } if *commit == commits => Err(ResponseError::ConcurrentTransactions),
            State::Complete { commit } if *commit == commits => Ok(EndAction::Ended),
            State::Empty | State::Ending { .. } | State::Complete { .. } => {
                Err(ResponseError::InvalidTxnState)
            }
        }
    }

    /// With KIP-890 each transaction has its own epoch, which tells a repeated request from the next one.
    fn may_end_v2(&self, producer: i64, epoch: i16, commits: bool) -> Result<EndAction, ResponseError> {
        let again = epoch.checked_add(1) == Some(self.epoch);
        // The epochs ran out, and the producer missed the answer with the new id.
        let again_with_old_id = self.previous == producer && epoch == LAST_EPOCH && self.epoch == 0;
        if self.producer != producer && !again_with_old_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let valid = match &self.state {
            State::Empty | State::Ongoing { .. } => epoch == self.epoch,
            State::Ending { .. } => again,
            State::Complete { .. } => again || again_with_old_id || epoch == self.epoch,
        };
        if !valid {
            return Err(ResponseError::ProducerFenced);
        }
        let again = again || again_with_old_id;
        match &self.state {
            State::Ongoing { partitions, .. } => Ok(EndAction::End(partitions.clone())),
            State::Ending { commit, .. } if *commit == commits => Err(ResponseError::ConcurrentTransactions),
            State::Complete { commit } if again && *commit == commits => Ok(EndAction::Ended),
            // A producer that does not know whether it wrote anything may always abort.
            State::Empty if !commits => Ok(EndAction::End(BTreeSet::new())),
            State::Complete { .. } if !commits && !again => Ok(EndAction::End(BTreeSet::new())),
            State::Empty | State::Ending { .. } | State::Complete { .. } => {
                Err(ResponseError::InvalidTxnState)
            }
        }
    }
}
