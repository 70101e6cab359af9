//! Tests of what is finished, and how it is committed to the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use offtake_machine::{
    BackoffConfig, BrokerId, CallError, GroupProtocol, Identity, Position, Token, TopicPartition, Transmit,
};
use offtake_offsets::{
    Cause, Commit, CommitError, CommitId, CommitOutcome, Event, FinishedError, MAX_QUEUED_COMMITS,
    OffsetAndMetadata, QueryError, QueryOutcome, ResetPolicy, ResetReason, StartAt,
};
use offtake_wire::{ApiKey, ErrorCode, Request, Uuid};

use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);

impl Sim {
    fn commit(&mut self, what: Commit) -> CommitId {
        self.offsets.commit(self.now, what, self.now + MINUTE)
    }

    fn commit_at(&mut self, token: Token, offset: i64) -> CommitId {
        self.commit(Commit::Offsets(vec![(orders(0), token, Position::at(offset).into())]))
    }

    fn finish(&mut self, token: Token, offset: i64) {
        self.offsets.mark_finished(&orders(0), token, Position::at(offset)).unwrap();
    }

    fn accept(&mut self, transmit: &Transmit) {
        let offsets = commit_offsets(transmit);
        self.answer(transmit, 9, commits(offsets.into_iter().map(|(of, ..)| (of, ErrorCode::None))));
    }

    fn refuse(&mut self, transmit: &Transmit, code: ErrorCode) {
        self.answer(transmit, 9, commits([(orders(0), code)]));
    }
}

fn done(id: CommitId, outcome: impl IntoIterator<Item = (TopicPartition, Result<(), CommitError>)>) -> Event {
    Event::CommitDone { id, outcome: outcome.into_iter().collect() }
}

fn ok(id: CommitId) -> Event {
    done(id, [(orders(0), Ok(()))])
}

fn failed(id: CommitId, error: CommitError) -> Event {
    done(id, [(orders(0), Err(error))])
}

fn committed(offset: i64) -> Event {
    Event::Committed { offsets: vec![(orders(0), offset)] }
}

fn refused(code: ErrorCode) -> Cause {
    Cause::Refused { api: ApiKey::OffsetCommit, code }
}

/// C6: what is in flight has its own answer, and a later commit waits for the next lookup.
#[test]
fn c6_commits_and_queries_that_wait_for_a_refused_coordinator_fail_at_once() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let in_flight = sim.commit_at(token, 11);
    let sent = sim.transmit();
    let next = sim.commit_at(token, 12);
    sim.coordinator = None;
    let query = sim.offsets.fetch_committed(sim.now, [orders(0), orders(1)], sim.deadline());
    sim.quiet();
    let code = ErrorCode::GroupAuthorizationFailed;
    let cause = Cause::Refused { api: ApiKey::FindCoordinator, code };
    sim.offsets.on_coordinator_lookup_failed(sim.now, &cause);
    let unanswered = || Err(QueryError::Failed(cause.clone()));
    let outcome = QueryOutcome::Committed([(orders(0), unanswered()), (orders(1), unanswered())].into());
    let expected =
        [failed(next, CommitError::Failed(cause.clone())), Event::QueryDone { id: query, outcome }];
    assert_eq!(sim.events(), expected);
    sim.accept(&sent);
    assert_eq!(sim.events(), [committed(11), ok(in_flight)]);
    assert!(!sim.offsets.wants_coordinator(), "nothing waits for it");
    let later = sim.commit_at(token, 13);
    assert!(sim.offsets.wants_coordinator() && sim.events().is_empty());
    sim.coordinator = Some(COORDINATOR);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(13), ok(later)]);
}

#[test]
fn c6_commits_wait_on_if_the_next_lookup_may_succeed() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.coordinator = None;
    let commit = sim.commit_at(token, 12);
    let (address, api) = ("b:9092".to_owned(), ApiKey::FindCoordinator);
    let passing = CallError::TimedOut { address: address.clone(), api, after: Duration::from_secs(30) };
    sim.offsets.on_coordinator_lookup_failed(sim.now, &Cause::Call(passing));
    assert_eq!(sim.events(), []);
    let lasting = Cause::Call(CallError::Unsupported { address, api });
    sim.offsets.on_coordinator_lookup_failed(sim.now, &lasting);
    assert_eq!(sim.events(), [failed(commit, CommitError::Failed(lasting))]);
}

#[test]
fn c6_a_commit_that_is_to_wait_outlasts_a_refused_lookup_even_if_it_is_merged() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.coordinator = None;
    let patient = sim.commit_at(token, 12);
    sim.offsets.wait_for_coordinator(patient);
    let other = sim.commit_at(token, 12);
    let code = ErrorCode::GroupAuthorizationFailed;
    let cause = Cause::Refused { api: ApiKey::FindCoordinator, code };
    sim.offsets.on_coordinator_lookup_failed(sim.now, &cause);
    assert_eq!(sim.events(), [failed(other, CommitError::Failed(cause.clone()))]);
    let other = sim.commit_at(token, 12);
    assert_eq!(sim.offsets.merge_commits(&[patient, other].into()), [patient].into());
    sim.offsets.on_coordinator_lookup_failed(sim.now, &cause);
    assert_eq!(sim.events(), []);
    sim.coordinator = Some(COORDINATOR);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(12), ok(other)]);
}

#[test]
fn finished_offsets_are_committed_as_the_member_that_finished_them() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.set_identity(Some(Identity { instance_id: Some("i".into()), ..member(3) }));
    sim.offsets.mark_finished(&orders(0), token, at(15, 4)).unwrap();
    assert!(sim.offsets.has_uncommitted());
    let id = sim.commit(Commit::Finished);
    assert!(sim.offsets.wants_coordinator());
    let commit = sim.transmit();
    let request = as_commit(&commit);
    assert_eq!(request.group_id, "g");
    assert_eq!((request.generation_id_or_member_epoch, request.member_id.as_str()), (3, "m-1"));
    assert_eq!(request.group_instance_id.as_deref(), Some("i"));
    assert_eq!(request.topics[0].topic_id, Uuid([7; 16]));
    assert_eq!(commit_offsets(&commit), [(orders(0), 15, 4)]);
    sim.quiet();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(15), ok(id)]);
    assert_eq!(sim.offsets.committed_position(&orders(0)), Some(at(15, 4)));
    assert!(!sim.offsets.has_uncommitted());
    let id = sim.commit(Commit::Finished);
    assert_eq!(sim.events(), [done(id, [])], "nothing is left to commit");
}

/// The application committed more of it by hand, at last: that stands.
#[test]
fn what_is_given_up_is_in_no_later_commit_of_what_is_finished() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.mark_finished(&orders(0), token, at(15, 4)).unwrap();
    let by_hand = sim.commit_at(token, 14);
    sim.offsets.leave_uncommitted(&[orders(0)]);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(14), ok(by_hand)]);
    let id = sim.commit(Commit::Finished);
    assert_eq!(sim.events(), [done(id, [])]);
    sim.offsets.mark_finished(&orders(0), token, at(16, 4)).unwrap();
    let id = sim.commit(Commit::Finished);
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 16, 4)]);
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(16), ok(id)]);
}

#[test]
fn version_10_answers_with_topic_ids_and_older_ones_only_with_names() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 11);
    let commit = sim.transmit();
    assert_eq!(commit.max_version, None);
    let mut answer = commits([(orders(0), ErrorCode::None)]);
    answer.topics[0].name.clear();
    answer.topics[0].topic_id = Uuid([7; 16]);
    sim.answer(&commit, 10, answer);
    assert_eq!(sim.events(), [committed(11), ok(id)]);
    sim.cluster.topics.clear();
    sim.commit_at(token, 12);
    assert_eq!(sim.transmit().max_version, Some(9));
}

#[test]
fn g7_no_instance_id_without_a_member_id() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.set_identity(Some(Identity { instance_id: Some("i".into()), ..Identity::standalone() }));
    sim.commit_at(token, 11);
    let commit = sim.transmit();
    assert_eq!(as_commit(&commit).group_instance_id, None);
    assert_eq!(as_commit(&commit).generation_id_or_member_epoch, -1);
}

