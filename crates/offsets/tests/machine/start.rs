//! Tests of where a partition starts: committed, requested, or by policy; and that no error counts as
//! "nothing committed".

use std::{ops::Range, time::Duration};

use crate::support::*;
use offtake_machine::{
    BrokerId, CallError, GroupProtocol, Identity, PartitionInfo, Position, Token, TopicPartition,
};
use offtake_offsets::{
    Cause, Event, FinishedError, PartitionError, ResetPolicy, ResetReason, SeekError, StartAt,
};
use offtake_wire::{ApiKey, ErrorCode, OffsetFetchResponse, Uuid};

fn start(sim: &Sim, partition: i32, position: Position) -> Event {
    Event::Start { partition: orders(partition), token: sim.token(partition), position }
}

#[test]
fn safe4_all_that_waits_is_asked_for_at_once_and_starts_where_the_group_is() {
    let mut sim = Sim::new(|_| {});
    sim.assign((0..3).map(|p| (orders(p), StartAt::Committed)));
    assert!(sim.offsets.wants_coordinator());
    let load = sim.transmit();
    assert_eq!(fetch_names(&load), [orders(0), orders(1), orders(2)]);
    assert!(as_fetch(&load).require_stable, "H11: a pending transaction is waited for");
    assert_eq!(load.max_version, None, "all topic ids are known");
    assert_eq!(as_fetch(&load).groups[0].topics.as_ref().unwrap()[0].topic_id, Uuid([7; 16]));
    sim.quiet();
    let answers = (0..3).map(|p| (orders(p), i64::from(p) * 10, -1, ErrorCode::None));
    sim.answer(&load, 10, with_ids(fetched(answers), Uuid([7; 16])));
    let expected: Vec<_> = (0..3).map(|p| start(&sim, p, Position::at(i64::from(p) * 10))).collect();
    assert_eq!(sim.events(), expected);
    assert!(!sim.offsets.wants_coordinator());
    assert!(!sim.offsets.has_uncommitted(), "what was loaded need not be committed");
}

#[test]
fn unknown_topic_ids_keep_the_request_at_names() {
    let mut sim = Sim::new(|_| {});
    sim.cluster.topics.get_mut("orders").unwrap().id = Uuid::ZERO;
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    assert_eq!(load.max_version, Some(9));
    sim.answer(&load, 7, without_groups(fetched([(orders(0), 4, -1, ErrorCode::None)])));
    sim.quiet();
    let expected = [start(&sim, 0, Position::at(4))];
    assert_eq!(sim.events(), expected);
}

/// The topic may have been created again since: by its id, the group has nothing committed in it.
#[test]
fn b3_an_offset_committed_before_the_topic_was_known_is_fetched_again() {
    for epoch in [5, -1] {
        let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
        let known = std::mem::take(&mut sim.cluster);
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        assert_eq!(load.max_version, Some(9));
        sim.answer(&load, 7, fetched([(orders(0), 4, epoch, ErrorCode::None)]));
        sim.quiet();
        assert_eq!(sim.events(), [Event::RefreshMetadata], "the leader is not known");
        sim.cluster = known;
        sim.offsets.handle_cluster(sim.now, &sim.cluster);
        let load = sim.transmit();
        assert_eq!(load.max_version, None, "by id");
        sim.answer(&load, 7, fetched([(orders(0), -1, -1, ErrorCode::None)]));
        let list = sim.transmit();
        assert_eq!(list_specs(&list), [(orders(0), 5, -2)]);
        // Only once: the committed offset of a known topic is final.
        sim.offsets.handle_cluster(sim.now, &sim.cluster);
        sim.answer(&list, 7, lists(orders(0), 0));
        assert!(sim.events().contains(&start(&sim, 0, at(0, 5))));
        sim.quiet();
    }
}

/// The brokers are upgraded while it is read: its topic gets an id just when its leader is unavailable.
#[test]
fn b3_the_offset_of_a_started_partition_is_not_fetched_again_when_its_topic_gets_an_id() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Latest);
    let known = sim.cluster.clone();
    sim.cluster.topics.get_mut("orders").unwrap().id = Uuid::ZERO;
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 7, fetched([(orders(0), 4, -1, ErrorCode::None)]));
    sim.quiet();
    assert_eq!(sim.events(), [start(&sim, 0, Position::at(4))], "no epoch: it starts at once");
    sim.offsets.validate(sim.now, &orders(0), sim.token(0), at(90, 5));
    sim.cluster = known;
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    let asked = sim.transmit();
    assert_ne!(asked.request.api_key(), ApiKey::OffsetFetch, "the position stands: {asked:?}");
}

