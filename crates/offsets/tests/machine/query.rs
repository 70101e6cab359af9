//! Tests of the application's queries.

use std::{collections::BTreeMap, time::Duration};

use offtake_machine::{ListedOffset, OffsetSpec};
use offtake_offsets::{Cause, Event, OffsetAndMetadata, QueryError, QueryId, QueryOutcome};
use offtake_wire::{ApiKey, ErrorCode};

use crate::support::*;

type Committed = Result<Option<OffsetAndMetadata>, QueryError>;

fn committed(id: QueryId, answers: impl IntoIterator<Item = (i32, Committed)>) -> Event {
    let answers: BTreeMap<_, _> = answers.into_iter().map(|(p, answer)| (orders(p), answer)).collect();
    Event::QueryDone { id, outcome: QueryOutcome::Committed(answers) }
}

fn offset(offset: i64) -> Committed {
    Ok(Some(OffsetAndMetadata::new(offset)))
}

fn found(offset: i64) -> Result<Option<ListedOffset>, QueryError> {
    Ok(Some(ListedOffset { offset, timestamp: None, leader_epoch: Some(5) }))
}

#[test]
fn committed_offsets_are_queried_from_outside_the_group_without_an_assignment() {
    let mut sim = Sim::new(|_| {});
    let id = sim.offsets.fetch_committed(sim.now, [orders(0), orders(1)], sim.deadline());
    assert!(sim.offsets.wants_coordinator());
    let ask = sim.transmit();
    assert_eq!(as_fetch(&ask).groups[0].member_id, None);
    assert_eq!(fetch_names(&ask), [orders(0), orders(1)]);
    sim.answer(&ask, 9, fetched([(orders(0), 5, -1, ErrorCode::None), (orders(1), -1, -1, ErrorCode::None)]));
    assert_eq!(sim.events(), [committed(id, [(0, offset(5)), (1, Ok(None))])]);
    assert!(!sim.offsets.wants_coordinator());
    assert_eq!(sim.offsets.token_of(&orders(0)), None);
}

#[test]
fn h11_a_question_waits_for_transactions_partition_by_partition() {
    let mut sim = Sim::new(|_| {});
    let id = sim.offsets.fetch_committed(sim.now, [orders(0), orders(1)], sim.deadline());
    let ask = sim.transmit();
    let code = ErrorCode::UnstableOffsetCommit;
    sim.answer(&ask, 9, fetched([(orders(0), 5, -1, ErrorCode::None), (orders(1), -1, -1, code)]));
    assert_eq!(sim.events(), []);
    sim.wake();
    let ask = sim.transmit();
    assert_eq!(fetch_names(&ask), [orders(1)]);
    sim.answer(&ask, 9, fetched([(orders(1), 6, -1, ErrorCode::None)]));
    assert_eq!(sim.events(), [committed(id, [(0, offset(5)), (1, offset(6))])]);
}

#[test]
fn a_question_ends_at_its_deadline_with_what_is_known_and_why_not_the_rest() {
    let mut sim = Sim::new(|_| {});
    let deadline = sim.now + Duration::from_secs(3);
    let id = sim.offsets.fetch_committed(sim.now, [orders(0), orders(1)], deadline);
    let ask = sim.transmit();
    let code = ErrorCode::CoordinatorLoadInProgress;
    sim.answer(&ask, 9, fetched([(orders(0), 5, -1, ErrorCode::None), (orders(1), -1, -1, code)]));
    sim.coordinator = None;
    sim.advance(Duration::from_secs(3));
    let cause = Cause::Refused { api: ApiKey::OffsetFetch, code };
    let late = Err(QueryError::TimedOut(Some(cause)));
    assert_eq!(sim.events(), [committed(id, [(0, offset(5)), (1, late)])]);
    sim.answer(&ask, 9, fetched([(orders(1), 6, -1, ErrorCode::None)]));
    assert_eq!(sim.events(), [], "C7");
}

#[test]
fn a_question_that_is_refused_for_good_ends_at_once() {
    let mut sim = Sim::new(|_| {});
    let id = sim.offsets.fetch_committed(sim.now, [orders(0)], sim.deadline());
    let ask = sim.transmit();
    let code = ErrorCode::GroupAuthorizationFailed;
    sim.answer(&ask, 9, fetched_group([], code));
    let cause = Cause::Refused { api: ApiKey::OffsetFetch, code };
    assert_eq!(sim.events(), [committed(id, [(0, Err(QueryError::Failed(cause)))])]);
    let mut sim = Sim::new(|c| c.group = None);
    let id = sim.offsets.fetch_committed(sim.now, [orders(0)], sim.deadline());
    assert_eq!(sim.events(), [committed(id, [(0, Err(QueryError::NoGroup))])]);
}

