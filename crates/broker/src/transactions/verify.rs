//! The parts of a transaction: AddPartitionsToTxn, AddOffsetsToTxn, and the check of Produce and TxnOffsetCommit before
//! they write (KIP-890).

use std::collections::BTreeSet;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
        AddPartitionsToTxnResponse, TopicName,
        add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
        add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
        },
    },
};

use super::{State, TopicAndPartition};
use crate::{
    model::{Model, millis},
    nodes::partition_of,
    request::{Context, Reply},
    topics::OFFSETS_TOPIC,
};

impl Model {
    /// Whether a producer may write to a partition as part of its transaction. `may_add` adds the partition if it is
    /// missing (Produce v12, TxnOffsetCommit v5); without it, a partition that was not added is refused.
    ///
    /// For a group's offsets the partition is that of the group: `"__consumer_offsets"` and its
    /// [`partition_of`](crate::nodes::partition_of).
    ///
    /// The codes are those of the newest Produce. Before Produce v11 and TxnOffsetCommit v4, `TRANSACTION_ABORTABLE`
    /// becomes `INVALID_TXN_STATE`; before Produce v12, `CONCURRENT_TRANSACTIONS` becomes `NOT_ENOUGH_REPLICAS`.
    /// `NOT_COORDINATOR` is never returned, as leaders ask the right broker.
    pub(crate) fn verify_transaction(
        &mut self,
        transactional_id: &str,
        producer: i64,
        epoch: i16,
        topic: &str,
        partition: i32,
        may_add: bool,
    ) -> Result<(), ResponseError> {
        let partitions = BTreeSet::from([(topic.to_owned(), partition)]);
        let result = if may_add {
            self.add_to_transaction(transactional_id, producer, epoch, partitions)
        } else {
            self.find_in_transaction(transactional_id, producer, epoch, &partitions).and_then(|missing| {
                if missing.is_empty() { Ok(()) } else { Err(ResponseError::TransactionAbortable) }
            })
        };
        result.map_err(|error| match error {
            ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            error => error,
        })
    }

    /// The partitions that are not part of the transaction.
    fn find_in_transaction(
        &mut self,
        id: &str,
        producer: i64,
        epoch: i16,
        partitions: &BTreeSet<TopicAndPartition>,
    ) -> Result<BTreeSet<TopicAndPartition>, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let transaction = self.transaction(id, producer)?;
        if transaction.epoch != epoch {
            return Err(ResponseError::ProducerFenced);
        }
        match &transaction.state {
            State::Ending { .. } => Err(ResponseError::ConcurrentTransactions),
            State::Ongoing { partitions: known, .. } => Ok(partitions.difference(known).cloned().collect()),
            State::Empty | State::Complete { .. } => Ok(partitions.clone()),
        }
    }

    fn add_to_transaction(
        &mut self,
        id: &str,
        producer: i64,
        epoch: i16,
        mut partitions: BTreeSet<TopicAndPartition>,
    ) -> Result<(), ResponseError> {
        let (now, wall_ms) = (self.now, self.wall_ms());
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        let transaction = self.transaction(id, producer)?;
        if transaction.epoch != epoch {
            return Err(ResponseError::ProducerFenced);
        }
        match &mut transaction.state {
            State::Ending { .. } => return Err(ResponseError::ConcurrentTransactions),
            State::Ongoing { partitions: known, .. } => known.append(&mut partitions),
            State::Empty | State::Complete { .. } => {
                transaction.started_ms = wall_ms;
                let deadline = now + millis(transaction.timeout_ms);
                transaction.state = State::Ongoing { partitions, deadline };
            }
        }
        transaction.previous = transaction.producer;
        Ok(())
    }

    // ---- requests ------------------------------------------------------------------------------------------------

    pub(crate) fn handle_add_partitions_to_txn(
        &mut self,
        context: &Context,
        request: AddPartitionsToTxnRequest,
    ) -> Reply {
        let response = AddPartitionsToTxnResponse::default();
        if context.version < 4 {
            let transaction = AddPartitionsToTxnTransaction::default()
                .with_transactional_id(request.v3_and_below_transactional_id)
                .with_producer_id(request.v3_and_below_producer_id)
                .with_producer_epoch(request.v3_and_below_producer_epoch)
                .with_topics(request.v3_and_below_topics);
            let results = self.add_partitions_of(context, &transaction);
            return response.with_results_by_topic_v3_and_below(results).into();
        }
        let results = request.transactions.into_iter().map(|transaction| {
            let results = self.add_partitions_of(context, &transaction);
            AddPartitionsToTxnResult::default()
                .with_transactional_id(transaction.transactional_id)
                .with_topic_results(results)
        });
        let results = results.collect();
        response.with_results_by_transaction(results).into()
    }

    fn add_partitions_of(
        &mut self,
        context: &Context,
        request: &AddPartitionsToTxnTransaction,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        let unknown = |topic: &TopicName, partition: i32| self.topics.partition(topic, partition).is_none();
        if request.topics.iter().any(|topic| topic.partitions.iter().any(|at| unknown(&topic.name, *at))) {
            // One unknown partition is enough, and none is added.
            return results(&request.topics, |topic, partition| {
                let error = if unknown(topic, partition) {
                    ResponseError::UnknownTopicOrPartition
                } else {
                    ResponseError::OperationNotAttempted
                };
                error.code()
            });
        }
        let (id, producer, epoch) =
            (request.transactional_id.as_str(), request.producer_id.0, request.producer_epoch);
        let partitions = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.to_string(), *partition)));
        let partitions: BTreeSet<TopicAndPartition> = partitions.collect();
        let missing = if id.is_empty() {
            Err(ResponseError::InvalidRequest)
        } else if !self.coordinates(context, id) {
            Err(ResponseError::NotCoordinator)
        } else if request.verify_only {
            self.find_in_transaction(id, producer, epoch, &partitions)
        } else {
            self.add_to_transaction(id, producer, epoch, partitions).map(|()| BTreeSet::new())
        };
        match missing {
            Ok(missing) => results(&request.topics, |topic, partition| {
                let lacks = missing.contains(&(topic.to_string(), partition));
                if lacks { ResponseError::TransactionAbortable.code() } else { 0 }
            }),
            Err(error) => {
                let code = self.transaction_code(context, error, context.version >= 2);
                results(&request.topics, |_, _| code)
            }
        }
    }

    pub(crate) fn handle_add_offsets_to_txn(
        &mut self,
        context: &Context,
        request: AddOffsetsToTxnRequest,
    ) -> Reply {
        let id = request.transactional_id.as_str();
        let partitions = BTreeSet::from([(OFFSETS_TOPIC.to_owned(), partition_of(&request.group_id))]);
        let result = if id.is_empty() {
            Err(ResponseError::InvalidRequest)
        } else if !self.coordinates(context, id) {
            Err(ResponseError::NotCoordinator)
        } else {
            self.add_to_transaction(id, request.producer_id.0, request.producer_epoch, partitions)
        };
        let code = match result {
            Ok(()) => {
                self.ensure_internal_topic(OFFSETS_TOPIC);
                0
            }
            Err(error) => self.transaction_code(context, error, context.version >= 2),
        };
        AddOffsetsToTxnResponse::default().with_error_code(code).into()
    }
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    code: impl Fn(&TopicName, i32) -> i16,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let result = |topic: &AddPartitionsToTxnTopic| {
        let partitions = topic.partitions.iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code(&topic.name, *partition))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    };
    topics.iter().map(result).collect()
}
