//! Tests of whether the leader's log still contains the position (KIP-320).

use std::time::Duration;

use offtake_machine::{BrokerId, CallError, Position, Target};
use offtake_offsets::{Event, PartitionError, ResetPolicy, ResetReason, StartAt};
use offtake_wire::{ApiKey, ErrorCode, OffsetForLeaderEpochResponse, Uuid};

use crate::support::*;

/// `orders-0`, being fetched, is returned at offset 100; the record before that was written in epoch 4.
fn validating(reset: ResetPolicy) -> (Sim, offtake_machine::Token) {
    let (mut sim, token) = Sim::flowing(|c| c.reset = reset);
    sim.offsets.mark_finished(&orders(0), token, at(90, 4)).unwrap();
    sim.offsets.validate(sim.now, &orders(0), token, at(100, 4));
    (sim, token)
}

#[test]
fn l3_an_offset_committed_with_an_epoch_is_validated_with_the_leader_first() {
    let mut sim = Sim::new(|_| {});
    sim.assign((0..3).map(|p| (orders(p), StartAt::Committed)));
    let load = sim.transmit();
    sim.answer(&load, 9, fetched((0..3).map(|p| (orders(p), 100, 3 + p, ErrorCode::None))));
    assert_eq!(sim.events(), []);
    let asked = sim.transmits();
    assert_eq!(asked.len(), 2, "one for each leader");
    assert_eq!(as_epochs(&asked[0]).replica_id, -1, "a consumer");
    assert_eq!(epoch_specs(&asked[0]), [(orders(0), 5, 3), (orders(2), 5, 5)]);
    assert_eq!(epoch_specs(&asked[1]), [(orders(1), 5, 4)]);
    sim.answer(&asked[1], 4, ends(orders(1), 4, 100, ErrorCode::None));
    let (partition, token) = (orders(1), sim.token(1));
    assert_eq!(sim.events(), [Event::Start { partition, token, position: at(100, 4) }]);
}

#[test]
fn b3_an_offset_of_a_deleted_topic_is_not_validated_in_its_successor() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 100, 4, ErrorCode::None)]));
    let ask = sim.transmit();
    sim.cluster.topics.get_mut("orders").unwrap().id = Uuid([9; 16]);
    sim.offsets.handle_cluster(sim.now, &sim.cluster);
    sim.answer(&ask, 4, ends(orders(0), 4, 200, ErrorCode::None));
    let (partition, token, reason) = (orders(0), sim.token(0), ResetReason::TopicRecreated);
    assert_eq!(sim.events(), [Event::NewLog { partition: partition.clone(), token }]);
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 0));
    let reset = Event::Reset { partition, token, from: Some(100), to: 0, reason, skipped: None };
    assert_eq!(sim.events()[0], reset);
}

/// An application seeks back to its finished position, and the log was truncated meanwhile. Found by the
/// arena (5265928).
#[test]
fn l3_a_seek_to_where_everything_is_finished_is_compared_with_the_leader_too() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.mark_finished(&orders(0), token, at(90, 4)).unwrap();
    sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(90))).unwrap();
    let ask = sim.transmit();
    assert_eq!(epoch_specs(&ask), [(orders(0), 5, 4)]);
    assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(90, 4)));
    sim.answer(&ask, 4, ends(orders(0), 4, 80, ErrorCode::None));
    assert!(matches!(sim.events()[..], [Event::Truncated { from: 90, .. }, ..]));
    // The epoch of another offset, or one that the application names itself, is not replaced.
    for to in [Position::at(91), at(80, 3)] {
        let token = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(to)).unwrap();
        match to.epoch {
            None => assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: to }]),
            Some(_) => assert_eq!(epoch_specs(&sim.transmit()), [(orders(0), 5, 3)]),
        }
    }
}

/// The application has found a damaged batch in its buffered records.
#[test]
fn j1_a_partition_that_is_stopped_while_it_is_validated_begins_nowhere_before_a_seek() {
    for end in [200, 80] {
        let (mut sim, token) = validating(ResetPolicy::Earliest);
        let ask = sim.transmit();
        assert!(!sim.offsets.stop(&orders(0), token.after_seek()), "of no token that it has");
        assert!(!sim.offsets.is_stopped(&orders(0)));
        assert!(sim.offsets.stop(&orders(0), token));
        sim.answer(&ask, 4, ends(orders(0), 4, end, ErrorCode::None));
        assert_eq!(sim.events(), []);
        assert!(sim.offsets.is_stopped(&orders(0)) && sim.next_transmit().is_none());
        sim.offsets.mark_finished(&orders(0), token, at(95, 4)).unwrap();
        let token = sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(101))).unwrap();
        assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(101) }]);
    }
}

