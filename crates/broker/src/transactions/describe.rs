//! DescribeTransactions and ListTransactions (KIP-664).

use kafka_protocol::{
    error::ResponseError,
    messages::{
        DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
        ListTransactionsResponse, ProducerId, TransactionalId, describe_transactions_response,
        list_transactions_response,
    },
    protocol::StrBytes,
};
use regex::Regex;

use super::State;
use crate::{
    model::Model,
    request::{Context, Reply},
    topics::text,
};

impl Model {
    pub(crate) fn handle_describe_transactions(
        &mut self,
        context: &Context,
        request: DescribeTransactionsRequest,
    ) -> Reply {
        let mut states = Vec::with_capacity(request.transactional_ids.len());
        for id in request.transactional_ids {
            let described = self.described_transaction(context, &id);
            let state = match described {
                Ok(state) => state,
                Err(error) => {
                    let code = self.transaction_code(context, error, true);
                    describe_transactions_response::TransactionState::default().with_error_code(code)
                }
            };
            states.push(state.with_transactional_id(id));
        }
        DescribeTransactionsResponse::default().with_transaction_states(states).into()
    }

    fn described_transaction(
        &self,
        context: &Context,
        id: &TransactionalId,
    ) -> Result<describe_transactions_response::TransactionState, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if !self.coordinates(context, id) {
            return Err(ResponseError::NotCoordinator);
        }
        let missing = ResponseError::TransactionalIdNotFound;
        let transaction = self.transactions.all.get(id.as_str()).ok_or(missing)?;
        let mut topics: Vec<describe_transactions_response::TopicData> = Vec::new();
        for (topic, partition) in transaction.partitions() {
            match topics.last_mut().filter(|last| last.topic.as_str() == topic) {
                Some(last) => last.partitions.push(*partition),
                None => topics.push(
                    describe_transactions_response::TopicData::default()
                        .with_topic(text(topic).into())
                        .with_partitions(vec![*partition]),
                ),
            }
        }
        Ok(describe_transactions_response::TransactionState::default()
            .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
            .with_transaction_timeout_ms(transaction.timeout_ms)
            .with_transaction_start_time_ms(transaction.started_ms)
            .with_producer_id(ProducerId(transaction.producer))
            .with_producer_epoch(transaction.epoch)
            .with_topics(topics))
    }

    pub(crate) fn handle_list_transactions(
        &mut self,
        context: &Context,
        request: ListTransactionsRequest,
    ) -> Reply {
        let response = ListTransactionsResponse::default();
        let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
        let pattern = match pattern.map(|pattern| Regex::new(&format!("^(?:{})$", pattern.as_str()))) {
            Some(Err(_)) => {
                let code = self.report_refusal(context, ResponseError::InvalidRegularExpression);
                return response.with_error_code(code).into();
            }
            Some(Ok(pattern)) => Some(pattern),
            None => None,
        };
        let unknown = request.state_filters.iter().filter(|name| !State::NAMES.contains(&name.as_str()));
        let unknown = unknown.cloned().collect();
        let now_ms = self.wall_ms();
        let listed = self.transactions.all.iter().filter(|(id, transaction)| {
            let state = transaction.state.name();
            self.coordinates(context, id)
                && (request.producer_id_filters.is_empty()
                    || request.producer_id_filters.contains(&ProducerId(transaction.producer)))
                && (request.state_filters.is_empty()
                    || request.state_filters.iter().any(|name| name.as_str() == state))
                && (request.duration_filter < 0
                    || now_ms.saturating_sub(transaction.started_ms) > request.duration_filter)
                && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
        });
        let listed = listed.map(|(id, transaction)| {
            list_transactions_response::TransactionState::default()
                .with_transactional_id(text(id).into())
                .with_producer_id(ProducerId(transaction.producer))
                .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
        });
        let listed = listed.collect();
        response.with_unknown_state_filters(unknown).with_transaction_states(listed).into()
    }
}
