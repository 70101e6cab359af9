//! Committed offsets, and groups as administrators see them.

use kafka_protocol::{
    error::ResponseError as E,
    messages::{
        DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest,
        ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, ProducerId,
        ResponseKind, TransactionalId, TxnOffsetCommitRequest,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
        txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};

use super::*;

fn committing(id: &str, generation: i32, topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition = |(index, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default().with_partition_index(*index).with_committed_offset(*offset)
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(offsets.iter().map(partition).collect());
    OffsetCommitRequest::default()
        .with_group_id(group())
        .with_member_id(text(id))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic])
}

impl Sim {
    /// The codes by partition, in the answer's order.
    fn commit(&mut self, from: ConnectionId, version: i16, request: OffsetCommitRequest) -> Vec<(i32, i16)> {
        let ResponseKind::OffsetCommit(response) = self.call(from, version, request) else { panic!() };
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| (partition.partition_index, partition.error_code)).collect()
    }

    /// The producer id of the transactional id `tx`.
    fn producer(&mut self, from: ConnectionId) -> i64 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text("tx"))))
            .with_transaction_timeout_ms(60_000);
        let ResponseKind::InitProducerId(response) = self.call(from, 4, request) else { panic!() };
        response.producer_id.0
    }

    fn commit_in_transaction(
        &mut self,
        from: ConnectionId,
        producer: i64,
        generation: i32,
        offset: i64,
    ) -> i16 {
        let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text("orders")))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text("tx")))
            .with_group_id(group())
            .with_producer_id(ProducerId(producer))
            .with_generation_id(generation)
            .with_topics(vec![topic]);
        let ResponseKind::TxnOffsetCommit(response) = self.call(from, 5, request) else { panic!() };
        response.topics[0].partitions[0].error_code
    }

    /// Offsets and codes of a topic's partitions 0 and 1.
    fn offsets(&mut self, from: ConnectionId, topic: &str, stable: bool) -> Vec<(i64, i16)> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(vec![0, 1]);
        let wanted = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![wanted]).with_require_stable(stable);
        let ResponseKind::OffsetFetch(response) = self.call(from, 9, request) else { panic!() };
        let partitions = &response.groups[0].topics[0].partitions;
        partitions.iter().map(|partition| (partition.committed_offset, partition.error_code)).collect()
    }
}

#[test]
fn a_coordinator_that_was_stopped_takes_no_commit_that_it_had_not_read_when_the_group_moved() {
    let mut sim = Sim::with(Config { brokers: 2, ..Config::default() });
    let one = sim.client();
    let a = sim.alone(one);
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    sim.model.pause(sim.now, coordinator);
    sim.send(one, 7, committing(&a, 1, "orders", &[(0, 3)]));
    sim.pass(seconds(2));
    let two = sim.client();
    assert_eq!(sim.commit(two, 7, committing(&a, 1, "orders", &[(0, 8)])), [(0, 0)]);
    sim.model.resume(sim.now, coordinator);
    sim.settle();
    let Some(ResponseKind::OffsetCommit(late)) = sim.answer(one) else { panic!() };
    assert_eq!(late.topics[0].partitions[0].error_code, E::NotCoordinator.code());
    assert_eq!(sim.model.coordinator_of(GROUP), Some(coordinator), "which it is again");
}

#[test]
fn only_members_commit_while_there_are_any() {
    let mut sim = Sim::new();
    let client = sim.client();
    let hand = |version| (version, committing("", -1, "orders", &[(0, 5)]));
    let (version, request) = hand(9);
    assert_eq!(sim.commit(client, version, request), [(0, 0)], "by hand, and the group is there");
    let stranger = committing("x", 1, "orders", &[(0, 5)]);
    assert_eq!(sim.commit(client, 9, stranger), [(0, E::UnknownMemberId.code())]);

    let a = sim.introduce(client);
    sim.joined(client).unwrap();
    let early = committing(&a, 1, "orders", &[(0, 7)]);
    assert_eq!(sim.commit(client, 9, early.clone()), [(0, E::RebalanceInProgress.code())]);
    sim.send(client, 5, syncing(&a, 1).with_assignments(vec![gives(&a, &[0, 1])]));
    sim.synced(client).unwrap();
    assert_eq!(sim.commit(client, 9, early), [(0, 0)]);
    let (version, request) = hand(2);
    assert_eq!(sim.commit(client, version, request), [(0, E::UnknownMemberId.code())]);
    let old = committing(&a, 0, "orders", &[(0, 7)]);
    assert_eq!(sim.commit(client, 9, old), [(0, E::IllegalGeneration.code())]);
    let fenced = committing(&a, 1, "orders", &[(0, 7)]).with_group_instance_id(Some(text("printer")));
    assert_eq!(sim.commit(client, 9, fenced), [(0, E::UnknownMemberId.code())]);
    assert_eq!(sim.offsets(client, "orders", false), [(7, 0), (-1, 0)]);

    // A commit counts as a heartbeat.
    for _ in 0..3 {
        sim.pass(seconds(9));
        sim.commit(client, 9, committing(&a, 1, "orders", &[(0, 8)]));
    }
    assert_eq!(sim.gone(), []);
}

