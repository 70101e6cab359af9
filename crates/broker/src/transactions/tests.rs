use std::time::Duration;

use kafka_protocol::{
    error::ResponseError as E,
    messages::{
        AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
        InitProducerIdRequest, ListTransactionsRequest, ProducerId,
        add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction},
        describe_transactions_response::TransactionState,
    },
};

use crate::topics::test_client::{TestClient, word};

const ID: &str = "billing-1";

type Producer = (i64, i16);

fn talk() -> TestClient {
    let mut talk = TestClient::with_brokers(1);
    talk.create("orders", 2, 1);
    talk
}

fn init(talk: &mut TestClient, version: i16, known: Option<Producer>) -> Result<Producer, i16> {
    let (id, epoch) = known.unwrap_or((-1, -1));
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(word(ID).into()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch);
    let response = talk.ask(version, &request);
    let got = (response.producer_id.0, response.producer_epoch);
    if response.error_code == 0 {
        return Ok(got);
    }
    assert_eq!(got, (-1, -1));
    Err(response.error_code)
}

fn add(talk: &mut TestClient, version: i16, producer: Producer, partitions: &[i32]) -> Vec<i16> {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(word("orders").into())
        .with_partitions(partitions.to_vec());
    let request = AddPartitionsToTxnRequest::default();
    let request = if version < 4 {
        request
            .with_v3_and_below_transactional_id(word(ID).into())
            .with_v3_and_below_producer_id(ProducerId(producer.0))
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(vec![topic])
    } else {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(word(ID).into())
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_topics(vec![topic]);
        request.with_transactions(vec![transaction])
    };
    let mut response = talk.ask(version, &request);
    let topics = if version < 4 {
        response.results_by_topic_v3_and_below
    } else {
        response.results_by_transaction.remove(0).topic_results
    };
    topics[0].results_by_partition.iter().map(|result| result.partition_error_code).collect()
}

fn end(talk: &mut TestClient, version: i16, producer: Producer, commit: bool) -> Result<Producer, i16> {
    let request = EndTxnRequest::default()
        .with_transactional_id(word(ID).into())
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    let response = talk.ask(version, &request);
    match response.error_code {
        0 => Ok((response.producer_id.0, response.producer_epoch)),
        code => Err(code),
    }
}

fn described(talk: &mut TestClient) -> TransactionState {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![word(ID).into()]);
    talk.ask(0, &request).transaction_states.remove(0)
}

fn state(talk: &mut TestClient) -> String {
    described(talk).transaction_state.to_string()
}

#[test]
fn a_transaction_of_version_1_keeps_its_epoch() {
    let mut talk = talk();
    let producer = init(&mut talk, 4, None).expect("a producer");
    assert_eq!(producer.1, 0);
    assert_eq!(state(&mut talk), "Empty");
    assert_eq!(end(&mut talk, 4, producer, true), Err(E::InvalidTxnState.code()), "nothing was begun");
    assert_eq!(add(&mut talk, 3, producer, &[0, 1]), [0, 0]);
    let ongoing = described(&mut talk);
    assert_eq!(ongoing.transaction_state.as_str(), "Ongoing");
    assert_eq!(ongoing.topics[0].partitions, [0, 1]);
    assert_eq!(ongoing.transaction_timeout_ms, 60_000);
    assert_eq!(end(&mut talk, 4, producer, true), Ok((-1, -1)));
    assert_eq!(state(&mut talk), "CompleteCommit");
    assert_eq!(end(&mut talk, 4, producer, true), Ok((-1, -1)), "sent again");
    assert_eq!(end(&mut talk, 4, producer, false), Err(E::InvalidTxnState.code()));
    assert_eq!(add(&mut talk, 3, producer, &[0]), [0], "the next one, in the same epoch");
}

#[test]
fn a_transaction_of_version_2_ends_in_a_new_epoch() {
    let mut talk = talk();
    let first = init(&mut talk, 5, None).expect("a producer");
    assert_eq!(talk.model.verify_transaction(ID, first.0, first.1, "orders", 0, true), Ok(()));
    let second = end(&mut talk, 5, first, true).expect("an end");
    assert_eq!(second, (first.0, first.1 + 1));
    assert_eq!(end(&mut talk, 5, first, true), Ok(second), "sent again: the same answer");
    assert_eq!(end(&mut talk, 5, first, false), Err(E::InvalidTxnState.code()));
    let late = talk.model.verify_transaction(ID, first.0, first.1, "orders", 0, true);
    assert_eq!(late, Err(E::InvalidProducerEpoch), "a write of the transaction before comes late");
    assert_eq!(end(&mut talk, 5, second, true), Err(E::InvalidTxnState.code()));
    let third = end(&mut talk, 5, second, false).expect("an abort of nothing");
    assert_eq!(third, (first.0, first.1 + 2));
    assert_eq!(state(&mut talk), "CompleteAbort");
}