#[test]
fn only_a_member_of_a_kip_848_group_asks_as_one() {
    let ask = |protocol| {
        let mut sim = Sim::new(|_| {});
        sim.offsets.set_identity(Some(Identity { protocol, ..member(3) }));
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        let group = as_fetch(&load).groups[0].clone();
        (group.member_id, group.member_epoch)
    };
    assert_eq!(ask(GroupProtocol::Classic), (None, -1));
    assert_eq!(ask(GroupProtocol::Consumer), (Some("m-1".into()), 3));
}

#[test]
fn f2_l2_h11_c2_no_refusal_is_taken_for_nothing_committed() {
    use ErrorCode as E;
    for code in E::ALL.iter().copied().filter(|code| !code.is_ok()).chain([E::Unknown(999)]) {
        for whole_group in [false, true] {
            let mut sim = Sim::new(|_| {});
            sim.assign([(orders(0), StartAt::Committed)]);
            let mut last = None;
            for _ in 0..12 {
                let load = sim.transmit();
                assert_eq!(fetch_names(&load), [orders(0)], "{code}");
                let partition = if whole_group { E::None } else { code };
                let group = if whole_group { code } else { E::None };
                sim.answer(&load, 9, fetched_group([(orders(0), -1, -1, partition)], group));
                for event in sim.events() {
                    let known = match &event {
                        Event::PartitionFailed { error: PartitionError::Unresolved(_), .. } => {
                            assert!(last.replace(event.clone()).is_none(), "{code}: told twice");
                            true
                        }
                        Event::CoordinatorLost(_)
                        | Event::RefreshMetadata
                        | Event::MembershipRefused { .. } => true,
                        _ => false,
                    };
                    assert!(known, "{code}: {event:?}");
                }
                sim.quiet();
                sim.wake();
            }
            let load = sim.transmit();
            sim.answer(&load, 9, fetched([(orders(0), 42, -1, E::None)]));
            let expected = [start(&sim, 0, Position::at(42))];
            assert_eq!(sim.events(), expected, "{code}: F10, never stranded");
        }
    }
}

#[test]
fn c1_a_coordinator_that_is_none_is_looked_for_and_the_new_one_asked() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched_group([], ErrorCode::NotCoordinator));
    assert_eq!(sim.events(), [Event::CoordinatorLost(COORDINATOR)]);
    sim.coordinator = None;
    sim.wake();
    sim.quiet();
    assert_eq!(sim.offsets.poll_timeout(), None, "no timer: the engine comes back when it is found");
    assert!(sim.offsets.wants_coordinator());
    sim.coordinator = Some(BrokerId(2));
    let load = sim.transmit();
    assert_eq!(load.to, offtake_machine::Target::Broker(BrokerId(2)));
}

#[test]
fn c7_l8_an_answer_from_before_a_seek_moves_nothing() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    let before = sim.token(0);
    let token = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(77))).unwrap();
    assert_eq!(token, Token { seek: 1, ..before });
    assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(77) }]);
    sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
    assert_eq!(sim.events(), []);
    sim.quiet();
}

#[test]
fn l8_a_seek_beats_the_reset_and_the_validation_that_are_under_way() {
    for give_back_for_validation in [true, false] {
        let (mut sim, token) = Sim::flowing(|_| {});
        if give_back_for_validation {
            sim.offsets.validate(sim.now, &orders(0), token, at(10, 4));
        } else {
            sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(10));
        }
        let ask = sim.transmit();
        let token = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(3))).unwrap();
        assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(3) }]);
        if give_back_for_validation {
            sim.answer(&ask, 4, ends(orders(0), 4, 8, ErrorCode::None));
        } else {
            sim.answer(&ask, 7, lists(orders(0), 500));
        }
        assert_eq!(sim.events(), []);
    }
}