#[test]
fn h1_a_commit_waits_for_an_earlier_overlapping_one() {
    let (mut sim, token) = Sim::flowing(|_| {});
    assert!(!sim.offsets.has_commit(&orders(0)));
    let first = sim.commit_at(token, 20);
    assert!(sim.offsets.has_commit(&orders(0)) && !sim.offsets.has_commit(&orders(1)));
    let one = sim.transmit();
    let second = sim.commit_at(token, 30);
    sim.quiet();
    sim.refuse(&one, ErrorCode::CoordinatorLoadInProgress);
    sim.wake();
    let again = sim.transmit();
    assert_eq!(commit_offsets(&again), [(orders(0), 20, -1)], "C5: the same offsets");
    sim.quiet();
    sim.accept(&again);
    assert_eq!(sim.events(), [committed(20), ok(first)]);
    let two = sim.transmit();
    assert_eq!(commit_offsets(&two), [(orders(0), 30, -1)]);
    sim.accept(&two);
    assert_eq!(sim.events(), [committed(30), ok(second)]);
}

#[test]
fn h1_commits_that_wait_for_the_same_one_go_as_the_furthest_of_them() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let first = sim.commit_at(token, 20);
    let one = sim.transmit();
    let soon = sim.now + Duration::from_secs(1);
    let these = |offset| Commit::Offsets(vec![(orders(0), token, Position::at(offset).into())]);
    let second = sim.offsets.commit(sim.now, these(21), soon);
    let rest: Vec<_> = (22..40).map(|offset| sim.commit_at(token, offset)).collect();
    sim.advance(Duration::from_secs(1));
    assert_eq!(sim.events(), [failed(second, CommitError::TimedOut(None))], "and the others wait on");
    sim.accept(&one);
    assert_eq!(sim.events(), [committed(20), ok(first)]);
    let two = sim.transmit();
    assert_eq!(commit_offsets(&two), [(orders(0), 39, -1)]);
    sim.accept(&two);
    let expected: Vec<_> = [committed(39)].into_iter().chain(rest.into_iter().map(ok)).collect();
    assert_eq!(sim.events(), expected);
    sim.quiet();
}

#[test]
fn h1_h13_a_commit_that_goes_back_or_says_something_else_goes_by_itself() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let say = |offset, metadata: &str| OffsetAndMetadata::new(offset).with_metadata(metadata);
    let mut ids = Vec::new();
    let expected = [(30, "a"), (20, "a"), (25, "b")];
    for (offset, metadata) in expected {
        ids.push(sim.commit(Commit::Offsets(vec![(orders(0), token, say(offset, metadata))])));
    }
    for ((offset, _), id) in expected.into_iter().zip(ids) {
        let commit = sim.transmit();
        assert_eq!(commit_offsets(&commit), [(orders(0), offset, -1)]);
        sim.accept(&commit);
        assert_eq!(sim.events(), [committed(offset), ok(id)]);
    }
}

#[test]
fn h1_a_commit_that_times_out_in_flight_still_holds_back_the_next() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let soon = sim.now + Duration::from_secs(1);
    let first =
        sim.offsets.commit(sim.now, Commit::Offsets(vec![(orders(0), token, Position::at(20).into())]), soon);
    let one = sim.transmit();
    let second = sim.commit_at(token, 30);
    sim.advance(Duration::from_secs(1));
    assert_eq!(sim.events(), [failed(first, CommitError::TimedOut(None))]);
    sim.quiet();
    sim.accept(&one);
    assert_eq!(sim.events(), [committed(20)], "C7: nobody waits for it, but it is true");
    let two = sim.transmit();
    sim.accept(&two);
    assert_eq!(sim.events(), [committed(30), ok(second)]);
}

#[test]
fn h1_a_commit_that_is_refused_when_its_time_is_up_makes_way_for_the_next() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let soon = sim.now + Duration::from_secs(1);
    let first =
        sim.offsets.commit(sim.now, Commit::Offsets(vec![(orders(0), token, Position::at(20).into())]), soon);
    let one = sim.transmit();
    sim.commit_at(token, 30);
    sim.advance(Duration::from_secs(1));
    assert_eq!(sim.events(), [failed(first, CommitError::TimedOut(None))]);
    sim.refuse(&one, ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(sim.events(), [], "it was told of already");
    let two = sim.transmit();
    assert_eq!(commit_offsets(&two), [(orders(0), 30, -1)]);
}

#[test]
fn h2_after_a_revoke_nothing_is_sent_and_everybody_is_told() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let in_flight = sim.commit_at(token, 20);
    let one = sim.transmit();
    let queued = sim.commit_at(token, 30);
    sim.finish(token, 40);
    sim.offsets.unassign([&orders(0)]);
    assert!(!sim.offsets.has_uncommitted());
    assert_eq!(sim.events(), [failed(queued, CommitError::NotOwned), Event::Withdraw(one.id)]);
    assert_eq!(sim.offsets.mark_finished(&orders(0), token, Position::at(50)), Err(FinishedError::NotOwned));
    let late = sim.commit_at(token, 50);
    assert_eq!(sim.events(), [failed(late, CommitError::NotOwned)]);
    sim.quiet();
    sim.refuse(&one, ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(sim.events(), [failed(in_flight, CommitError::NotOwned)]);
    sim.advance(MINUTE);
    sim.quiet();
}

#[test]
fn h2_h14_a_token_of_the_previous_assignment_commits_nothing_in_the_next() {
    let (mut sim, old) = Sim::flowing(|_| {});
    sim.finish(old, 40);
    sim.offsets.unassign([&orders(0)]);
    sim.assign([(orders(0), StartAt::Offset(Position::at(10)))]);
    sim.events();
    assert_eq!(sim.offsets.mark_finished(&orders(0), old, Position::at(50)), Err(FinishedError::NotOwned));
    let id = sim.commit_at(old, 50);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)]);
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(Position::at(10)));
    sim.quiet();
}

#[test]
fn safe7_no_commit_leaves_without_an_identity() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.set_identity(None);
    let id = sim.commit_at(token, 20);
    sim.quiet();
    assert!(!sim.offsets.wants_coordinator());
    sim.offsets.set_identity(Some(member(2)));
    let commit = sim.transmit();
    assert_eq!(as_commit(&commit).generation_id_or_member_epoch, 2, "H7: it waited for the new generation");
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn h3_only_what_was_reported_finished_is_committed_and_never_less_than_before() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.finish(token, 30);
    sim.finish(token, 20);
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(Position::at(30)));
    sim.commit(Commit::Finished);
    sim.finish(token, 35);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 30, -1)], "as it was when asked for");
}

#[test]
fn a_position_from_before_a_seek_is_not_finished_after_it_but_may_be_committed() {
    let (mut sim, old) = Sim::flowing(|_| {});
    sim.finish(old, 30);
    let new = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(12))).unwrap();
    assert_eq!(sim.offsets.mark_finished(&orders(0), old, Position::at(31)), Err(FinishedError::BeforeSeek));
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(Position::at(12)));
    sim.finish(new, 13);
    sim.commit_at(old, 31);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 31, -1)], "the application says so");
}

/// With an epoch the leader is asked first, which may be unavailable for long: offsets beyond the seek are
/// not finished even so.
#[test]
fn l8_offsets_beyond_a_seek_are_not_committed_while_it_is_validated() {
    let (mut sim, old) = Sim::flowing(|_| {});
    sim.finish(old, 30);
    let new = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(at(12, 4))).unwrap();
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(12, 4)));
    let ask = sim.transmit();
    assert_eq!(epoch_specs(&ask), [(orders(0), 5, 4)]);
    sim.offsets.request_auto_commit(sim.now);
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 12, 4)]);
    sim.accept(&commit);
    sim.answer(&ask, 4, ends(orders(0), 4, 200, ErrorCode::None));
    sim.finish(new, 13);
    sim.offsets.request_auto_commit(sim.now);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 13, -1)]);
    // What was finished before a forward seek stays finished until the new position is reached.
    sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(at(40, 4))).unwrap();
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(Position::at(13)));
}