#[test]
fn l3_a_log_that_ends_before_the_position_is_truncated_and_read_on_from_its_end() {
    for reset in [ResetPolicy::Latest, ResetPolicy::Earliest] {
        let (mut sim, token) = validating(reset);
        let ask = sim.transmit();
        assert_eq!(epoch_specs(&ask), [(orders(0), 5, 4)]);
        sim.answer(&ask, 4, ends(orders(0), 4, 80, ErrorCode::None));
        let partition = orders(0);
        assert_eq!(
            sim.events(),
            [
                Event::Truncated {
                    partition: partition.clone(),
                    token,
                    from: 100,
                    to: Some(80),
                    epoch: Some(4)
                },
                Event::Start { partition, token, position: at(80, 4) },
            ]
        );
        assert_eq!(
            sim.offsets.finished_position(&orders(0)),
            Some(at(80, 4)),
            "nothing beyond the end is finished"
        );
        // Records of the log that is gone may be reported as finished late, and do not count (SAFE8).
        sim.offsets.mark_finished(&orders(0), token, at(100, 4)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(80, 4)));
        sim.offsets.confirm_rewind(&orders(0), token, 0);
        sim.offsets.mark_finished(&orders(0), token, at(100, 4)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(80, 4)), "that is of an earlier one");
        sim.offsets.confirm_rewind(&orders(0), token, sim.offsets.rewinds(&orders(0)));
        sim.offsets.mark_finished(&orders(0), token, at(81, 5)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(81, 5)), "and what follows can be");
        sim.offsets.mark_finished(&orders(0), token, at(82, 5)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(82, 5)));
    }
}

/// More was handed out than was reported as finished when the log was truncated: late reports count up to the
/// truncation, and not beyond it (SAFE8).
#[test]
fn l3_late_finishes_count_up_to_the_truncation() {
    // The position read to, and the end of the log then.
    for cuts in [&[(100, 80)][..], &[(100, 80), (80, 70)], &[(100, 80), (95, 85)]] {
        let (mut sim, token) = Sim::flowing(|c| c.reset = ResetPolicy::Latest);
        sim.offsets.mark_finished(&orders(0), token, at(40, 4)).unwrap();
        for (read, cut) in cuts {
            sim.offsets.validate(sim.now, &orders(0), token, at(*read, 4));
            let ask = sim.transmit();
            sim.answer(&ask, 4, ends(orders(0), 4, *cut, ErrorCode::None));
        }
        let lowest = cuts.iter().map(|(_, cut)| *cut).min().unwrap();
        let rewinds = sim.offsets.rewinds(&orders(0));
        sim.offsets.mark_finished(&orders(0), token, at(100, 4)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(lowest, 4)));
        sim.offsets.confirm_rewind(&orders(0), token, rewinds - 1);
        sim.offsets.mark_finished(&orders(0), token, at(100, 4)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(lowest, 4)), "there was one more");
        sim.offsets.confirm_rewind(&orders(0), token, rewinds);
        sim.offsets.mark_finished(&orders(0), token, at(90, 5)).unwrap();
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(90, 5)));
    }
}

#[test]
fn l3_under_none_a_truncation_is_the_applications_to_decide() {
    let (mut sim, token) = validating(ResetPolicy::None);
    let ask = sim.transmit();
    sim.answer(&ask, 4, ends(orders(0), 3, 80, ErrorCode::None));
    let partition = orders(0);
    let error = PartitionError::LogTruncated { from: 100, to: 80 };
    assert_eq!(
        sim.events(),
        [
            Event::Truncated { partition: partition.clone(), token, from: 100, to: Some(80), epoch: Some(3) },
            Event::PartitionFailed { partition, token, error },
        ]
    );
    sim.quiet();
}

#[test]
fn l3_a_log_that_has_the_position_is_read_on() {
    for end in [100, 5000] {
        let (mut sim, token) = validating(ResetPolicy::Latest);
        let ask = sim.transmit();
        sim.answer(&ask, 4, ends(orders(0), 4, end, ErrorCode::None));
        assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: at(100, 4) }]);
        assert_eq!(sim.offsets.finished_position(&orders(0)), Some(at(90, 4)));
    }
}