#[test]
fn l8_an_earlier_reset_that_arrives_late_does_not_end_the_later_one() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Earliest)]);
    let early = sim.transmit();
    sim.offsets.seek(sim.now, &orders(0), StartAt::Latest).unwrap();
    let late = sim.transmit();
    assert_eq!(list_specs(&early), [(orders(0), 5, -2)]);
    assert_eq!(list_specs(&late), [(orders(0), 5, -1)]);
    sim.answer(&late, 7, lists(orders(0), 900));
    sim.answer(&early, 7, lists(orders(0), 0));
    let expected = [start(&sim, 0, at(900, 5))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn nothing_committed_goes_by_the_policy_and_says_so() {
    let minute = Duration::from_secs(60);
    for (reset, timestamp) in [
        (ResetPolicy::Earliest, -2),
        (ResetPolicy::Latest, -1),
        (ResetPolicy::ByDuration(minute), WALL_MS + 5_000 - 60_000),
    ] {
        let mut sim = Sim::new(|c| c.reset = reset);
        sim.advance(Duration::from_secs(5));
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
        let list = sim.transmit();
        assert_eq!(list_specs(&list), [(orders(0), 5, timestamp)]);
        assert_eq!(list.to, offtake_machine::Target::Broker(BrokerId(1)));
        sim.answer(&list, 7, lists(orders(0), 30));
        let (partition, token, reason) = (orders(0), sim.token(0), ResetReason::NothingCommitted);
        let reset = Event::Reset { partition, token, from: None, to: 30, reason, skipped: None };
        let expected = [reset, start(&sim, 0, at(30, 5))];
        assert_eq!(sim.events(), expected);
        assert!(sim.offsets.has_uncommitted(), "the choice may be committed, so that it is made once");
    }
}

/// M4: the minute of `by_duration` ends now, however long the machine was suspended, and whatever year its
/// clock showed at the start.
#[test]
fn m4_a_policy_by_duration_counts_from_what_the_wall_clock_shows_now() {
    let (minute, year) = (Duration::from_secs(60), 365 * 24 * 3_600_000);
    for (now_ms, from) in [
        (WALL_MS, WALL_MS + 5_000 - 60_000),
        (WALL_MS + year, WALL_MS + year + 5_000 - 60_000),
        (WALL_MS - year, WALL_MS - year + 5_000 - 60_000),
        (30_000, 0),
        (i64::MAX, i64::MAX - 60_000),
    ] {
        let mut sim = Sim::new(|c| c.reset = ResetPolicy::ByDuration(minute));
        sim.advance(Duration::from_secs(10));
        sim.offsets.set_wall_clock(sim.now, now_ms);
        sim.advance(Duration::from_secs(5));
        sim.assign([(orders(0), StartAt::Committed)]);
        let load = sim.transmit();
        sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
        assert_eq!(list_specs(&sim.transmit()), [(orders(0), 5, from)], "{now_ms}");
    }
}

#[test]
fn with_the_policy_none_the_application_decides() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::None);
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    assert!(!sim.offsets.is_stopped(&orders(0)));
    sim.answer(&load, 9, fetched([(orders(0), -1, -1, ErrorCode::None)]));
    let (partition, token) = (orders(0), sim.token(0));
    assert_eq!(sim.events(), [Event::PartitionFailed { partition, token, error: PartitionError::NoOffset }]);
    sim.quiet();
    assert_eq!(sim.offsets.poll_timeout(), None);
    assert!(sim.offsets.is_stopped(&orders(0)));
    sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(1))).unwrap();
    assert!(!sim.offsets.is_stopped(&orders(0)));
    let expected = [start(&sim, 0, Position::at(1))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn b4_a_partition_born_after_the_subscription_begins_at_its_first_record() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Latest);
    sim.assign([(orders(3), StartAt::committed_or(StartAt::Earliest))]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(3), -1, -1, ErrorCode::None)]));
    let list = sim.transmit();
    assert_eq!(list_specs(&list), [(orders(3), 5, -2)]);
    sim.answer(&list, 7, lists(orders(3), 0));
    assert!(sim.events().contains(&start(&sim, 3, at(0, 5))));
}

/// However deep a fallback is nested, the committed offset is looked up once, and the innermost place counts.
#[test]
fn a_fallback_of_a_fallback_is_a_fallback() {
    let mut sim = Sim::new(|_| {});
    sim.assign([
        (orders(0), StartAt::committed_or(StartAt::committed_or(5))),
        (orders(1), StartAt::committed_or(StartAt::Committed)),
    ]);
    let load = sim.transmit();
    sim.answer(
        &load,
        9,
        fetched([(orders(0), -1, -1, ErrorCode::None), (orders(1), -1, -1, ErrorCode::None)]),
    );
    let events = sim.events();
    assert!(events.contains(&start(&sim, 0, Position::at(5))), "{events:?}");
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Start { partition, .. } if *partition == orders(1)))
    );
    assert_eq!(sim.transmits().len(), 1, "where the policy says has to be asked for");
}

#[test]
fn a_place_of_ones_own_counts_only_where_nothing_is_committed() {
    let here = StartAt::committed_or(5);
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), here.clone()), (orders(1), here)]);
    let load = sim.transmit();
    sim.answer(
        &load,
        9,
        fetched([(orders(0), 9, -1, ErrorCode::None), (orders(1), -1, -1, ErrorCode::None)]),
    );
    let events = sim.events();
    assert!(events.contains(&start(&sim, 0, Position::at(9))), "{events:?}");
    assert!(events.contains(&start(&sim, 1, Position::at(5))), "{events:?}");
}

#[test]
fn without_a_group_the_policy_decides_and_nobody_asks_for_a_coordinator() {
    let mut sim = Sim::new(|c| (c.group, c.reset) = (None, ResetPolicy::Earliest));
    sim.assign([(orders(0), StartAt::Committed)]);
    assert!(!sim.offsets.wants_coordinator());
    assert_eq!(list_specs(&sim.transmit()), [(orders(0), 5, -2)]);
}