#[test]
fn h9_negative_offsets_are_refused_where_they_are_said() {
    let (mut sim, token) = Sim::flowing(|_| {});
    assert_eq!(
        sim.offsets.mark_finished(&orders(0), token, Position::at(-1)),
        Err(FinishedError::NegativeOffset)
    );
    let id = sim.commit_at(token, -1);
    assert_eq!(sim.events(), [failed(id, CommitError::NegativeOffset(-1))]);
    sim.quiet();
}

#[test]
fn h10_an_unknown_epoch_is_committed_all_the_same() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.mark_finished(&orders(0), token, at(20, 6)).unwrap();
    sim.offsets.mark_finished(&orders(0), token, Position::at(21)).unwrap();
    sim.commit(Commit::Finished);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 21, -1)]);
}

#[test]
fn h5_one_partition_refused_does_not_unmake_the_others() {
    let mut sim = Sim::new(|_| {});
    sim.assign((0..3).map(|p| (orders(p), StartAt::Offset(Position::at(5)))));
    sim.events();
    let id = sim.commit(Commit::Finished);
    let commit = sim.transmit();
    let code = ErrorCode::TopicAuthorizationFailed;
    let answers = [(orders(0), ErrorCode::None), (orders(1), code), (orders(2), ErrorCode::None)];
    sim.answer(&commit, 9, commits(answers));
    let error = CommitError::Failed(refused(code));
    assert_eq!(
        sim.events(),
        [
            Event::Committed { offsets: vec![(orders(0), 5), (orders(2), 5)] },
            done(id, [(orders(0), Ok(())), (orders(1), Err(error)), (orders(2), Ok(()))]),
        ]
    );
    assert_eq!(sim.offsets.committed_position(&orders(1)), None);
    sim.quiet();
}

#[test]
fn h6_a_topic_that_is_gone_is_tried_a_few_times_and_then_failed() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let begun = sim.now;
    let mut tries = 0;
    let code = ErrorCode::UnknownTopicOrPartition;
    let end = loop {
        let commit = sim.transmit();
        sim.refuse(&commit, code);
        tries += 1;
        let events = sim.events();
        if let Some(end) = events.iter().find(|event| matches!(event, Event::CommitDone { .. })) {
            break end.clone();
        }
        assert_eq!(events, [Event::RefreshMetadata]);
        sim.wake();
    };
    assert_eq!(end, failed(id, CommitError::Failed(refused(code))));
    assert!((3..10).contains(&tries), "{tries}");
    assert!(sim.now - begun < Duration::from_secs(10), "a revoke must not wait for ever");
}

#[test]
fn c1_c5_a_commit_follows_the_coordinator_with_the_same_offsets() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    sim.refuse(&commit, ErrorCode::NotCoordinator);
    assert_eq!(sim.events(), [Event::CoordinatorLost(COORDINATOR)]);
    sim.coordinator = None;
    sim.wake();
    sim.quiet();
    sim.coordinator = Some(BrokerId(2));
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 20, -1)]);
    sim.fail(&commit, disconnected());
    assert_eq!(sim.events(), [Event::CoordinatorLost(BrokerId(2))]);
    sim.wake();
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 20, -1)]);
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn a_commit_that_never_gets_through_ends_at_its_deadline_with_the_reason() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let begun = sim.now;
    let id = sim.commit_at(token, 20);
    let mut sent = 0;
    let outcome = loop {
        if let Some(commit) = sim.next_transmit() {
            sent += 1;
            sim.refuse(&commit, ErrorCode::CoordinatorLoadInProgress);
        }
        if let Some(event) = sim.events().pop() {
            break event;
        }
        sim.wake();
    };
    let code = ErrorCode::CoordinatorLoadInProgress;
    let error = CommitError::TimedOut(Some(refused(code)));
    assert_eq!(error.to_string(), format!("not committed in time (OffsetCommit refused: {code})"));
    assert_eq!(outcome, failed(id, error));
    assert_eq!(sim.now - begun, MINUTE);
    assert!((40..90).contains(&sent), "A3: with pauses: {sent}");
    sim.quiet();
}

#[test]
fn e4_h7_a_commit_between_join_and_sync_waits_for_the_generation() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    let code = ErrorCode::RebalanceInProgress;
    sim.refuse(&commit, code);
    let identity = member(1);
    assert_eq!(sim.events(), [Event::MembershipRefused { code, identity }], "nothing for the application");
    sim.offsets.set_identity(None);
    sim.advance(Duration::from_secs(5));
    sim.quiet();
    sim.offsets.set_identity(Some(member(2)));
    let commit = sim.transmit();
    assert_eq!(as_commit(&commit).generation_id_or_member_epoch, 2);
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn h7_a_generation_that_stays_the_same_is_tried_again_too() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    sim.refuse(&commit, ErrorCode::RebalanceInProgress);
    sim.wake();
    sim.events();
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn e4_an_illegal_generation_is_asked_about_and_the_commit_goes_out_as_the_next_one() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    sim.refuse(&commit, ErrorCode::IllegalGeneration);
    let identity = member(1);
    assert_eq!(sim.events(), [Event::MembershipRefused { code: ErrorCode::IllegalGeneration, identity }]);
    sim.advance(Duration::from_secs(5));
    sim.quiet();
    sim.offsets.set_identity(Some(member(2)));
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn e4_a_generation_that_was_bumped_while_the_commit_was_under_way_is_nobodys_loss() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    for code in [ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId] {
        let commit = sim.transmit();
        let next = as_commit(&commit).generation_id_or_member_epoch + 1;
        sim.offsets.set_identity(Some(member(next)));
        sim.refuse(&commit, code);
        assert_eq!(sim.events(), [], "C7: it was not us, as we are now, who was refused");
    }
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn d2_a_member_that_the_group_does_not_know_fails_its_commits_and_the_group_is_told() {
    use ErrorCode as E;
    for code in [E::UnknownMemberId, E::FencedInstanceId, E::FencedMemberEpoch] {
        let (mut sim, token) = Sim::flowing(|_| {});
        let id = sim.commit_at(token, 20);
        let commit = sim.transmit();
        sim.refuse(&commit, code);
        let identity = member(1);
        let error = CommitError::Failed(refused(code));
        assert_eq!(sim.events(), [Event::MembershipRefused { code, identity }, failed(id, error)]);
        sim.quiet();
    }
}

#[test]
fn a_commit_from_outside_into_a_group_with_members_fails_at_once() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.set_identity(Some(Identity::standalone()));
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    sim.refuse(&commit, ErrorCode::IllegalGeneration);
    let error = CommitError::Failed(refused(ErrorCode::IllegalGeneration));
    assert!(sim.events().contains(&failed(id, error)));
}

#[test]
fn f3_a_stale_member_epoch_is_tried_again_with_the_next_one() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let epoch = |generation| Some(Identity { protocol: GroupProtocol::Consumer, ..member(generation) });
    sim.offsets.set_identity(epoch(3));
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    let code = ErrorCode::StaleMemberEpoch;
    sim.refuse(&commit, code);
    assert_eq!(sim.events(), [Event::MembershipRefused { code, identity: epoch(3).unwrap() }]);
    sim.offsets.set_identity(epoch(4));
    let commit = sim.transmit();
    assert_eq!(as_commit(&commit).generation_id_or_member_epoch, 4);
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn h13_metadata_travels_exactly_and_too_much_of_it_fails_that_commit_alone() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let metadata = "a\0b".to_owned();
    let offset = OffsetAndMetadata::new(20).with_metadata(metadata.clone());
    let id = sim.commit(Commit::Offsets(vec![(orders(0), token, offset)]));
    let next = sim.commit_at(token, 21);
    let commit = sim.transmit();
    assert_eq!(as_commit(&commit).topics[0].partitions[0].committed_metadata, Some(metadata));
    sim.refuse(&commit, ErrorCode::OffsetMetadataTooLarge);
    let error = CommitError::Failed(refused(ErrorCode::OffsetMetadataTooLarge));
    assert_eq!(sim.events(), [failed(id, error)]);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(21), ok(next)]);
}