#[test]
fn a_commit_to_a_group_that_is_not_there() {
    let mut sim = Sim::new();
    let client = sim.client();
    let commit = |topic| committing("x", 3, topic, &[(0, 5), (9, 5)]);
    let no_partition = E::UnknownTopicOrPartition.code();
    let codes = sim.commit(client, 9, commit("orders"));
    assert_eq!(codes, [(9, no_partition), (0, E::GroupIdNotFound.code())], "what is not there comes first");
    let codes = sim.commit(client, 8, commit("orders"));
    assert_eq!(codes, [(9, no_partition), (0, E::IllegalGeneration.code())]);
    let codes = sim.commit(client, 9, commit("nothing"));
    assert_eq!(codes, [(0, no_partition), (9, no_partition)], "the group is not even looked at");
}

#[test]
fn metadata_has_a_limit() {
    let mut sim = Sim::new();
    let client = sim.client();
    let mut request = committing("", -1, "orders", &[(0, 5), (1, 6)]);
    request.topics[0].partitions[0].committed_metadata = Some(text(&"m".repeat(4097)));
    request.topics[0].partitions[1].committed_metadata = Some(text(&"m".repeat(4096)));
    assert_eq!(sim.commit(client, 9, request), [(0, E::OffsetMetadataTooLarge.code()), (1, 0)]);
    assert_eq!(sim.offsets(client, "orders", false), [(-1, 0), (6, 0)]);
}

#[test]
fn an_open_transaction_makes_an_offset_unstable() {
    let mut sim = Sim::new();
    let client = sim.client();
    assert_eq!(sim.commit(client, 9, committing("", -1, "orders", &[(0, 5), (1, 6)])), [(0, 0), (1, 0)]);
    let producer = sim.producer(client);
    assert_eq!(sim.commit_in_transaction(client, producer, -1, 50), 0);
    let unstable = E::UnstableOffsetCommit.code();
    assert_eq!(sim.offsets(client, "orders", true), [(-1, unstable), (6, 0)]);
    assert_eq!(sim.offsets(client, "orders", false), [(5, 0), (6, 0)]);
    sim.model.end_transaction_in_group(GROUP, producer, false);
    assert_eq!(sim.offsets(client, "orders", true), [(5, 0), (6, 0)]);

    sim.commit_in_transaction(client, producer, -1, 60);
    sim.model.end_transaction_in_group(GROUP, producer, true);
    assert_eq!(sim.offsets(client, "orders", true), [(60, 0), (6, 0)]);

    // A transaction that ends later does not undo a commit made after its own.
    sim.commit_in_transaction(client, producer, -1, 70);
    sim.commit(client, 9, committing("", -1, "orders", &[(0, 80)]));
    sim.model.end_transaction_in_group(GROUP, producer, true);
    assert_eq!(sim.offsets(client, "orders", true), [(80, 0), (6, 0)]);
    assert_eq!(sim.commit_in_transaction(client, producer, 3, 1), E::UnknownMemberId.code(), "KIP-447");
}

#[test]
fn offsets_as_old_clients_fetch_them() {
    let mut sim = Sim::with(Config { brokers: 2, ..Config::default() });
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    let (client, stranger) = (sim.client(), sim.client_of(3 - coordinator));
    sim.commit(client, 9, committing("", -1, "orders", &[(1, 6)]));
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(text("orders")))
        .with_partition_indexes(vec![1]);
    let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
    let ResponseKind::OffsetFetch(first) = sim.call(client, 1, request.clone()) else { panic!() };
    assert_eq!(first.topics[0].partitions[0].committed_offset, 6);
    let ResponseKind::OffsetFetch(lost) = sim.call(stranger, 1, request.clone()) else { panic!() };
    let partition = &lost.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.error_code), (-1, E::NotCoordinator.code()));
    let ResponseKind::OffsetFetch(lost) = sim.call(stranger, 7, request.clone()) else { panic!() };
    assert_eq!((lost.error_code, lost.topics.len()), (E::NotCoordinator.code(), 0));
    let ResponseKind::OffsetFetch(all) = sim.call(client, 7, request.with_topics(None)) else { panic!() };
    assert_eq!(all.topics[0].partitions[0].committed_offset, 6);
}