#[test]
fn each_leader_is_asked_once_and_all_at_the_same_time() {
    let mut sim = Sim::new(|_| {});
    sim.assign((0..4).map(|p| (orders(p), StartAt::Latest)));
    let asked = sim.transmits();
    let who: Vec<_> = asked.iter().map(|transmit| transmit.to).collect();
    use offtake_machine::Target::Broker;
    assert_eq!(who, [Broker(BrokerId(1)), Broker(BrokerId(2))]);
    assert_eq!(list_specs(&asked[0]), [(orders(0), 5, -1), (orders(2), 5, -1)]);
    assert_eq!(list_specs(&asked[1]), [(orders(1), 5, -1), (orders(3), 5, -1)]);
}

#[test]
fn read_committed_lists_the_last_stable_offset() {
    let mut sim = Sim::new(|c| c.isolation = offtake_machine::IsolationLevel::ReadCommitted);
    sim.assign([(orders(0), StartAt::Latest)]);
    assert_eq!(as_list(&sim.transmit()).isolation_level, 1);
}

#[test]
fn h12_a_partition_left_out_is_asked_for_again_and_in_the_end_loudly() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Committed), (orders(1), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(
        &load,
        9,
        fetched([(orders(1), 1, -1, ErrorCode::None), (orders(1), 999, -1, ErrorCode::None)]),
    );
    let expected = [start(&sim, 1, Position::at(1))];
    assert_eq!(sim.events(), expected, "a partition that is repeated starts once");
    for _ in 0..4 {
        sim.wake();
        let load = sim.transmit();
        assert_eq!(fetch_names(&load), [orders(0)]);
        assert_eq!(sim.events(), []);
        // The response does not even contain the group.
        sim.answer(&load, 9, OffsetFetchResponse::default());
    }
    let error = PartitionError::Unresolved(Cause::PartitionMissing { api: ApiKey::OffsetFetch });
    assert_eq!(sim.events(), [Event::PartitionFailed { partition: orders(0), token: sim.token(0), error }]);
    sim.wake();
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 8, -1, ErrorCode::None)]));
    let expected = [start(&sim, 0, Position::at(8))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn an_impossible_committed_offset_is_no_offset_at_all() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), -7, -1, ErrorCode::None)]));
    assert_eq!(sim.events(), []);
    sim.wake();
    assert_eq!(fetch_names(&sim.transmit()), [orders(0)]);
}

#[test]
fn c6_an_authorization_refused_for_the_group_is_told_once_not_once_a_partition() {
    let mut sim = Sim::new(|_| {});
    sim.assign((0..4).map(|p| (orders(p), StartAt::Committed)));
    let mut failures = 0;
    for _ in 0..5 {
        let load = sim.transmit();
        assert_eq!(fetch_names(&load).len(), 4, "SAFE15: what was one request stays one");
        sim.answer(&load, 9, fetched_group([], ErrorCode::GroupAuthorizationFailed));
        failures += sim.events().len();
        sim.quiet();
        sim.wake();
    }
    assert_eq!(failures, 1);
}

#[test]
fn l2_errors_of_a_leader_refresh_the_metadata_and_never_run_the_policy() {
    use ErrorCode as E;
    for code in E::ALL.iter().copied().filter(|code| !code.is_ok()) {
        let mut sim = Sim::new(|c| c.reset = ResetPolicy::Latest);
        sim.assign([(orders(0), StartAt::Earliest)]);
        let list = sim.transmit();
        sim.answer(&list, 7, listed([(orders(0), -1, -1, code)]));
        let events = sim.events();
        let moved = events.iter().any(|event| matches!(event, Event::Start { .. } | Event::Reset { .. }));
        assert!(!moved, "{code}: {events:?}");
        sim.quiet();
        sim.wake();
        assert_eq!(list_specs(&sim.transmit()), [(orders(0), 5, -2)], "{code}: the same question again");
    }
}

#[test]
fn l2_a_lost_connection_moves_nothing_and_a_new_leader_is_asked_at_once() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Earliest)]);
    let list = sim.transmit();
    sim.fail(&list, disconnected());
    assert_eq!(sim.events(), [Event::RefreshMetadata]);
    sim.quiet();
    sim.lead(0, 1, 5);
    sim.quiet();
    sim.lead(0, 2, 6);
    let list = sim.transmit();
    assert_eq!(list.to, offtake_machine::Target::Broker(BrokerId(2)));
    assert_eq!(list_specs(&list), [(orders(0), 6, -2)]);
}

#[test]
fn b5_a_partition_that_the_metadata_does_not_know_waits_for_it() {
    let mut sim = Sim::new(|_| {});
    let known = std::mem::take(&mut sim.cluster);
    sim.assign([(orders(0), StartAt::Latest)]);
    sim.quiet();
    assert_eq!(sim.events(), [Event::RefreshMetadata]);
    sim.cluster = known;
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    assert_eq!(list_specs(&sim.transmit()), [(orders(0), 5, -1)]);
}