#[test]
fn h13_metadata_that_no_request_can_say_is_refused_where_it_is_said() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let with = |length: usize| OffsetAndMetadata::new(20).with_metadata("m".repeat(length));
    let id = sim.commit(Commit::Offsets(vec![(orders(0), token, with(32_768))]));
    let error = CommitError::MetadataTooLong(32_768);
    assert_eq!(error.code(), Some(ErrorCode::OffsetMetadataTooLarge));
    assert_eq!(sim.events(), [failed(id, error)]);
    sim.quiet();
    let id = sim.commit(Commit::Offsets(vec![(orders(0), token, with(32_767))]));
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn h15_thousands_of_commits_that_go_on_from_one_another_go_as_one() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.coordinator = None;
    let ids: Vec<_> = (0..5 * MAX_QUEUED_COMMITS).map(|offset| sim.commit_at(token, offset as i64)).collect();
    assert_eq!(sim.events(), [], "none is refused");
    // Only the last one is reported: the others are merged.
    let last = *ids.last().unwrap();
    let unawaited: BTreeSet<_> = ids.into_iter().collect();
    let merged = sim.offsets.merge_commits(&unawaited);
    assert_eq!(merged.len(), 5 * MAX_QUEUED_COMMITS - 1);
    assert!(!merged.contains(&last));
    sim.coordinator = Some(COORDINATOR);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(5 * MAX_QUEUED_COMMITS as i64 - 1), ok(last)]);
}

#[test]
fn h15_a_commit_that_nobody_waits_for_stays_while_no_later_one_carries_it() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let first = sim.commit_at(token, 5);
    let commit = sim.transmit();
    let second = sim.commit_at(token, 7);
    let third = sim.commit_at(token, 9);
    let merged = sim.offsets.merge_commits(&[first, second].into());
    assert_eq!(merged, [second].into(), "the first is on the wire, alone");
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(5), ok(first)]);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(9), ok(third)]);
}

#[test]
fn h15_thousands_of_commits_without_a_coordinator_are_bounded() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.coordinator = None;
    // Each is below the one before it, so that none covers another.
    for offset in (0..5 * MAX_QUEUED_COMMITS).rev() {
        sim.commit_at(token, offset as i64);
    }
    let refused = sim.events();
    assert_eq!(refused.len(), 4 * MAX_QUEUED_COMMITS);
    let full = |event: &Event| {
        matches!(event, Event::CommitDone { outcome, .. }
        if outcome[&orders(0)] == Err(CommitError::QueueFull))
    };
    assert!(refused.iter().all(full));
    sim.advance(MINUTE);
    assert_eq!(sim.events().len(), MAX_QUEUED_COMMITS);
    let id = sim.commit_at(token, 9);
    sim.coordinator = Some(COORDINATOR);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(9), ok(id)]);
}

#[test]
fn an_answer_that_leaves_a_partition_out_does_not_count_as_committed() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    sim.answer(&commit, 9, commits([]));
    assert_eq!(sim.events(), []);
    sim.wake();
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
}

#[test]
fn a_broker_without_offset_commit_fails_it_at_once() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    let error = CallError::Unsupported { address: "a:9092".into(), api: ApiKey::OffsetCommit };
    sim.fail(&commit, error.clone());
    assert_eq!(sim.events(), [failed(id, CommitError::Failed(Cause::Call(error)))]);
}

#[test]
fn without_a_group_there_is_nothing_to_commit_to() {
    let mut sim = Sim::new(|c| c.group = None);
    sim.assign([(orders(0), StartAt::Offset(Position::at(5)))]);
    let token = sim.token(0);
    sim.events();
    sim.finish(token, 6);
    assert!(!sim.offsets.has_uncommitted());
    let id = sim.commit_at(token, 6);
    assert_eq!(sim.events(), [failed(id, CommitError::NoGroup)]);
    let id = sim.commit(Commit::Finished);
    assert_eq!(sim.events(), [done(id, [])]);
    sim.quiet();
}

// ---- a topic that is created again --------------------------------------------------------------------------------

const OLD: Uuid = Uuid([7; 16]);
const NEW: Uuid = Uuid([9; 16]);

impl Sim {
    /// The metadata shows that `orders` has been created again.
    fn create_again(&mut self) {
        self.cluster.topics.get_mut("orders").unwrap().id = NEW;
        self.offsets.handle_cluster(self.now, &self.cluster);
    }
}

/// As [`Sim::flowing`], with known metadata; 1000 is finished, and 990 is committed.
fn flowing_far() -> (Sim, Token) {
    flowing_far_under(ResetPolicy::Earliest)
}

fn flowing_far_under(reset: ResetPolicy) -> (Sim, Token) {
    let (mut sim, token) = Sim::flowing(|c| c.reset = reset);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.finish(token, 990);
    sim.offsets.request_auto_commit(sim.now);
    let commit = sim.transmit();
    sim.accept(&commit);
    sim.finish(token, 1000);
    sim.events();
    (sim, token)
}

fn topic_id(commit: &Transmit) -> Uuid {
    as_commit(commit).topics[0].topic_id
}

#[test]
fn b3_offsets_of_a_deleted_log_are_not_committed_to_the_new_one() {
    let (mut sim, token) = flowing_far();
    sim.create_again();
    assert_eq!(sim.events(), [Event::LogGone { partition: orders(0), token }]);
    sim.offsets.request_auto_commit(sim.now);
    sim.quiet();
    let id = sim.commit(Commit::Finished);
    assert_eq!(sim.events(), [done(id, [])]);
    let id = sim.commit_at(token, 1000);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)], "records of the old log");
    assert_eq!(
        sim.offsets.mark_finished(&orders(0), token, Position::at(1001)),
        Err(FinishedError::BeforeSeek)
    );

    // `fetch` returns it; the policy decides where the new log starts.
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(1000));
    let list = sim.transmit();
    let id = sim.commit_at(token, 1000);
    assert_eq!(sim.events()[1..], [failed(id, CommitError::NotOwned)]);
    sim.answer(&list, 7, lists(orders(0), 0));
    let new = sim.token(0);
    assert_ne!(new, token);
    sim.events();
    let id = sim.commit_at(token, 1000);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)]);
    sim.finish(new, 5);
    sim.offsets.request_auto_commit(sim.now);
    let commit = sim.transmit();
    assert_eq!((topic_id(&commit), commit_offsets(&commit)), (NEW, vec![(orders(0), 5, -1)]));
    sim.accept(&commit);
    let id = sim.commit_at(new, 7);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 7, -1)], "{id:?}");
}

/// As [`flowing_far_under`] that policy, and the position `from` was out of range: the leader lists `to`.
fn reset_in_place(reset: ResetPolicy, from: i64, to: i64) -> (Sim, Token) {
    let (mut sim, token) = flowing_far_under(reset);
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(from));
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), to));
    let rewinds = sim.offsets.rewinds(&orders(0));
    sim.offsets.confirm_rewind(&orders(0), token, rewinds);
    (sim, token)
}

/// The metadata show that `orders` has been created again, `fetch` returns it at `at`, and the leader lists `end`. Returns where it starts.
fn starts_in_new_log(sim: &mut Sim, token: Token, at: i64, end: i64) -> i64 {
    sim.events();
    let topic = sim.cluster.topics.get_mut("orders").unwrap();
    topic.id = Uuid([topic.id.0[0] + 1; 16]);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    assert_eq!(sim.events(), [Event::LogGone { partition: orders(0), token }]);
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(at));
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), end));
    let new = sim.token(0);
    assert_ne!(new, token);
    match sim.events().pop() {
        Some(Event::Start { token, position, .. }) if token == new => position.offset,
        other => panic!("{other:?}"),
    }
}