#[test]
fn offsets_go_with_their_topic_or_when_they_are_deleted() {
    let mut sim = Sim::new();
    sim.create("payments", 1);
    let client = sim.client();
    let delete = |topic: &str| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic])
    };
    let deleted = |sim: &mut Sim, topic: &str| {
        let ResponseKind::OffsetDelete(response) = sim.call(client, 0, delete(topic)) else { panic!() };
        (response.error_code, response.topics.first().map(|topic| topic.partitions[0].error_code))
    };
    assert_eq!(deleted(&mut sim, "orders"), (E::GroupIdNotFound.code(), None));
    let mut request = committing("", -1, "orders", &[(0, 5)]);
    request.topics.push(committing("", -1, "payments", &[(0, 6)]).topics.remove(0));
    assert_eq!(sim.commit(client, 9, request), [(0, 0), (0, 0)]);
    let a = sim.alone(client);
    assert_eq!(deleted(&mut sim, "orders"), (0, Some(E::GroupSubscribedToTopic.code())));
    assert_eq!(deleted(&mut sim, "nothing"), (0, Some(E::UnknownTopicOrPartition.code())));
    assert_eq!(deleted(&mut sim, "payments"), (0, Some(0)), "which they do not read");
    assert_eq!(sim.offsets(client, "payments", false)[0], (-1, 0));
    sim.leave(client, &a);
    sim.model.topics.all.remove("orders");
    sim.model.topics_changed();
    assert_eq!(sim.offsets(client, "orders", false)[0], (-1, 0));
}

#[test]
fn groups_seen_from_outside() {
    let mut sim = Sim::new();
    let client = sim.client();
    let describe = |sim: &mut Sim, version: i16| {
        let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
        let ResponseKind::DescribeGroups(mut response) = sim.call(client, version, request) else { panic!() };
        response.groups.remove(0)
    };
    let missing = describe(&mut sim, 6);
    assert_eq!((missing.error_code, missing.group_state.as_str()), (E::GroupIdNotFound.code(), "Dead"));
    assert_eq!(missing.error_message, Some(text("Group readers not found.")));
    assert_eq!(describe(&mut sim, 5).error_code, 0);

    let a = sim.alone(client);
    let stable = describe(&mut sim, 6);
    let member = &stable.members[0];
    assert_eq!((stable.group_state.as_str(), stable.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("app", "/10.0.0.7"));
    assert!(!member.member_metadata.is_empty() && !member.member_assignment.is_empty());

    let list = |sim: &mut Sim, states: &[&str], types: &[&str]| {
        let texts = |values: &[&str]| values.iter().map(|value| text(value)).collect();
        let request =
            ListGroupsRequest::default().with_states_filter(texts(states)).with_types_filter(texts(types));
        let ResponseKind::ListGroups(response) = sim.call(client, 5, request) else { panic!() };
        response.groups.len()
    };
    assert_eq!(list(&mut sim, &[], &[]), 1);
    assert_eq!(list(&mut sim, &["stable", "Empty"], &["Classic"]), 1);
    assert_eq!(list(&mut sim, &["Empty"], &[]), 0);
    assert_eq!(list(&mut sim, &[], &["consumer"]), 0);

    let delete = |sim: &mut Sim| {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group(), group()]);
        let ResponseKind::DeleteGroups(response) = sim.call(client, 2, request) else { panic!() };
        assert_eq!(response.results.len(), 1, "named twice, deleted once");
        response.results[0].error_code
    };
    assert_eq!(delete(&mut sim), E::NonEmptyGroup.code());
    assert_eq!(sim.leave(client, &a), 0);
    assert_eq!((delete(&mut sim), delete(&mut sim)), (0, E::GroupIdNotFound.code()));
}

#[test]
fn a_coordinator_is_found() {
    let mut sim = Sim::with(Config { brokers: 3, ..Config::default() });
    let client = sim.client_of(1);
    let coordinator = sim.model.coordinator_of(GROUP).unwrap();
    let request = FindCoordinatorRequest::default().with_key(text(GROUP));
    let ResponseKind::FindCoordinator(single) = sim.call(client, 3, request.clone()) else { panic!() };
    assert_eq!((single.error_code, single.node_id.0), (0, coordinator));
    assert_eq!(single.error_message, Some(text("NONE")));
    let ResponseKind::FindCoordinator(oldest) = sim.call(client, 0, request) else { panic!() };
    assert_eq!(oldest.node_id.0, coordinator);

    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(GROUP), text("other")]);
    let ResponseKind::FindCoordinator(batch) = sim.call(client, 6, request.clone()) else { panic!() };
    assert_eq!(batch.coordinators.len(), 2);
    assert_eq!((batch.coordinators[0].node_id.0, batch.coordinators[0].error_code), (coordinator, 0));
    let ResponseKind::FindCoordinator(wrong) = sim.call(client, 4, request.with_key_type(7)) else {
        panic!()
    };
    let wrong = &wrong.coordinators[0];
    assert_eq!((wrong.node_id.0, wrong.error_code), (-1, E::InvalidRequest.code()));

    let stranger = sim.client_of(coordinator % 3 + 1);
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(GROUP))]);
    let ResponseKind::DescribeGroups(lost) = sim.call(stranger, 6, request) else { panic!() };
    assert_eq!(lost.groups[0].error_code, E::NotCoordinator.code());
}
