//! Producers and transactions.

use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnResponse, InitProducerIdResponse,
    ListTransactionsResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    add_partitions_to_txn_response::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult},
    describe_transactions_response::TransactionState,
    txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
};

pub(super) fn init_producer_id(code: i16) -> InitProducerIdResponse {
    let answer = InitProducerIdResponse::default().with_error_code(code);
    answer.with_producer_id((-1).into()).with_producer_epoch(-1)
}

pub(super) fn add_partitions_to_txn(
    request: &AddPartitionsToTxnRequest,
    version: i16,
    code: i16,
) -> AddPartitionsToTxnResponse {
    let answer = AddPartitionsToTxnResponse::default();
    if version >= 4 {
        return answer.with_error_code(code);
    }
    let failed = |index: &i32| {
        let partition = AddPartitionsToTxnPartitionResult::default().with_partition_index(*index);
        partition.with_partition_error_code(code)
    };
    let topics = request.v3_and_below_topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(failed).collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions)
    });
    answer.with_results_by_topic_v3_and_below(topics.collect())
}

pub(super) fn add_offsets_to_txn(code: i16) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse::default().with_error_code(code)
}

pub(super) fn end_txn(version: i16, code: i16) -> EndTxnResponse {
    let answer = EndTxnResponse::default().with_error_code(code);
    if version >= 5 { answer.with_producer_id((-1).into()).with_producer_epoch(-1) } else { answer }
}

pub(super) fn txn_offset_commit(request: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let failed =
        |index| TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| failed(asked.partition_index)).collect();
        TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub(super) fn describe_transactions(
    request: &DescribeTransactionsRequest,
    code: i16,
) -> DescribeTransactionsResponse {
    let failed = |id| TransactionState::default().with_transactional_id(id).with_error_code(code);
    let states = request.transactional_ids.iter().map(|id| failed(id.clone()));
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

pub(super) fn list_transactions(code: i16) -> ListTransactionsResponse {
    ListTransactionsResponse::default().with_error_code(code)
}