/// The leader knows of the new log before the metadata do: what a reset found there is not skipped by a second one (seed 26150856).
#[test]
fn b3_a_position_that_a_reset_found_in_the_new_log_is_not_reset_to_its_end_again() {
    for reset in [ResetPolicy::Latest, ResetPolicy::ByDuration(Duration::ZERO)] {
        let (mut sim, token) = reset_in_place(reset, 1000, 20);
        assert_eq!(sim.events().last(), Some(&Event::RefreshMetadata), "they may be old");
        assert_eq!(starts_in_new_log(&mut sim, token, 45, 80), 20);

        // Retention had deleted the records, it seems.
        let (mut sim, token) = reset_in_place(reset, 1000, 1200);
        assert!(!sim.events().contains(&Event::RefreshMetadata));
        assert_eq!(starts_in_new_log(&mut sim, token, 1250, 2000), 1200);

        let (mut sim, token) = reset_in_place(reset, 1000, 20);
        sim.finish(token, 30);
        assert_eq!(starts_in_new_log(&mut sim, token, 45, 80), 30, "from where all before is finished");

        // The log was truncated, and the topic was created again later.
        let (mut sim, token) = reset_in_place(reset, 1000, 20);
        assert_eq!(starts_in_new_log(&mut sim, token, 45, 7), 7);
    }
}

/// A broker that lags behind still shows the deleted topic to a consumer that has just begun.
#[test]
fn b3_what_a_new_consumer_found_in_the_new_log_by_the_policy_is_not_reset_to_its_end_again() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Latest);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 20));
    let token = sim.token(0);
    assert_eq!(starts_in_new_log(&mut sim, token, 20, 80), 20);
}

/// What the group has committed was read while a broker that lags behind still showed the deleted topic (seed 26165405).
#[test]
fn b3_a_new_consumer_reads_again_what_is_committed_before_the_policy_skips_it() {
    for (reset, answer, starts) in [
        (ResetPolicy::Latest, 7, 7),
        (ResetPolicy::ByDuration(Duration::ZERO), 7, 7),
        (ResetPolicy::Latest, -1, 80),
        // It repeats records, and needs no answer that might be of the deleted topic.
        (ResetPolicy::Earliest, 7, 0),
    ] {
        let mut sim = Sim::new(|c| c.reset = reset);
        sim.offsets.handle_cluster(sim.now, &sim.cluster);
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), 7, -1, ErrorCode::None)]));
        let old = sim.token(0);
        sim.events();
        sim.create_again();
        assert_eq!(sim.events(), [Event::LogGone { partition: orders(0), token: old }]);
        sim.offsets.on_topic_recreated(sim.now, &orders(0), old, Position::at(7));
        if reset != ResetPolicy::Earliest {
            let load = sim.transmit();
            sim.answer(&load, 9, fetched([(orders(0), answer, -1, ErrorCode::None)]));
        }
        if answer < 0 || reset == ResetPolicy::Earliest {
            let list = sim.transmit();
            sim.answer(&list, 7, lists(orders(0), starts));
        }
        let (events, partition, reason) = (sim.events(), orders(0), ResetReason::TopicRecreated);
        let token = sim.token(0);
        let reset = Event::Reset { partition, token, from: Some(7), to: starts, reason, skipped: None };
        assert!(events.contains(&reset), "{events:?}");
        assert!(matches!(events.last(), Some(Event::Start { .. })), "{events:?}");
        assert_eq!(sim.offsets.finished_position(&orders(0)).map(|at| at.offset), Some(starts));
    }
    // It has read on from there: that was the deleted topic.
    let (mut sim, token) = flowing_far_under(ResetPolicy::Latest);
    assert_eq!(starts_in_new_log(&mut sim, token, 1001, 80), 80);
}

#[test]
fn b3_the_policy_alone_decides_in_a_new_log_after_other_moves() {
    // The application has moved it since.
    let (mut sim, _) = reset_in_place(ResetPolicy::Latest, 1000, 20);
    let token = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(3))).unwrap();
    assert_eq!(starts_in_new_log(&mut sim, token, 45, 80), 80);

    let (mut sim, token) = reset_in_place(ResetPolicy::Earliest, 1000, 20);
    assert_eq!(starts_in_new_log(&mut sim, token, 45, 0), 0);

    // The log was truncated long ago.
    let (mut sim, token) = reset_in_place(ResetPolicy::Latest, 1000, 20);
    sim.finish(token, 5000);
    sim.advance(Duration::from_secs(301));
    assert_eq!(starts_in_new_log(&mut sim, token, 5000, 9000), 9000);
}

/// Brokers disagree for a while on which of two topics has the name.
#[test]
fn b3_what_was_found_in_a_new_log_is_not_skipped_when_the_metadata_change_once_more() {
    let (mut sim, token) = reset_in_place(ResetPolicy::Latest, 1000, 20);
    assert_eq!(starts_in_new_log(&mut sim, token, 45, 80), 20);
    let token = sim.token(0);
    assert_eq!(starts_in_new_log(&mut sim, token, 20, 120), 20);
}

/// An application that names an offset means the log that it knows, not one that it was not yet notified of.
/// The partition may be started again only later, when partitions are added.
#[test]
fn safe1_a_commit_before_the_reset_to_the_new_log_is_reported_is_refused() {
    let (mut sim, token) = flowing_far();
    sim.create_again();
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(1000));
    let (list, new) = (sim.transmit(), sim.token(0));
    sim.events();
    let id = sim.commit_at(new, 1000);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)]);
    sim.answer(&list, 7, lists(orders(0), 0));
    sim.events();
    sim.commit_at(new, 3);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 3, -1)], "it was told");

    // It need not wait for that if it names the new position itself.
    let (mut sim, token) = flowing_far();
    sim.create_again();
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(1000));
    let sought = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(2))).unwrap();
    sim.commit_at(sought, 2);
    assert!(sim.transmits().iter().any(|sent| matches!(sent.request, Request::OffsetCommit(_))));
}

#[test]
fn b3_a_commit_of_a_log_that_is_gone_is_not_sent_again_and_says_nothing_of_the_new_one() {
    for lands in [true, false] {
        let (mut sim, token) = flowing_far();
        let first = sim.commit_at(token, 995);
        let commit = sim.transmit();
        let second = sim.commit_at(token, 999);
        sim.create_again();
        let gone = Event::LogGone { partition: orders(0), token };
        assert_eq!(sim.events(), [failed(second, CommitError::NotOwned), Event::Withdraw(commit.id), gone]);
        if lands {
            sim.accept(&commit);
        } else {
            sim.refuse(&commit, ErrorCode::UnknownTopicId);
        }
        assert!(matches!(sim.events().as_slice(), [.., Event::CommitDone { id, .. }] if *id == first));
        sim.quiet();
        assert_eq!(sim.offsets.committed_position(&orders(0)), None);
    }
}

#[test]
fn safe1_a_commit_of_a_log_that_is_gone_is_withdrawn() {
    let (mut sim, token) = flowing_far();
    let id = sim.commit_at(token, 995);
    let commit = sim.transmit();
    sim.create_again();
    let gone = Event::LogGone { partition: orders(0), token };
    assert_eq!(sim.events(), [Event::Withdraw(commit.id), gone]);
    sim.fail(&commit, CallError::Withdrawn);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)]);
    sim.quiet();
}

/// With `orders-0` and `orders-1`, which both have a finished offset.
fn two_finished() -> (Sim, [Token; 2]) {
    let mut sim = Sim::new(|_| {});
    sim.assign([0, 1].map(|p| (orders(p), StartAt::Offset(Position::at(10)))));
    let tokens = [0, 1].map(|p| sim.token(p));
    for (p, token) in [0, 1].into_iter().zip(tokens) {
        sim.offsets.mark_finished(&orders(p), token, Position::at(20)).unwrap();
    }
    sim.events();
    (sim, tokens)
}

