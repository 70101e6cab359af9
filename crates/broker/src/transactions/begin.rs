//! InitProducerId: a producer gets its id and epoch, and the previous user of the transactional id is fenced.

use kafka_protocol::{
    error::ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId},
};

use super::state::{LAST_EPOCH, State, Transaction};
use crate::{
    model::Model,
    request::{Context, Reply},
    topics::TRANSACTIONS_TOPIC,
};

/// `transaction.max.timeout.ms`.
const LONGEST_TIMEOUT_MS: i32 = 15 * 60 * 1000;

/// A producer id and its epoch.
type Producer = (i64, i16);

impl Model {
    pub(crate) fn handle_init_producer_id(
        &mut self,
        context: &Context,
        request: InitProducerIdRequest,
    ) -> Reply {
        let response = InitProducerIdResponse::default();
        match self.init_producer(context, &request) {
            Ok((producer, epoch)) => {
                response.with_producer_id(ProducerId(producer)).with_producer_epoch(epoch).into()
            }
            Err(error) => {
                let code = self.transaction_code(context, error, context.version >= 4);
                response.with_error_code(code).with_producer_epoch(-1).into()
            }
        }
    }

    fn init_producer(
        &mut self,
        context: &Context,
        request: &InitProducerIdRequest,
    ) -> Result<Producer, ResponseError> {
        let expected = match (request.producer_id.0, request.producer_epoch) {
            (-1, -1) => None,
            (-1, _) | (_, -1) => return Err(ResponseError::InvalidRequest),
            expected => Some(expected),
        };
        let Some(id) = &request.transactional_id else {
            return Ok((self.transactions.fresh_producer(), 0)); // idempotent only
        };
        let (id, timeout_ms) = (id.as_str(), request.transaction_timeout_ms);
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if !(1..=LONGEST_TIMEOUT_MS).contains(&timeout_ms) {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        if !self.coordinates(context, id) {
            return Err(ResponseError::NotCoordinator);
        }
        self.ensure_internal_topic(TRANSACTIONS_TOPIC);
        if !self.transactions.all.contains_key(id) {
            let transaction = Transaction::new(self.transactions.fresh_producer(), timeout_ms);
            self.transactions.all.insert(id.to_owned(), transaction);
        }
        let transactions = &mut self.transactions;
        let Some(transaction) = transactions.all.get_mut(id) else {
            return Err(ResponseError::InvalidProducerIdMapping);
        };
        if expected.is_some_and(|expected| !transaction.may_be_current(expected)) {
            return Err(ResponseError::ProducerFenced);
        }
        match transaction.state {
            State::Ending { .. } => Err(ResponseError::ConcurrentTransactions),
            // The client tries again, and finds the transaction aborted.
            State::Ongoing { .. } => {
                self.fence(id);
                Err(ResponseError::ConcurrentTransactions)
            }
            State::Empty | State::Complete { .. } => {
                let expected = expected.map(|(_, epoch)| epoch);
                if transaction.is_exhausted() && expected.is_none_or(|epoch| epoch == transaction.epoch) {
                    transaction.last_epoch = if expected.is_some() { transaction.epoch } else { -1 };
                    transaction.previous = transaction.producer;
                    transaction.producer = transactions.next;
                    transactions.next += 1;
                    transaction.epoch = 0;
                } else {
                    transaction.renew(expected)?;
                }
                transaction.timeout_ms = timeout_ms;
                transaction.started_ms = -1;
                transaction.state = State::Empty;
                Ok((transaction.producer, transaction.epoch))
            }
        }
    }
}

impl Transaction {
    /// Whether this id and epoch may be the present producer's; the epoch is checked later, in `renew` (KIP-360).
    fn may_be_current(&self, (producer, epoch): Producer) -> bool {
        self.epoch == -1
            || producer == self.producer
            // It missed the answer in which it got a new id, because its epochs had run out, and asks again.
            || (producer == self.previous && epoch >= LAST_EPOCH)
    }

    fn renew(&mut self, expected: Option<i16>) -> Result<(), ResponseError> {
        self.last_epoch = match expected {
            // Another instance: from now on, the previous one is not recognized.
            None => -1,
            Some(epoch) if self.epoch == -1 || epoch == self.epoch => self.epoch,
            // It missed the answer, which is sent again.
            Some(epoch) if epoch == self.last_epoch => return Ok(()),
            Some(_) => return Err(ResponseError::ProducerFenced),
        };
        self.previous = self.producer;
        self.epoch = self.epoch.saturating_add(1);
        Ok(())
    }
}