#[test]
fn listed_offsets_come_from_each_leader_and_a_time_without_records_has_none() {
    let mut sim = Sim::new(|_| {});
    let specs = [
        (orders(0), OffsetSpec::Timestamp(50)),
        (orders(1), OffsetSpec::Latest),
        (orders(2), OffsetSpec::Earliest),
    ];
    let id = sim.offsets.list_offsets(sim.now, specs, sim.deadline());
    let asked = sim.transmits();
    assert_eq!(list_specs(&asked[0]), [(orders(0), 5, 50), (orders(2), 5, -2)]);
    assert_eq!(list_specs(&asked[1]), [(orders(1), 5, -1)]);
    sim.answer(&asked[1], 7, lists(orders(1), 70));
    assert_eq!(sim.events(), []);
    sim.answer(
        &asked[0],
        7,
        listed([(orders(0), -1, -1, ErrorCode::None), (orders(2), 3, 5, ErrorCode::None)]),
    );
    let answers = BTreeMap::from([(orders(0), Ok(None)), (orders(1), found(70)), (orders(2), found(3))]);
    assert_eq!(sim.events(), [Event::QueryDone { id, outcome: QueryOutcome::Listed(answers) }]);
}

#[test]
fn l7_a_negative_end_of_a_log_is_an_error() {
    let mut sim = Sim::new(|_| {});
    let id = sim.offsets.list_offsets(sim.now, [(orders(0), OffsetSpec::Latest)], sim.deadline());
    let ask = sim.transmit();
    sim.answer(&ask, 7, lists(orders(0), -1));
    let cause = Cause::BadOffset { api: ApiKey::ListOffsets, offset: -1 };
    let answers = BTreeMap::from([(orders(0), Err(QueryError::Failed(cause)))]);
    assert_eq!(sim.events(), [Event::QueryDone { id, outcome: QueryOutcome::Listed(answers) }]);
}

#[test]
fn a_question_about_an_unknown_topic_waits_for_the_metadata_but_not_for_ever() {
    let mut sim = Sim::new(|_| {});
    let known = std::mem::take(&mut sim.cluster);
    let deadline = sim.deadline();
    let first = sim.offsets.list_offsets(sim.now, [(orders(0), OffsetSpec::Latest)], deadline);
    sim.quiet();
    assert_eq!(sim.events(), [Event::RefreshMetadata]);
    sim.cluster = known.clone();
    sim.offsets.handle_cluster(sim.now, &known);
    let ask = sim.transmit();
    sim.answer(&ask, 7, lists(orders(0), 8));
    let answers = BTreeMap::from([(orders(0), found(8))]);
    assert_eq!(sim.events(), [Event::QueryDone { id: first, outcome: QueryOutcome::Listed(answers) }]);

    sim.cluster.topics.clear();
    let second = sim.offsets.list_offsets(sim.now, [(orders(0), OffsetSpec::Latest)], deadline);
    let last = loop {
        sim.wake();
        if let Some(event @ Event::QueryDone { .. }) = sim.events().pop() {
            break event;
        }
    };
    assert_eq!(sim.now, deadline);
    let answers = BTreeMap::from([(orders(0), Err(QueryError::TimedOut(Some(Cause::NoLeader))))]);
    assert_eq!(last, Event::QueryDone { id: second, outcome: QueryOutcome::Listed(answers) });
}

#[test]
fn a_topic_that_may_not_be_seen_is_said_so_at_once() {
    let mut sim = Sim::new(|_| {});
    let topic = sim.cluster.topics.get_mut("orders").unwrap();
    topic.error = ErrorCode::TopicAuthorizationFailed;
    let id = sim.offsets.list_offsets(sim.now, [(orders(0), OffsetSpec::Latest)], sim.deadline());
    sim.quiet();
    let cause = Cause::Topic(ErrorCode::TopicAuthorizationFailed);
    let answers = BTreeMap::from([(orders(0), Err(QueryError::Failed(cause)))]);
    let done = Event::QueryDone { id, outcome: QueryOutcome::Listed(answers) };
    assert!(sim.events().contains(&done));
}

#[test]
fn a_query_of_a_topic_without_a_known_leader_times_out() {
    for error in [ErrorCode::None, ErrorCode::UnknownTopicOrPartition] {
        let mut sim = Sim::new(|_| {});
        let topic = sim.cluster.topics.get_mut("orders").unwrap();
        (topic.error, topic.partitions) = (error, BTreeMap::new());
        let id = sim.offsets.list_offsets(sim.now, [(orders(0), OffsetSpec::Latest)], sim.deadline());
        sim.quiet();
        sim.advance(Duration::from_secs(60));
        let answers = BTreeMap::from([(orders(0), Err(QueryError::TimedOut(Some(Cause::NoLeader))))]);
        let done = Event::QueryDone { id, outcome: QueryOutcome::Listed(answers) };
        assert!(sim.events().contains(&done));
    }
}

#[test]
fn a_question_about_nothing_is_answered_at_once() {
    let mut sim = Sim::new(|_| {});
    let id = sim.offsets.list_offsets(sim.now, [], sim.deadline());
    assert_eq!(sim.events(), [Event::QueryDone { id, outcome: QueryOutcome::Listed(BTreeMap::new()) }]);
}

#[test]
fn a_question_that_nobody_waits_for_is_asked_no_more_and_has_no_answer() {
    let mut sim = Sim::new(|_| {});
    let committed = sim.offsets.fetch_committed(sim.now, [orders(0)], sim.deadline());
    let listed = sim.offsets.list_offsets(sim.now, [(orders(0), OffsetSpec::Latest)], sim.deadline());
    sim.offsets.cancel_query(committed);
    sim.offsets.cancel_query(listed);
    assert!(!sim.offsets.wants_coordinator());
    sim.quiet();
    sim.advance(Duration::from_secs(61));
    assert_eq!(sim.events(), []);
}