#[test]
fn h2_the_other_partitions_of_a_withdrawn_commit_are_sent_again_at_once() {
    let (mut sim, [token, other]) = two_finished();
    let both = [(orders(0), token), (orders(1), other)];
    let id = sim.commit(Commit::Offsets(both.map(|(of, token)| (of, token, Position::at(20).into())).into()));
    let first = sim.transmit();
    sim.offsets.unassign([&orders(1)]);
    assert_eq!(sim.events(), [Event::Withdraw(first.id)]);
    sim.quiet();
    sim.fail(&first, CallError::Withdrawn);
    assert_eq!(sim.events(), [], "no failure, and nothing to tell of the coordinator");
    let second = sim.transmit();
    assert_eq!(commit_offsets(&second), [(orders(0), 20, -1)]);
    sim.accept(&second);
    let outcome = [(orders(0), Ok(())), (orders(1), Err(CommitError::NotOwned))];
    assert_eq!(sim.events(), [committed(20), done(id, outcome)]);
    sim.quiet();
}

#[test]
fn an_automatic_commit_that_was_withdrawn_is_made_anew_without_a_pause() {
    let (mut sim, [token, _]) = two_finished();
    sim.offsets.request_auto_commit(sim.now);
    let first = sim.transmit();
    assert_eq!(commit_offsets(&first).len(), 2);
    sim.finish(token, 25);
    sim.offsets.unassign([&orders(1)]);
    sim.fail(&first, CallError::Withdrawn);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 25, -1)]);
    assert_eq!(sim.events(), [Event::Withdraw(first.id)]);
}

#[test]
fn a_withdrawn_commit_that_nobody_waits_for_any_more_is_not_sent() {
    let (mut sim, [token, other]) = two_finished();
    let these =
        vec![(orders(0), token, Position::at(20).into()), (orders(1), other, Position::at(20).into())];
    let deadline = sim.now + Duration::from_secs(1);
    let id = sim.offsets.commit(sim.now, Commit::Offsets(these), deadline);
    let first = sim.transmit();
    sim.advance(Duration::from_secs(2));
    assert!(matches!(sim.events().as_slice(), [Event::CommitDone { id: over, .. }] if *over == id));
    sim.offsets.unassign([&orders(0)]);
    sim.fail(&first, CallError::Withdrawn);
    assert_eq!(sim.events(), [Event::Withdraw(first.id)]);
    sim.quiet();
}

#[test]
fn b3_commits_carry_the_id_of_the_topic_that_was_read() {
    let (mut sim, token) = flowing_far();
    // A newer view is on its way to us: the commit must not be written for a log that we have not read.
    sim.cluster.topics.get_mut("orders").unwrap().id = NEW;
    sim.commit_at(token, 1000);
    let commit = sim.transmit();
    assert_eq!((topic_id(&commit), commit.max_version), (OLD, None));
}

#[test]
fn b3_a_lookup_in_a_deleted_log_is_repeated_for_the_new_one() {
    let (mut sim, token) = flowing_far();
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(1000));
    let list = sim.transmit();
    sim.create_again();
    let new = sim.token(0);
    assert_eq!(sim.events(), [Event::NewLog { partition: orders(0), token: new }]);
    sim.answer(&list, 7, lists(orders(0), 500));
    assert_eq!(sim.events(), [], "where the old one begins");
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 0));
    let started = |event: &Event| matches!(event, Event::Start { token, .. } if *token == new);
    assert!(sim.events().iter().any(started));
    let id = sim.commit_at(token, 1000);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)]);
}

/// An offset of the old log means nothing for the new one.
#[test]
fn b3_a_reset_in_a_deleted_log_is_reported_as_topic_recreated() {
    let (mut sim, token) = flowing_far();
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(1000));
    sim.transmit();
    sim.create_again();
    sim.events();
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 5000));
    let reset = sim.events().into_iter().find_map(|event| match event {
        Event::Reset { reason, skipped, .. } => Some((reason, skipped)),
        _ => None,
    });
    assert_eq!(reset, Some((ResetReason::TopicRecreated, None)));
}

/// KIP-848 assigns partitions by topic id: the topic that has the name now may be another member's. Found by
/// the arena (seed 317 of an older draw): two members read and committed it.
#[test]
fn b3_f4_a_partition_assigned_by_id_waits_while_its_name_is_another_topics() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
    sim.cluster.topics.get_mut("orders").unwrap().id = OLD;
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.offsets.assign_by_id(sim.now, [(orders(0), StartAt::Offset(Position::at(1000)), Some(OLD))]);
    let token = sim.token(0);
    sim.finish(token, 1003);
    sim.events();
    sim.create_again();
    assert_eq!(sim.events(), [Event::LogGone { partition: orders(0), token }]);
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(1005));
    assert_eq!(sim.events(), [], "nothing of the new log begins");
    let id = sim.commit_at(token, 1003);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)]);
    let id = sim.commit(Commit::Finished);
    assert_eq!(sim.events(), [failed(id, CommitError::NotOwned)], "nothing of it goes out, and that is said");
    sim.offsets.request_auto_commit(sim.now);
    sim.quiet();
    sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(0))).unwrap();
    for _ in 0..5 {
        assert!(sim.transmits().is_empty(), "nobody is asked about that topic");
        assert!(matches!(&sim.events()[..], [] | [Event::RefreshMetadata]), "but the metadata may be old");
        sim.advance(Duration::from_secs(1));
    }
    // The group assigns it again.
    sim.offsets.unassign([&orders(0)]);
    sim.offsets.assign_by_id(sim.now, [(orders(0), StartAt::Committed, Some(NEW))]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 3, -1, ErrorCode::None)]));
    let start = Event::Start { partition: orders(0), token: sim.token(0), position: Position::at(3) };
    assert_eq!(sim.events(), [start]);
}

/// Assigned by the id of the topic that the metadata shows, until an outdated broker shows the deleted one.
fn shown_another(at: StartAt) -> (Sim, Token) {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Latest);
    sim.create_again();
    sim.offsets.assign_by_id(sim.now, [(orders(0), at, Some(NEW))]);
    let token = sim.token(0);
    (sim, token)
}

fn shows(sim: &mut Sim, id: Uuid) {
    sim.cluster.topics.get_mut("orders").unwrap().id = id;
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
}

/// Then nothing is forgotten: neither the finished position nor the position itself.
#[test]
fn b2_f4_a_fetching_partition_continues_after_outdated_metadata() {
    let (mut sim, token) = shown_another(StartAt::Offset(Position::at(1000)));
    sim.finish(token, 1003);
    sim.events();
    shows(&mut sim, OLD);
    assert_eq!(sim.events(), [Event::LogGone { partition: orders(0), token }]);
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(1005));
    sim.offsets.request_auto_commit(sim.now);
    assert_eq!((sim.transmits().len(), sim.events()), (0, vec![Event::RefreshMetadata]));
    shows(&mut sim, NEW);
    sim.offsets.request_auto_commit(sim.now);
    let sent = sim.transmits();
    assert_eq!(commit_offsets(&sent[0]), [(orders(0), 1003, -1)]);
    let position = Position::at(1005);
    assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position }]);
}

/// A waiting partition starts where it was supposed to.
#[test]
fn b2_b4_a_waiting_partition_starts_as_planned_after_outdated_metadata() {
    let (mut sim, token) = shown_another(StartAt::committed_or(StartAt::Earliest));
    let load = sim.transmit();
    shows(&mut sim, OLD);
    sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
    assert_eq!(sim.transmits().len(), 0, "whatever the other topic's are");
    sim.events();
    shows(&mut sim, NEW);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 3));
    let started = |event: &Event| matches!(event, Event::Start { token: of, position: Position { offset: 3, .. }, .. } if *of == token);
    assert!(sim.events().iter().any(started));
}