#[test]
fn a_new_producer_aborts_and_fences_the_one_before() {
    let mut talk = talk();
    let old = init(&mut talk, 5, None).expect("a producer");
    assert_eq!(add(&mut talk, 5, old, &[0]), [0]);
    assert_eq!(init(&mut talk, 5, None), Err(E::ConcurrentTransactions.code()));
    assert_eq!(state(&mut talk), "CompleteAbort");
    let new = init(&mut talk, 5, None).expect("a producer");
    assert_eq!(new.0, old.0);
    assert!(new.1 > old.1);
    assert_eq!(end(&mut talk, 4, old, true), Err(E::ProducerFenced.code()));
    assert_eq!(end(&mut talk, 1, old, true), Err(E::InvalidProducerEpoch.code()), "the older name of it");
    assert_eq!(add(&mut talk, 3, old, &[0]), [E::ProducerFenced.code()]);
    assert_eq!(add(&mut talk, 1, old, &[0]), [E::InvalidProducerEpoch.code()]);
    assert_eq!(init(&mut talk, 4, Some(old)), Err(E::ProducerFenced.code()));
    assert_eq!(init(&mut talk, 3, Some(old)), Err(E::InvalidProducerEpoch.code()));
    assert_eq!(end(&mut talk, 5, (old.0 + 1, 0), true), Err(E::InvalidProducerIdMapping.code()));
}

#[test]
fn kip_360_a_producer_bumps_its_own_epoch_and_may_ask_twice() {
    let mut talk = talk();
    let first = init(&mut talk, 5, None).expect("a producer");
    let second = init(&mut talk, 5, Some(first)).expect("a bump");
    assert_eq!(second, (first.0, first.1 + 1));
    assert_eq!(init(&mut talk, 5, Some(first)), Ok(second), "its answer had been lost");
    assert_eq!(init(&mut talk, 5, Some((first.0, -1))), Err(E::InvalidRequest.code()));
}

#[test]
fn epochs_run_out_and_a_new_producer_id_follows() {
    let mut talk = talk();
    let first = init(&mut talk, 5, None).expect("a producer");
    talk.model.transactions.all.get_mut(ID).expect("known").epoch = i16::MAX - 1;
    let last = (first.0, i16::MAX - 1);
    assert_eq!(add(&mut talk, 5, last, &[0]), [0]);
    let next = end(&mut talk, 5, last, true).expect("an end");
    assert_eq!(next.1, 0);
    assert_ne!(next.0, first.0);
    assert_eq!(end(&mut talk, 5, last, true), Ok(next), "sent again");
    assert_eq!(add(&mut talk, 5, next, &[0]), [0]);
}

#[test]
fn a_transaction_is_aborted_after_its_timeout() {
    let mut talk = talk();
    let producer = init(&mut talk, 5, None).expect("a producer");
    add(&mut talk, 5, producer, &[0]);
    talk.wait(Duration::from_secs(59));
    assert_eq!(state(&mut talk), "Ongoing");
    talk.wait(Duration::from_secs(1));
    assert_eq!(state(&mut talk), "CompleteAbort");
    // With KIP-890 it looks like a repeated request for a transaction that ended otherwise.
    assert_eq!(end(&mut talk, 5, producer, true), Err(E::InvalidTxnState.code()));
}

#[test]
fn late_markers_keep_the_next_transaction_waiting() {
    let mut talk = talk();
    let first = init(&mut talk, 5, None).expect("a producer");
    add(&mut talk, 5, first, &[0]);
    talk.model.hold_markers(talk.now + Duration::from_secs(5));
    let second = end(&mut talk, 5, first, true).expect("answered all the same");
    assert_eq!(state(&mut talk), "PrepareCommit");
    assert_eq!(add(&mut talk, 5, second, &[1]), [E::ConcurrentTransactions.code()]);
    assert_eq!(end(&mut talk, 5, first, true), Err(E::ConcurrentTransactions.code()));
    assert_eq!(init(&mut talk, 5, None), Err(E::ConcurrentTransactions.code()));
    talk.wait(Duration::from_secs(5));
    assert_eq!(state(&mut talk), "CompleteCommit");
    assert_eq!(add(&mut talk, 5, second, &[1]), [0]);
}