#[test]
fn l7_a_negative_offset_in_a_success_is_an_error_not_zero() {
    for offset in [-1, -2, i64::MIN] {
        let mut sim = Sim::new(|_| {});
        sim.assign([(orders(0), StartAt::Earliest)]);
        for _ in 0..5 {
            let list = sim.transmit();
            sim.answer(&list, 7, lists(orders(0), offset));
            sim.quiet();
            sim.wake();
        }
        let error = PartitionError::Unresolved(Cause::BadOffset { api: ApiKey::ListOffsets, offset });
        assert_eq!(
            sim.events(),
            [Event::PartitionFailed { partition: orders(0), token: sim.token(0), error }]
        );
    }
}

#[test]
fn a_time_beyond_the_end_is_the_end() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Timestamp(123))]);
    let list = sim.transmit();
    assert_eq!(list_specs(&list), [(orders(0), 5, 123)]);
    sim.answer(&list, 7, listed([(orders(0), -1, -1, ErrorCode::None)]));
    let list = sim.transmit();
    assert_eq!(list_specs(&list), [(orders(0), 5, -1)]);
    sim.answer(&list, 7, lists(orders(0), 60));
    let expected = [start(&sim, 0, at(60, 5))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn zero_records_before_the_end_is_the_end_and_takes_one_request() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::BeforeEnd(0))]);
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 60));
    let expected = [start(&sim, 0, at(60, 5))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn so_many_before_the_end_but_not_before_the_beginning() {
    for (records, first, expected) in
        [(10, 0, Position::at(50)), (10, 55, at(55, 5)), (u64::MAX, 7, at(7, 5))]
    {
        let mut sim = Sim::new(|_| {});
        sim.assign([(orders(0), StartAt::BeforeEnd(records))]);
        let list = sim.transmit();
        sim.answer(&list, 7, lists(orders(0), 60));
        let list = sim.transmit();
        assert_eq!(list_specs(&list), [(orders(0), 5, -2)]);
        sim.answer(&list, 7, lists(orders(0), first));
        let expected = [start(&sim, 0, expected)];
        assert_eq!(sim.events(), expected);
    }
}

#[test]
fn l1_out_of_range_goes_by_the_policy_with_both_ends_of_the_jump() {
    let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::Earliest);
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(10));
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 25));
    let (partition, reason) = (orders(0), ResetReason::OutOfRange);
    let reset = Event::Reset { partition, token, from: Some(10), to: 25, reason, skipped: Some(15) };
    let expected = [reset, start(&sim, 0, at(25, 5))];
    assert_eq!(sim.events(), expected);
}

/// A group with `latest` that retention has overtaken: if the end was not committed, the next start would be
/// out of range again, and skip what was written meanwhile.
#[test]
fn l1_a_jump_ahead_is_committed_unless_something_before_it_may_not_be_finished() {
    for (read, finished) in [(10, at(100, 5)), (20, Position::at(10))] {
        let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::Latest);
        sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(read));
        let list = sim.transmit();
        sim.answer(&list, 7, lists(orders(0), 100));
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(finished), "read up to {read}");
    }
}

#[test]
fn l1_out_of_range_under_none_fails_the_partition() {
    let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::None);
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, Position::at(10));
    let error = PartitionError::OffsetOutOfRange { position: 10 };
    assert!(error.stops());
    assert_eq!(sim.events(), [Event::PartitionFailed { partition: orders(0), token, error }]);
    sim.quiet();
}

/// Records before the position were dropped, and have to be read again: they come before the error that
/// stopped the partition.
#[test]
fn l1_i12_given_back_records_of_a_stopped_partition_are_read_again_up_to_its_error() {
    let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::None);
    let (partition, position) = (orders(0), Position::at(7));
    sim.offsets.start_again(&partition, token, position);
    assert_eq!(sim.events(), [], "it is being fetched");
    sim.offsets.on_out_of_range(sim.now, &partition, token, Position::at(10));
    sim.events();
    sim.offsets.start_again(&partition, token.after_seek(), position);
    assert_eq!(sim.events(), [], "another position's");
    sim.offsets.start_again(&partition, token, position);
    assert_eq!(sim.events(), [Event::Start { partition: partition.clone(), token, position }]);
    assert!(!sim.offsets.is_stopped(&partition));
    sim.offsets.on_out_of_range(sim.now, &partition, token, Position::at(10));
    let error = PartitionError::OffsetOutOfRange { position: 10 };
    assert_eq!(sim.events(), [Event::PartitionFailed { partition, token, error }]);
}