/// However long it takes: an application may need minutes to revoke partitions.
#[test]
fn b3_safe15_a_waiting_partition_requests_metadata_with_growing_pauses() {
    let (mut sim, _) = shown_another(StartAt::Committed);
    shows(&mut sim, OLD);
    let mut asked = 0;
    for _ in 0..100 {
        sim.transmits();
        asked += sim.events().iter().filter(|event| **event == Event::RefreshMetadata).count();
        shows(&mut sim, OLD);
        sim.advance(Duration::from_millis(100));
    }
    assert!((5..=20).contains(&asked), "{asked} in 10 s");
}

/// The metadata was old, from a broker that lags behind.
#[test]
fn b2_f4_a_partition_assigned_by_id_starts_when_the_metadata_shows_it() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
    sim.cluster.topics.get_mut("orders").unwrap().id = OLD;
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.offsets.assign_by_id(sim.now, [(orders(0), StartAt::Committed, Some(NEW))]);
    assert!(sim.transmits().is_empty());
    assert_eq!(sim.events(), [Event::RefreshMetadata]);
    sim.create_again();
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 3, -1, ErrorCode::None)]));
    let start = Event::Start { partition: orders(0), token: sim.token(0), position: Position::at(3) };
    assert_eq!(sim.events(), [start]);
}

// ---- automatic ---------------------------------------------------------------------------------------------------

const FIVE: Duration = Duration::from_secs(5);

fn automatic() -> (Sim, Token) {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.commit_every(FIVE);
    (sim, token)
}

#[test]
fn every_interval_commits_what_changed() {
    let (mut sim, token) = automatic();
    sim.advance(FIVE);
    sim.quiet();
    sim.finish(token, 12);
    sim.quiet();
    sim.advance(FIVE);
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 12, -1)]);
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(12)]);
    sim.advance(FIVE);
    sim.quiet();
}

#[test]
fn h4_an_automatic_commit_that_failed_is_made_anew_never_sent_again() {
    let (mut sim, token) = automatic();
    sim.finish(token, 12);
    sim.advance(FIVE);
    let commit = sim.transmit();
    sim.finish(token, 20);
    sim.refuse(&commit, ErrorCode::NotCoordinator);
    assert_eq!(sim.events(), [Event::CoordinatorLost(COORDINATOR)]);
    sim.wake();
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 20, -1)]);
}

#[test]
fn safe8_an_automatic_commit_does_not_go_back_behind_what_the_application_has_committed() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.finish(token, 11);
    let id = sim.commit_at(token, 50);
    let commit = sim.transmit();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(50), ok(id)]);
    assert!(!sim.offsets.has_uncommitted());
    sim.finish(token, 20); // reported late
    sim.offsets.request_auto_commit(sim.now);
    sim.quiet();
    sim.finish(token, 60);
    sim.offsets.request_auto_commit(sim.now);
    assert_eq!(commit_offsets(&sim.transmit())[0].1, 60);
}

#[test]
fn h1_h4_an_automatic_commit_does_not_overtake_one_of_the_application() {
    let (mut sim, token) = automatic();
    sim.finish(token, 30);
    let id = sim.commit_at(token, 20);
    let commit = sim.transmit();
    sim.advance(FIVE);
    sim.quiet();
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(20), ok(id)]);
    sim.advance(FIVE);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 30, -1)]);
}

#[test]
fn an_automatic_commit_without_a_coordinator_is_of_the_moment_when_there_is_one() {
    let (mut sim, token) = automatic();
    sim.coordinator = None;
    sim.finish(token, 12);
    assert!(!sim.offsets.wants_coordinator());
    sim.advance(FIVE);
    assert!(sim.offsets.wants_coordinator());
    sim.quiet();
    sim.advance(FIVE);
    sim.finish(token, 40);
    sim.coordinator = Some(COORDINATOR);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 40, -1)]);
    sim.quiet();
}

#[test]
fn h15_automatic_commits_do_not_pile_up_while_the_coordinator_is_away() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.coordinator = None;
    for offset in 11..=40 {
        sim.finish(token, offset);
        sim.offsets.request_auto_commit(sim.now);
        sim.quiet();
    }
    sim.coordinator = Some(COORDINATOR);
    let commit = sim.transmit();
    assert_eq!(commit_offsets(&commit), [(orders(0), 40, -1)]);
    sim.accept(&commit);
    assert_eq!(sim.events(), [committed(40)]);
    sim.offsets.request_auto_commit(sim.now);
    sim.quiet();
}

#[test]
fn an_idle_consumer_outside_the_group_renews_its_offsets_before_they_expire() {
    let hours = |identity| {
        let (mut sim, _) = automatic();
        sim.offsets.set_identity(Some(identity));
        let mut renewed = 0;
        for _ in 0..3 * 3600 / 5 {
            sim.advance(FIVE);
            if let Some(commit) = sim.next_transmit() {
                assert_eq!(commit_offsets(&commit), [(orders(0), 10, -1)]);
                sim.accept(&commit);
                renewed += 1;
            }
        }
        renewed
    };
    assert_eq!(hours(member(1)), 0, "the offsets of members are kept");
    assert_eq!(hours(Identity::standalone()), 2);
}

#[test]
fn g1_an_automatic_commit_that_is_refused_for_good_is_told_of() {
    let (mut sim, token) = automatic();
    sim.finish(token, 12);
    sim.advance(FIVE);
    let commit = sim.transmit();
    sim.refuse(&commit, ErrorCode::FencedInstanceId);
    let events = sim.events();
    let code = ErrorCode::FencedInstanceId;
    assert_eq!(events[0], Event::MembershipRefused { code, identity: member(1) });
    let Event::CommitDone { outcome, .. } = &events[1] else { panic!("{events:?}") };
    let expected: CommitOutcome = BTreeMap::from([(orders(0), Err(CommitError::Failed(refused(code))))]);
    assert_eq!(*outcome, expected);
}

/// How many automatic commits are sent in a minute in which the one of `orders-1` is always refused.
fn in_a_minute(code: ErrorCode) -> (usize, Vec<Event>) {
    let (mut sim, token) = automatic();
    sim.assign([(orders(1), StartAt::Offset(Position::at(0)))]);
    sim.quiet();
    let gone = sim.token(1);
    sim.offsets.mark_finished(&orders(1), gone, Position::at(5)).unwrap();
    sim.events();
    let (mut commits, mut offset, mut told) = (0, 10, Vec::new());
    let end = sim.now + MINUTE;
    while sim.now < end {
        sim.advance(Duration::from_millis(50));
        offset += 1;
        sim.finish(token, offset);
        while let Some(commit) = sim.next_transmit() {
            commits += 1;
            let answer = |of: &TopicPartition| if *of == orders(1) { code } else { ErrorCode::None };
            let answers = commit_offsets(&commit).into_iter().map(|(of, ..)| (of.clone(), answer(&of)));
            let answers: Vec<_> = answers.collect();
            sim.answer(&commit, 9, crate::support::commits(answers));
        }
        told.extend(sim.events().into_iter().filter(|event| matches!(event, Event::CommitDone { .. })));
    }
    (commits, told)
}

#[test]
fn h6_an_automatic_commit_of_a_topic_that_is_gone_is_tried_a_few_times_and_told_once() {
    let (commits, told) = in_a_minute(ErrorCode::UnknownTopicOrPartition);
    let [Event::CommitDone { outcome, .. }] = told.as_slice() else { panic!("{told:?}") };
    let code = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(*outcome, BTreeMap::from([(orders(1), Err(CommitError::Failed(refused(code))))]));
    // Twelve intervals, and the few retries.
    assert!((12..=17).contains(&commits), "{commits} commits in a minute");
}