#[test]
fn markers_wait_for_a_leader() {
    let mut talk = TestClient::with_brokers(2);
    talk.create("other", 1, 1);
    talk.create("orders", 1, 1); // on broker 2
    let coordinator = talk.model.coordinator_of(ID).expect("a coordinator");
    talk.connection = talk.model.connect(talk.now, coordinator, "127.0.0.1").expect("it is up");
    let producer = init(&mut talk, 5, None).expect("a producer");
    add(&mut talk, 5, producer, &[0]);
    let victim = 2;
    talk.kill(victim);
    let coordinator = talk.model.coordinator_of(ID).expect("a coordinator");
    talk.connection = talk.model.connect(talk.now, coordinator, "127.0.0.1").expect("it is up");
    assert!(end(&mut talk, 5, producer, true).is_ok());
    assert_eq!(state(&mut talk), "PrepareCommit");
    talk.start(victim);
    let coordinator = talk.model.coordinator_of(ID).expect("a coordinator");
    talk.connection = talk.model.connect(talk.now, coordinator, "127.0.0.1").expect("it is up");
    assert_eq!(state(&mut talk), "CompleteCommit");
}

#[test]
fn invalid_transaction_requests_get_kafkas_error_codes() {
    let mut talk = talk();
    let producer = init(&mut talk, 5, None).expect("a producer");
    let codes = add(&mut talk, 3, producer, &[0, 9]);
    assert_eq!(codes, [E::OperationNotAttempted.code(), E::UnknownTopicOrPartition.code()]);
    let timeout = InitProducerIdRequest::default()
        .with_transactional_id(Some(word(ID).into()))
        .with_transaction_timeout_ms(900_001);
    assert_eq!(talk.ask(4, &timeout).error_code, E::InvalidTransactionTimeout.code());
    let idempotent = InitProducerIdRequest::default().with_transactional_id(None);
    let (one, other) = (talk.ask(4, &idempotent).producer_id, talk.ask(4, &idempotent).producer_id);
    assert_ne!(one, other);
    let verify = |talk: &mut TestClient, partition| {
        talk.model.verify_transaction(ID, producer.0, producer.1, "orders", partition, false)
    };
    assert_eq!(verify(&mut talk, 0), Err(E::TransactionAbortable));
    add(&mut talk, 3, producer, &[0]);
    assert_eq!(verify(&mut talk, 0), Ok(()));
    assert_eq!(verify(&mut talk, 1), Err(E::TransactionAbortable));
}

#[test]
fn only_the_coordinator_knows() {
    let mut talk = TestClient::with_brokers(3);
    talk.create("orders", 2, 1);
    let coordinator = talk.model.coordinator_of(ID).expect("a coordinator");
    let other = (1..=3).find(|broker| *broker != coordinator).expect("another");
    talk.connection = talk.model.connect(talk.now, other, "127.0.0.1").expect("it is up");
    assert_eq!(init(&mut talk, 5, None), Err(E::NotCoordinator.code()));
    assert_eq!(add(&mut talk, 3, (0, 0), &[0]), [E::NotCoordinator.code()]);
    assert_eq!(end(&mut talk, 5, (0, 0), true), Err(E::NotCoordinator.code()));
    assert_eq!(described(&mut talk).error_code, E::NotCoordinator.code());
}

#[test]
fn a_groups_partition_joins_and_transactions_are_listed() {
    let mut talk = talk();
    let producer = init(&mut talk, 5, None).expect("a producer");
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(word(ID).into())
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_group_id(word("readers").into());
    for version in 0..=4 {
        assert_eq!(talk.ask(version, &request).error_code, 0);
    }
    let topics = described(&mut talk).topics;
    assert_eq!(topics[0].topic.as_str(), "__consumer_offsets");
    assert_eq!(topics[0].partitions, [crate::nodes::partition_of("readers")]);

    let list = |talk: &mut TestClient, state: &str| {
        let request = ListTransactionsRequest::default().with_state_filters(vec![word(state)]);
        let response = talk.ask(0, &request);
        (response.transaction_states.len(), response.unknown_state_filters.len())
    };
    assert_eq!(list(&mut talk, "Ongoing"), (1, 0));
    assert_eq!(list(&mut talk, "Empty"), (0, 0));
    assert_eq!(list(&mut talk, "Dreaming"), (0, 1));
    let pattern = ListTransactionsRequest::default().with_transactional_id_pattern(Some(word("bill.*")));
    assert_eq!(talk.ask(2, &pattern).transaction_states.len(), 1);
}