#[test]
fn b3_a_topic_made_anew_goes_by_the_policy_and_its_lower_offsets_can_be_finished() {
    let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::Earliest);
    sim.offsets.mark_finished(&orders(0), token, Position::at(40)).unwrap();
    sim.offsets.on_topic_recreated(sim.now, &orders(0), token, Position::at(40));
    let new = sim.token(0);
    assert!(new.same_assignment(token) && new != token);
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 0));
    let (partition, reason) = (orders(0), ResetReason::TopicRecreated);
    let told = Event::NewLog { partition: partition.clone(), token: new };
    let reset = Event::Reset { partition, token: new, from: Some(40), to: 0, reason, skipped: None };
    let expected = [told, reset, start(&sim, 0, at(0, 5))];
    assert_eq!(sim.events(), expected);
    // Reported for the log that is gone, before its reader knew.
    assert_eq!(
        sim.offsets.mark_finished(&orders(0), token, Position::at(41)),
        Err(FinishedError::BeforeSeek)
    );
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(0, 5)));
    sim.offsets.mark_finished(&orders(0), new, Position::at(3)).unwrap();
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(Position::at(3)));
}

#[test]
fn safe15_a_partition_that_comes_back_from_where_it_went_is_asked_about_with_pauses() {
    let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::Latest);
    let begun = sim.now;
    let mut position = Position::at(10);
    for _ in 0..20 {
        sim.offsets.on_out_of_range(sim.now, &orders(0), token, position);
        if sim.next_transmit().map(|list| sim.answer(&list, 7, lists(orders(0), 10))).is_none() {
            sim.wake();
            let list = sim.transmit();
            sim.answer(&list, 7, lists(orders(0), 10));
        }
        position = at(10, 5);
        sim.events();
    }
    assert!(sim.now - begun > Duration::from_secs(10), "{:?}", sim.now - begun);

    // The same elsewhere after some time is a new problem, and is looked up at once.
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, position);
    sim.wake();
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 30));
    sim.advance(Duration::from_secs(10));
    sim.offsets.on_out_of_range(sim.now, &orders(0), token, at(40, 5));
    sim.transmit();
}

#[test]
fn e2_a_load_that_is_under_way_survives_a_second_rebalance() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Committed), (orders(1), StartAt::Committed)]);
    let load = sim.transmit();
    sim.offsets.set_identity(None);
    sim.offsets.unassign([&orders(1)]);
    sim.offsets.set_identity(Some(member(2)));
    sim.assign([(orders(0), StartAt::Committed), (orders(2), StartAt::Committed)]);
    let second = sim.transmit();
    assert_eq!(fetch_names(&second), [orders(2)], "E9, F5: what is kept is not loaded anew");
    sim.answer(&load, 9, fetched([(orders(0), 6, -1, ErrorCode::None), (orders(1), 7, -1, ErrorCode::None)]));
    let expected = [start(&sim, 0, Position::at(6))];
    assert_eq!(sim.events(), expected, "and what was revoked does not start");
}

#[test]
fn e11_revoked_and_assigned_again_is_loaded_again_under_a_fresh_token() {
    let (mut sim, before) = Sim::flowing(|_| {});
    sim.offsets.mark_finished(&orders(0), before, Position::at(15)).unwrap();
    sim.offsets.unassign([&orders(0)]);
    assert_eq!(sim.offsets.token_of(&orders(0)), None);
    sim.assign([(orders(0), StartAt::Committed)]);
    assert!(!sim.token(0).same_assignment(before));
    assert_eq!(sim.offsets.finished_position(&orders(0)), None, "H14");
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 12, -1, ErrorCode::None)]));
    let expected = [start(&sim, 0, Position::at(12))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn e11_an_old_load_does_not_answer_for_the_new_assignment() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Committed)]);
    let old = sim.transmit();
    sim.offsets.unassign([&orders(0)]);
    sim.assign([(orders(0), StartAt::Committed)]);
    let new = sim.transmit();
    sim.answer(&old, 9, fetched([(orders(0), 1, -1, ErrorCode::None)]));
    assert_eq!(sim.events(), []);
    sim.answer(&new, 9, fetched([(orders(0), 2, -1, ErrorCode::None)]));
    let expected = [start(&sim, 0, Position::at(2))];
    assert_eq!(sim.events(), expected);
}

#[test]
fn f2_a_new_member_epoch_is_used_at_once() {
    let mut sim = Sim::new(|_| {});
    let epoch = |generation| Some(Identity { protocol: GroupProtocol::Consumer, ..member(generation) });
    sim.offsets.set_identity(epoch(4));
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    let code = ErrorCode::StaleMemberEpoch;
    sim.answer(&load, 9, fetched_group([], code));
    let identity = epoch(4).unwrap();
    assert_eq!(
        sim.events(),
        [Event::MembershipRefused { code, identity }],
        "a heartbeat will tell the new one"
    );
    sim.quiet();
    sim.offsets.set_identity(epoch(5));
    assert_eq!(as_fetch(&sim.transmit()).groups[0].member_epoch, 5);
}