#[test]
fn h6_successful_commits_of_one_partition_do_not_shorten_the_backoff_of_another() {
    let (commits, told) = in_a_minute(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(told, []);
    assert!(commits <= 75, "{commits} commits in a minute, though the pauses are a second by now");
}

#[test]
fn o5_automatic_commits_that_are_refused_are_told_once_until_one_lands() {
    let (mut sim, token) = automatic();
    let mut round = |offset: i64, refuse: bool| {
        sim.finish(token, offset);
        sim.advance(FIVE);
        let commit = sim.transmit();
        if refuse {
            sim.refuse(&commit, ErrorCode::TopicAuthorizationFailed);
        } else {
            sim.accept(&commit);
        }
        sim.events().len()
    };
    assert_eq!([round(12, true), round(14, true), round(16, true)], [1, 0, 0]);
    assert_eq!([round(18, false), round(20, true), round(22, true)], [1, 1, 0], "trouble of another day");
}

#[test]
fn d13_endless_waits_are_long_ones() {
    let endless = BackoffConfig { base: Duration::MAX, max: Duration::MAX };
    let (mut sim, token) = Sim::flowing(|c| {
        c.request_timeout = Duration::MAX;
        c.backoff = endless;
        c.reset = ResetPolicy::ByDuration(Duration::MAX);
    });
    sim.finish(token, 12);
    sim.offsets.request_auto_commit(sim.now);
    let commit = sim.transmit();
    sim.refuse(&commit, ErrorCode::CoordinatorLoadInProgress);
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(10));
    let list = sim.transmit();
    sim.fail(&list, disconnected());
    sim.offsets.validate(sim.now, &orders(0), token, Position::at(10));
    sim.wake();
}

#[test]
fn safe8_a_truncation_takes_the_committed_offset_back_with_it() {
    let (mut sim, token) = automatic();
    sim.offsets.mark_finished(&orders(0), token, at(100, 4)).unwrap();
    sim.advance(FIVE);
    let commit = sim.transmit();
    sim.accept(&commit);
    sim.offsets.validate(sim.now, &orders(0), token, at(100, 4));
    let ask = sim.transmit();
    sim.answer(&ask, 4, ends(orders(0), 4, 80, ErrorCode::None));
    sim.advance(FIVE);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 80, 4)]);
}

#[test]
fn l9_an_offset_below_what_we_committed_ourselves_is_counted() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.commit_at(token, 500);
    let commit = sim.transmit();
    sim.accept(&commit);
    for (offset, count) in [(500, 0), (0, 1), (0, 1)] {
        sim.offsets.unassign([&orders(0)]);
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), offset, -1, ErrorCode::None)]));
        assert_eq!(sim.offsets.committed_regressions(), count);
    }
}

/// A committed offset that the application, or a truncation, has moved back was not lost by the brokers.
#[test]
fn l9_a_move_back_by_the_consumer_itself_is_not_counted() {
    let (mut sim, token) = Sim::flowing(|_| {});
    for offset in [500, 100] {
        sim.commit_at(token, offset);
        let commit = sim.transmit();
        sim.accept(&commit);
    }
    for (offset, count) in [(100, 0), (99, 1)] {
        sim.offsets.unassign([&orders(0)]);
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), offset, -1, ErrorCode::None)]));
        assert_eq!(sim.offsets.committed_regressions(), count);
    }
}

/// Partitions that a pattern matched once and that no longer exist are forgotten; so are committed offsets of
/// a topic from before it was created again.
#[test]
fn l9_nothing_is_kept_of_what_is_neither_assigned_nor_there_as_it_was() {
    for (changes, keeps) in
        [("nothing", true), ("another topic", true), ("it is gone", false), ("it is new", false)]
    {
        let (mut sim, token) = Sim::flowing(|_| {});
        sim.offsets.handle_cluster(sim.now, &sim.cluster);
        sim.commit_at(token, 500);
        let commit = sim.transmit();
        sim.accept(&commit);
        sim.offsets.unassign([&orders(0)]);
        let mut elsewhere = sim.cluster.clone();
        let topic = offtake_machine::Topic::from("orders");
        match changes {
            "another topic" => {
                drop(elsewhere.topics.insert("returns".into(), sim.cluster.topics[&topic].clone()))
            }
            "it is gone" => drop(elsewhere.topics.remove(&topic)),
            "it is new" => elsewhere.topics.get_mut(&topic).unwrap().id = NEW,
            _ => {}
        }
        sim.offsets.handle_cluster(sim.now, &elsewhere);
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), 3, -1, ErrorCode::None)]));
        assert_eq!(sim.offsets.committed_regressions(), u64::from(keeps), "{changes}");
    }
}

/// The topic is created again while none of its partitions is assigned, and while the metadata does not show
/// it.
#[test]
fn b3_a_start_before_the_new_log_is_known_belongs_to_the_new_log() {
    let (mut sim, _) = flowing_far();
    sim.offsets.unassign([&orders(0)]);
    begins_in_the_new_log(sim, |sim| {
        // Assigned manually, or sought by a listener to an offset stored elsewhere.
        sim.assign([(orders(0), StartAt::Offset(Position::at(0)))]);
        let token = sim.token(0);
        assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(0) }]);
        token
    });
}

/// The metadata does not show the topic when the partition starts under this token, and then shows another
/// topic of that name: either the partition continues under another token, or what is read under this one
/// counts.
fn begins_in_the_new_log(mut sim: Sim, begin: impl FnOnce(&mut Sim) -> Token) {
    let mut info = sim.cluster.topics.remove(&offtake_machine::Topic::from("orders")).unwrap();
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.events();
    let token = begin(&mut sim);
    sim.events();
    info.id = NEW;
    sim.cluster.topics.insert("orders".into(), info);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    let is_told = sim.events().iter().any(|event| matches!(event, Event::NewLog { .. }));
    let counts = sim.offsets.mark_finished(&orders(0), token, Position::at(5));
    assert!(is_told || counts.is_ok(), "nothing is told, and what is finished is {counts:?}");
}

/// The metadata shows the topic when it is assigned, does not when it starts to be fetched, and then shows
/// another: `fetch` has never seen the first.
#[test]
fn b3_a_fetching_partition_of_a_deleted_log_is_asked_back() {
    let mut sim = Sim::new(|_| {});
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.assign([(orders(0), StartAt::Offset(Position::at(7)))]);
    let token = sim.token(0);
    sim.events();
    let mut info = sim.cluster.topics.remove(&offtake_machine::Topic::from("orders")).unwrap();
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    info.id = NEW;
    sim.cluster.topics.insert("orders".into(), info);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    assert_eq!(sim.events(), [Event::LogGone { partition: orders(0), token }]);
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(9));
    assert!(matches!(sim.events()[..], [Event::NewLog { .. }, ..]));
    // And once more by `fetch` itself.
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(9));
    assert!(sim.events().is_empty());
}

/// The end of the old log means nothing for the new one.
#[test]
fn b3_a_place_before_the_end_is_counted_in_the_new_log() {
    let mut sim = Sim::new(|_| {});
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.assign([(orders(0), StartAt::BeforeEnd(10))]);
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 1000));
    sim.create_again();
    sim.events();
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 0));
    let begins = sim.events().into_iter().find_map(|event| match event {
        Event::Start { position, .. } => Some(position.offset),
        _ => None,
    });
    assert_ne!(begins, Some(990));
}

/// The same for a seek while the topic is missing.
#[test]
fn b3_a_seek_before_the_new_log_is_known_belongs_to_the_new_log() {
    let (sim, _) = flowing_far();
    begins_in_the_new_log(sim, |sim| {
        sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(0))).unwrap()
    });
}

/// A commit that no caller waits for has its own deadline, whatever is queued after it.
#[test]
fn h15_a_commit_that_was_merged_does_not_end_with_one_that_has_less_time() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.coordinator = None;
    let (first, second) = (sim.commit_at(token, 19), sim.commit_at(token, 20));
    let what = Commit::Offsets(vec![(orders(0), token, Position::at(21).into())]);
    let soon = sim.now + Duration::from_millis(100);
    let third = sim.offsets.commit(sim.now, what, soon);
    assert_eq!(sim.offsets.merge_commits(&[first, second].into()), [first].into());
    sim.advance(Duration::from_millis(200));
    assert_eq!(sim.events(), [failed(third, CommitError::TimedOut(None))]);
    sim.coordinator = Some(COORDINATOR);
    assert_eq!(commit_offsets(&sim.transmit()), [(orders(0), 21, -1)], "the others had a minute");
}