#[test]
fn l4_an_unknown_epoch_goes_the_way_of_out_of_range_and_is_no_truncation() {
    for (epoch, end) in [(-1, -1), (-1, 50), (4, -1)] {
        let (mut sim, token) = validating(ResetPolicy::Earliest);
        let ask = sim.transmit();
        sim.answer(&ask, 4, ends(orders(0), epoch, end, ErrorCode::None));
        assert_eq!(sim.events(), []);
        let list = sim.transmit();
        sim.answer(&list, 7, lists(orders(0), 20));
        let (partition, reason) = (orders(0), ResetReason::EpochUnknown);
        assert_eq!(
            sim.events(),
            [
                Event::Reset {
                    partition: partition.clone(),
                    token,
                    from: Some(100),
                    to: 20,
                    reason,
                    skipped: None
                },
                Event::Start { partition, token, position: at(20, 5) },
                Event::RefreshMetadata,
            ]
        );
    }
    let (mut sim, token) = validating(ResetPolicy::None);
    let ask = sim.transmit();
    sim.answer(&ask, 4, ends(orders(0), -1, -1, ErrorCode::None));
    let error = PartitionError::OffsetOutOfRange { position: 100 };
    assert_eq!(sim.events(), [Event::PartitionFailed { partition: orders(0), token, error }]);
}

/// A member whose metadata are old is given what another has committed under a newer leader: whoever led before knows nothing of that
/// epoch, and must not be believed that the position is of no use (KAFKA-15344).
#[test]
fn b2_a_leader_from_before_the_committed_epoch_is_not_asked_about_it() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 100, 7, ErrorCode::None)]));
    let begun = sim.now;
    for _ in 0..10 {
        sim.quiet();
        assert_eq!(sim.events(), [Event::RefreshMetadata]);
        sim.offsets.handle_cluster(sim.now, &sim.cluster);
        sim.wake();
    }
    assert!(sim.now - begun > Duration::from_secs(5), "with pauses: {:?}", sim.now - begun);
    sim.quiet();
    sim.lead(0, 2, 7);
    let ask = sim.transmit();
    assert_eq!(ask.to, Target::Broker(BrokerId(2)), "the new leader at once");
    assert_eq!(epoch_specs(&ask), [(orders(0), 7, 7)]);
    sim.answer(&ask, 4, ends(orders(0), 7, 120, ErrorCode::None));
    let (partition, token) = (orders(0), sim.token(0));
    assert_eq!(sim.events().last(), Some(&Event::Start { partition, token, position: at(100, 7) }));
}

/// The topic was deleted and created again, and its brokers have no ids to show it: nothing else says so than that no leader gets to
/// know the epoch.
#[test]
fn b2_an_epoch_that_no_metadata_get_to_know_is_asked_about_in_the_end() {
    let mut sim = Sim::new(|c| c.reset = ResetPolicy::Earliest);
    sim.assign([(orders(0), StartAt::Committed)]);
    let load = sim.transmit();
    sim.answer(&load, 9, fetched([(orders(0), 100, 7, ErrorCode::None)]));
    let begun = sim.now;
    let ask = loop {
        match sim.next_transmit() {
            Some(ask) => break ask,
            None => sim.wake(),
        }
    };
    let took = sim.now - begun;
    assert!(took > Duration::from_secs(20) && took < Duration::from_secs(40), "{took:?}");
    sim.events();
    sim.answer(&ask, 4, ends(orders(0), -1, -1, ErrorCode::None));
    let list = sim.transmit();
    sim.answer(&list, 7, lists(orders(0), 0));
    let reason = ResetReason::EpochUnknown;
    assert!(matches!(sim.events()[..], [Event::Reset { to: 0, reason: told, .. }, ..] if told == reason));
}

#[test]
fn l5_a_second_leader_change_validates_again_with_the_new_epoch_and_does_not_spin() {
    let (mut sim, token) = validating(ResetPolicy::Latest);
    let begun = sim.now;
    for _ in 0..10 {
        let ask = sim.transmit();
        sim.answer(&ask, 4, ends(orders(0), -1, -1, ErrorCode::FencedLeaderEpoch));
        assert_eq!(sim.events(), [Event::RefreshMetadata]);
        sim.wake();
    }
    assert!(sim.now - begun > Duration::from_secs(5), "with pauses: {:?}", sim.now - begun);
    let ask = sim.transmit();
    sim.answer(&ask, 4, ends(orders(0), -1, -1, ErrorCode::NotLeaderOrFollower));
    sim.lead(0, 2, 6);
    let ask = sim.transmit();
    assert_eq!(ask.to, Target::Broker(BrokerId(2)), "the new leader at once");
    assert_eq!(epoch_specs(&ask), [(orders(0), 6, 4)]);
    sim.answer(&ask, 4, ends(orders(0), 4, 100, ErrorCode::None));
    let events = sim.events();
    let start = Event::Start { partition: orders(0), token, position: at(100, 4) };
    assert_eq!(events.last(), Some(&start));
}