#[test]
fn a_load_that_the_loop_forgot_is_given_up_and_asked_again() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Committed)]);
    let forgotten = sim.transmit();
    sim.quiet();
    sim.wake();
    assert_eq!(sim.events(), [Event::CoordinatorLost(COORDINATOR)]);
    sim.quiet();
    sim.wake();
    let load = sim.transmit();
    assert_ne!(load.id, forgotten.id);
}

/// An error that only a person can resolve is reported at once, and the request still repeated (FAILURES B7).
/// A temporary one is not reported.
#[test]
fn a_leader_that_refuses_for_good_is_told_of_at_once_and_a_moving_one_never() {
    let refuses = |code: ErrorCode| {
        let mut sim = Sim::new(|_| {});
        sim.assign([(orders(0), StartAt::Latest)]);
        let list = sim.transmit();
        sim.answer(&list, 7, listed([(orders(0), -1, -1, code)]));
        let cause = Cause::Refused { api: ApiKey::ListOffsets, code };
        let error = PartitionError::Unresolved(cause);
        assert!(!error.stops());
        let failed = Event::PartitionFailed { partition: orders(0), token: sim.token(0), error };
        let is_told = sim.events().contains(&failed);
        sim.wake();
        assert_eq!(list_specs(&sim.transmit()), [(orders(0), 5, -1)]);
        is_told
    };
    assert!(refuses(ErrorCode::TopicAuthorizationFailed));
    assert!(refuses(ErrorCode::UnsupportedForMessageFormat));
    assert!(!refuses(ErrorCode::NotLeaderOrFollower));
    assert!(!refuses(ErrorCode::InvalidRecord), "that is told after a few times");
}

#[test]
fn q_a_broker_without_list_offsets_is_told_of_at_once() {
    let mut sim = Sim::new(|_| {});
    sim.assign([(orders(0), StartAt::Latest)]);
    let list = sim.transmit();
    let error = CallError::Unsupported { address: "a:9092".into(), api: ApiKey::ListOffsets };
    sim.fail(&list, error.clone());
    let error = PartitionError::Unresolved(Cause::Call(error));
    let failed = Event::PartitionFailed { partition: orders(0), token: sim.token(0), error };
    assert!(sim.events().contains(&failed));
}

#[test]
fn h9_there_is_no_place_below_zero() {
    let (mut sim, token) = Sim::flowing(|_| {});
    let below = StartAt::Offset(Position::at(-1));
    assert_eq!(sim.offsets.seek(sim.now, &orders(0), below.clone()), Err(SeekError::NegativeOffset(-1)));
    assert_eq!(sim.token(0), token, "a refused seek changes nothing");
    assert_eq!(
        sim.offsets.seek(sim.now, &orders(1), StartAt::Earliest),
        Err(SeekError::NotAssigned(orders(1)))
    );
    sim.assign([(orders(1), below)]);
    let error = PartitionError::NegativeOffset(-1);
    assert_eq!(sim.events(), [Event::PartitionFailed { partition: orders(1), token: sim.token(1), error }]);
}

/// FAILURES INPUT50: an assignment may contain hundreds of thousands of unknown partitions. Other events must
/// not cost a search through all of them.
#[test]
#[expect(clippy::disallowed_methods, reason = "what the machine costs is compared with what it costs")]
fn input50_partitions_that_wait_cost_nothing_while_they_wait() {
    const WAITING: i32 = 50_000;
    let mut sim = Sim::new(|_| {});
    sim.coordinator = None;
    let begun = std::time::Instant::now();
    // Half of them wait for a leader, half for the coordinator.
    let place = |p| if p % 2 == 0 { StartAt::Earliest } else { StartAt::Committed };
    sim.assign((0..WAITING).map(|p| (TopicPartition::new("unknown", p), place(p))));
    sim.quiet();
    let assigning = begun.elapsed();
    let begun = std::time::Instant::now();
    for _ in 0..WAITING {
        sim.quiet();
        assert!(sim.offsets.wants_coordinator());
        assert!(sim.offsets.poll_timeout().is_some());
        assert!(begun.elapsed() < assigning * 20, "each look costs as much as if all had just been assigned");
    }
}

/// Adds partitions that broker 1 leads.
fn add_led_by_one(sim: &mut Sim, partitions: Range<i32>) {
    let orders = sim.cluster.topics.get_mut("orders").unwrap();
    orders.partitions.extend(partitions.map(|index| (index, PartitionInfo::new(Some(BrokerId(1)), Some(5)))));
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
}