#[test]
fn l2_no_failure_of_a_validation_moves_the_position() {
    use ErrorCode as E;
    for code in E::ALL.iter().copied().filter(|code| !code.is_ok()) {
        let (mut sim, token) = validating(ResetPolicy::Earliest);
        let ask = sim.transmit();
        sim.answer(&ask, 4, ends(orders(0), 4, 80, code));
        let moved = |event: &Event| match event {
            Event::Start { position, .. } => *position != at(100, 4),
            Event::Reset { .. } | Event::Truncated { .. } => true,
            _ => false,
        };
        let events = sim.events();
        assert!(!events.iter().any(moved), "{code}: {events:?}");
        if !sim.offsets.is_resolving(&orders(0)) {
            continue;
        }
        sim.wake();
        let ask = sim.transmit();
        // The partition is missing.
        sim.answer(&ask, 4, OffsetForLeaderEpochResponse::default());
        sim.wake();
        let ask = sim.transmit();
        sim.fail(&ask, disconnected());
        sim.wake();
        sim.events();
        let ask = sim.transmit();
        sim.answer(&ask, 4, ends(orders(0), 4, 100, E::None));
        assert_eq!(
            sim.events(),
            [Event::Start { partition: orders(0), token, position: at(100, 4) }],
            "{code}"
        );
    }
}

#[test]
fn l6_brokers_that_cannot_validate_are_not_asked_to() {
    let start = |token| [Event::Start { partition: orders(0), token, position: at(100, 4) }];
    let (mut sim, token) = validating(ResetPolicy::Latest);
    let ask = sim.transmit();
    let api = ApiKey::OffsetForLeaderEpoch;
    sim.fail(&ask, CallError::Unsupported { address: "a:9092".into(), api });
    assert_eq!(sim.events(), start(token));

    let (mut sim, token) = validating(ResetPolicy::Latest);
    let ask = sim.transmit();
    sim.answer(&ask, 2, ends(orders(0), -1, -1, ErrorCode::ClusterAuthorizationFailed));
    assert_eq!(sim.events(), start(token), "before version 3 only brokers may ask");

    let (mut sim, token) = validating(ResetPolicy::Latest);
    sim.cluster.topics.get_mut("orders").unwrap().partitions.get_mut(&0).unwrap().epoch = None;
    sim.quiet();
    assert_eq!(sim.events(), start(token), "a leader without an epoch has no history of them");
}

#[test]
fn a_position_without_an_epoch_has_nothing_to_compare() {
    let (mut sim, token) = Sim::flowing(|_| {});
    sim.offsets.validate(sim.now, &orders(0), token, Position::at(10));
    assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(10) }]);
    // `fetch` is refused again by the same leader: from now on with pauses.
    sim.offsets.validate(sim.now, &orders(0), token, Position::at(10));
    assert_eq!(sim.events(), []);
    sim.wake();
    sim.quiet();
    assert_eq!(sim.events(), [Event::Start { partition: orders(0), token, position: Position::at(10) }]);
}

#[test]
fn reports_under_an_old_token_are_ignored() {
    let (mut sim, old) = Sim::flowing(|_| {});
    sim.offsets.seek(sim.now, &orders(0), StartAt::Offset(Position::at(3))).unwrap();
    sim.events();
    sim.offsets.validate(sim.now, &orders(0), old, at(10, 4));
    sim.offsets.on_out_of_range(sim.now, &orders(0), old, at(10, 4));
    sim.offsets.on_out_of_range(sim.now, &orders(1), old, at(10, 4));
    assert_eq!(sim.events(), []);
    sim.quiet();
}

#[test]
fn events_found_while_sending_wake_the_loop() {
    let (mut sim, _) = validating(ResetPolicy::Latest);
    sim.cluster.topics.get_mut("orders").unwrap().partitions.get_mut(&0).unwrap().epoch = None;
    assert!(sim.next_transmit().is_none());
    assert_eq!(sim.offsets.poll_timeout(), Some(sim.now));
}