#[test]
fn lookups_of_one_seek_after_another_share_requests_while_their_leader_has_enough_to_answer() {
    let mut sim = Sim::new(|_| {});
    add_led_by_one(&mut sim, 4..20);
    sim.assign((0..20).map(|index| (orders(index), StartAt::Offset(Position::at(0)))));
    sim.events();
    let mut sent = Vec::new();
    for index in 4..20 {
        sim.offsets.seek(sim.now, &orders(index), StartAt::Earliest).unwrap();
        sent.extend(sim.transmits());
    }
    let first: Vec<_> = sent.iter().map(list_specs).collect();
    assert_eq!(first, (4..8).map(|index| vec![(orders(index), 5, -2)]).collect::<Vec<_>>());
    // Another leader is asked at once.
    sim.offsets.seek(sim.now, &orders(1), StartAt::Earliest).unwrap();
    let other = sim.transmit();
    assert_eq!(list_specs(&other), [(orders(1), 5, -2)]);
    sim.answer(&other, 7, lists(orders(1), 0));
    sim.quiet();
    // One that is sought to an offset meanwhile, one that is given up and one with another leader now are not asked about.
    sim.offsets.seek(sim.now, &orders(8), StartAt::Offset(Position::at(3))).unwrap();
    sim.offsets.unassign([&orders(9)]);
    sim.lead(10, 2, 6);
    let moved = sim.transmit();
    assert_eq!(list_specs(&moved), [(orders(10), 6, -2)]);
    sim.quiet();
    // Any answer lets the rest go.
    sim.answer(&sent[2], 7, lists(orders(6), 0));
    let rest = sim.transmit();
    let expected: Vec<_> = (11..20).map(|index| (orders(index), 5, -2)).collect();
    assert_eq!(list_specs(&rest), expected);
    sim.quiet();
}

#[test]
fn what_waits_for_a_leader_that_may_be_gone_is_not_asked_of_it_but_of_the_next() {
    let mut sim = Sim::new(|_| {});
    add_led_by_one(&mut sim, 4..10);
    sim.assign((4..10).map(|index| (orders(index), StartAt::Offset(Position::at(0)))));
    let mut sent = Vec::new();
    for index in 4..10 {
        sim.offsets.seek(sim.now, &orders(index), StartAt::Earliest).unwrap();
        sent.extend(sim.transmits());
    }
    assert_eq!(sent.len(), 4);
    sim.events();
    for lost in &sent {
        sim.fail(lost, disconnected());
        sim.quiet();
        assert_eq!(sim.events(), [Event::RefreshMetadata]);
    }
    for index in 4..10 {
        sim.lead(index, 2, 6);
    }
    let next = sim.transmit();
    let expected: Vec<_> = (4..10).map(|index| (orders(index), 6, -2)).collect();
    assert_eq!(list_specs(&next), expected);
    sim.quiet();
}

#[test]
fn committed_offsets_are_asked_for_together_while_the_coordinator_has_enough_to_answer() {
    let mut sim = Sim::new(|_| {});
    sim.assign((0..20).map(|index| (orders(index), StartAt::Offset(Position::at(0)))));
    sim.events();
    let mut sent = Vec::new();
    for index in 0..20 {
        let from = StartAt::committed_or(StartAt::Earliest);
        sim.offsets.seek(sim.now, &orders(index), from).unwrap();
        sent.extend(sim.transmits());
    }
    let first: Vec<_> = sent.iter().map(fetch_names).collect();
    assert_eq!(first, (0..4).map(|index| vec![orders(index)]).collect::<Vec<_>>());
    // A new coordinator has nothing to answer yet.
    sim.coordinator = Some(BrokerId(2));
    let rest = sim.transmit();
    assert_eq!(fetch_names(&rest), (4..20).map(orders).collect::<Vec<_>>());
    sim.answer(&sent[0], 9, fetched([(orders(0), 7, -1, ErrorCode::None)]));
    let expected = [Event::Start { partition: orders(0), token: sim.token(0), position: Position::at(7) }];
    assert_eq!(sim.events(), expected);
    sim.quiet();
}

#[test]
fn b3_a_committed_offset_that_was_asked_for_by_name_is_asked_for_again_when_the_topic_has_an_id() {
    for wakes in 0..4 {
        let mut sim = Sim::new(|_| {});
        let known = std::mem::take(&mut sim.cluster.topics);
        sim.assign([(orders(0), StartAt::Committed), (orders(1), StartAt::Committed)]);
        let by_name = sim.transmit();
        let answers = [(orders(0), 7, 0, ErrorCode::None), (orders(1), -1, -1, ErrorCode::None)];
        sim.answer(&by_name, 9, fetched(answers));
        // No metadata for a while: there is no leader to ask.
        for _ in 0..wakes {
            sim.quiet();
            sim.wake();
        }
        sim.quiet();
        sim.events();
        sim.cluster.topics = known;
        sim.offsets.handle_cluster(sim.now, &sim.cluster);
        let again = sim.transmit();
        assert_eq!(fetch_names(&again), [orders(0), orders(1)], "after {wakes} waits");
    }
}
