//! Scenarios of the consumer protocol (KIP-848), with several members and a model of the broker.

use std::sync::Arc;

use crate::sim::{Saw, Sim};
use offtake_group::{Config, GroupError, Protocol};
use offtake_machine::Topic;
use offtake_wire::{
    ApiKey, ConsumerGroupHeartbeatResponse, ErrorCode, Uuid,
    messages::consumer_group_heartbeat::{Assignment, TopicPartitions},
};

fn modern(seed: u64) -> Sim {
    Sim::seeded(seed).with_topic("orders", 4).modern()
}

fn refusal(error_code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }
}

fn member_id(sim: &Sim, who: usize) -> String {
    sim.processes[who].member.identity().unwrap().member_id
}

#[test]
fn a_lonely_member_gets_everything() {
    let mut sim = modern(1);
    let a = sim.join();
    sim.settle();
    assert_eq!(sim.has(a), 4);
    assert_eq!(sim.saw(a).len(), 1, "assigned once: {:?}", sim.saw(a));
}

#[test]
fn f14_the_first_heartbeat_has_all_fields_and_later_ones_only_changes() {
    let mut sim = modern(2);
    sim.template.protocol = Protocol::Consumer { remote_assignor: Some("range".into()) };
    sim.template.rack = Some("r".into());
    let a = sim.join();
    sim.settle();
    assert_eq!(sim.processes[a].member.assignor(), Some("range"));
    sim.run(10_000);
    let heard = &sim.coordinator.modern.heard;
    let [join, ack, beat, ..] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((join.member_epoch, join.rebalance_timeout_ms), (0, 30_000));
    assert_eq!((join.server_assignor.as_deref(), join.rack_id.as_deref()), (Some("range"), Some("r")));
    assert_eq!(join.subscribed_topic_names, Some(vec!["orders".to_owned()]));
    assert_eq!(join.member_id, member_id(&sim, a), "of our own making (KIP-1082)");
    assert_eq!(ack.topic_partitions.as_ref().map(|t| t[0].partitions.clone()), Some(vec![0, 1, 2, 3]));
    assert_eq!((&ack.subscribed_topic_names, ack.rebalance_timeout_ms), (&None, -1));
    assert_eq!((&beat.topic_partitions, &beat.server_assignor, &beat.rack_id), (&None, &None, &None));
}

#[test]
fn e1_a_partition_moves_only_after_its_owner_has_let_go() {
    let mut sim = modern(3);
    let a = sim.join();
    sim.settle();
    sim.processes[a].callback_takes = 5_000;
    let b = sim.join();
    sim.settle();
    assert_eq!((sim.has(a), sim.has(b), sim.revoked(a).len()), (2, 2, 2));
    let revoked = sim.processes[a].saw.iter().find(|(_, saw)| matches!(saw, Saw::Revoked(_))).unwrap().0;
    let assigned = sim.processes[b].saw.iter().find_map(|(at, saw)| match saw {
        Saw::Assigned { added, .. } if !added.is_empty() => Some(*at),
        _ => None,
    });
    assert!(assigned.unwrap() >= revoked + 5_000);
}

#[test]
fn live3_a_change_takes_three_heartbeat_intervals_at_most() {
    let mut sim = modern(4);
    sim.join();
    sim.settle();
    let from = sim.now;
    sim.join();
    sim.settle();
    assert!(sim.now - from <= 3 * 3_000, "{}", sim.now - from);
}

#[test]
fn heartbeats_go_on_while_the_application_lets_go() {
    let mut sim = modern(5);
    let a = sim.join();
    sim.settle();
    sim.processes[a].callback_takes = 20_000; // the session is 10 s
    sim.join();
    sim.settle();
    assert!(sim.lost(a).is_empty() && sim.coordinator.modern.expelled.is_empty());
}

#[test]
fn f1_a_fenced_member_loses_everything_and_rejoins_under_the_same_member_id() {
    let mut sim = modern(6);
    let a = sim.join();
    sim.settle();
    let id = member_id(&sim, a);
    sim.processes[a].callback_takes = 7_000;
    sim.coordinator.modern.instead.push(refusal(ErrorCode::FencedMemberEpoch));
    sim.until("lost", |sim| !sim.lost(a).is_empty());
    let said = sim.count(a, ApiKey::ConsumerGroupHeartbeat);
    sim.run(6_900);
    assert_eq!(sim.count(a, ApiKey::ConsumerGroupHeartbeat), said, "silent while it lets go");
    assert!(sim.processes[a].member.identity().is_none());
    sim.settle();
    assert_eq!((sim.lost(a).len(), sim.revoked(a).len(), sim.has(a)), (4, 0, 4));
    assert_eq!(member_id(&sim, a), id);
    assert_eq!(sim.coordinator.modern.heard.iter().filter(|beat| beat.member_epoch == 0).count(), 2);
}

#[test]
fn f1_a_lost_answer_costs_nothing_because_the_next_heartbeat_says_what_we_own() {
    let mut sim = modern(7);
    let a = sim.join();
    sim.settle();
    let b = sim.join();
    for _ in 0..6 {
        sim.loses_answers = 100;
        sim.run(2_000);
        sim.loses_answers = 0;
        sim.run(2_000);
    }
    sim.settle();
    assert!(sim.lost(a).is_empty() && sim.lost(b).is_empty());
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
}

#[test]
fn c8_a_group_that_the_broker_has_forgotten_is_joined_anew() {
    for code in [ErrorCode::UnknownMemberId, ErrorCode::GroupIdNotFound] {
        let mut sim = modern(8);
        let a = sim.join();
        sim.settle();
        let id = member_id(&sim, a);
        sim.coordinator.modern.expel(sim.now, &id);
        sim.coordinator.modern.instead.push(refusal(code));
        sim.until("lost", |sim| !sim.lost(a).is_empty());
        sim.settle();
        assert_eq!((sim.has(a), member_id(&sim, a)), (4, id));
    }
}

#[test]
fn f3_a_stale_epoch_on_a_commit_asks_for_the_new_one_and_loses_nothing() {
    let mut sim = modern(9);
    let a = sim.join();
    sim.settle();
    sim.run(500);
    let (now, identity) = (sim.at(sim.now), sim.processes[a].member.identity().unwrap());
    let said = sim.count(a, ApiKey::ConsumerGroupHeartbeat);
    sim.processes[a].member.on_commit_refused(now, ErrorCode::StaleMemberEpoch, &identity);
    sim.run(20);
    assert_eq!(sim.count(a, ApiKey::ConsumerGroupHeartbeat), said + 1);
    assert_eq!(sim.saw(a).len(), 1);
}

#[test]
fn f4_a_topic_without_a_name_is_parked_and_not_said_to_be_owned() {
    let mut sim = modern(10);
    let a = sim.join();
    sim.processes[a].cluster = Arc::default();
    sim.run(10_000);
    assert_eq!(sim.has(a), 0);
    assert_eq!(sim.processes[a].member.unnamed_topic_ids().len(), 1);
    let owning = |sim: &Sim| {
        let heard = sim.coordinator.modern.heard.iter();
        heard.filter(|beat| beat.topic_partitions.as_ref().is_some_and(|t| !t.is_empty())).count()
    };
    assert_eq!(owning(&sim), 0);
    sim.processes[a].cluster = Arc::new(sim.cluster());
    sim.settle();
    assert_eq!((sim.has(a), sim.processes[a].member.unnamed_topic_ids().len()), (4, 0));
    sim.run(20);
    assert_eq!(owning(&sim), 1);
}

#[test]
fn f4_unnamed_topic_ids_are_forgotten_with_the_membership() {
    let mut sim = modern(11);
    let a = sim.join();
    sim.processes[a].cluster = Arc::default();
    sim.run(1_000);
    sim.coordinator.modern.instead.push(refusal(ErrorCode::FencedMemberEpoch));
    sim.until("fenced", |sim| sim.processes[a].member.unnamed_topic_ids().is_empty());
    assert!(sim.lost(a).is_empty(), "it never had them");
    sim.processes[a].cluster = Arc::new(sim.cluster());
    sim.settle();
}

#[test]
fn f5_a_partition_named_twice_is_assigned_once() {
    let mut sim = modern(12);
    let a = sim.join();
    sim.settle();
    let epoch = sim.coordinator.modern.epoch();
    let mut topic_id = [7; 16];
    topic_id[..6].copy_from_slice(b"orders");
    let twice = TopicPartitions { topic_id: Uuid(topic_id), partitions: vec![3, 2, 3, 1, 0, 0, -2] };
    sim.coordinator.modern.instead.push(ConsumerGroupHeartbeatResponse {
        member_epoch: epoch,
        heartbeat_interval_ms: 3_000,
        assignment: Some(Assignment { topic_partitions: vec![twice.clone(), twice] }),
        ..Default::default()
    });
    sim.run(20_000);
    assert_eq!(sim.saw(a).len(), 1, "nothing new: {:?}", sim.saw(a));
}

#[test]
fn f6_an_answer_without_sense_makes_nobody_leave_or_spin() {
    let mut sim = modern(13);
    let a = sim.join();
    sim.settle();
    let identity = sim.processes[a].member.identity();
    for (member_epoch, heartbeat_interval_ms) in [(-1, 0), (0, -5), (-2, i32::MAX), (-1, 1)] {
        let odd =
            ConsumerGroupHeartbeatResponse { member_epoch, heartbeat_interval_ms, ..Default::default() };
        sim.coordinator.modern.instead.push(odd);
    }
    let said = sim.count(a, ApiKey::ConsumerGroupHeartbeat);
    sim.run(20_000);
    assert!(sim.coordinator.modern.instead.is_empty(), "each of them was heard");
    assert!(sim.count(a, ApiKey::ConsumerGroupHeartbeat) - said < 20, "and none was hurried by");
    assert_eq!((sim.processes[a].member.identity(), sim.saw(a).len()), (identity, 1));
}

#[test]
fn f6_input51_no_interval_that_a_broker_asks_for_makes_a_member_spin_or_lose_its_place() {
    for (wanted, least, most) in [(0, 10, 40), (-5, 10, 40), (1, 10, 600), (i32::MAX, 10, 40)] {
        let mut sim = modern(13);
        let (a, b) = (sim.join(), sim.join());
        sim.settle();
        sim.run(20_000);
        sim.coordinator.modern.wanted_interval = Some(wanted);
        sim.run(10_000);
        let said = sim.count(a, ApiKey::ConsumerGroupHeartbeat);
        sim.run(60_000);
        let beats = sim.count(a, ApiKey::ConsumerGroupHeartbeat) - said;
        assert!((least..=most).contains(&beats), "{wanted} ms: {beats} heartbeats in a minute");
        assert!(sim.lost(a).is_empty() && sim.lost(b).is_empty(), "{wanted} ms");
        assert!(
            sim.coordinator.modern.expelled.is_empty(),
            "{wanted} ms: {:?}",
            sim.coordinator.modern.expelled
        );
        assert_eq!(sim.hands_out(a).len(), 2, "{wanted} ms");
    }
}

#[test]
fn f7_a_target_that_changes_while_the_application_lets_go_counts_and_the_old_one_does_not() {
    let mut sim = modern(14);
    let a = sim.join();
    sim.settle();
    sim.processes[a].callback_takes = 8_000;
    let b = sim.join();
    sim.until("a lets go", |sim| !sim.revoked(a).is_empty());
    sim.kill(b); // fenced after the session, then everything is assigned to a again
    sim.settle();
    assert_eq!(sim.has(a), 4);
    assert!(sim.lost(a).is_empty());
}

#[test]
fn f8_a_member_that_does_not_poll_leaves_and_rejoins_with_the_next_poll() {
    for instance in [None, Some("i")] {
        let mut sim = modern(15);
        let a = match instance {
            Some(name) => sim.join_static(name),
            None => sim.join(),
        };
        sim.join();
        sim.settle();
        sim.processes[a].polls_every = None;
        sim.run(sim.rebalance() + 1_000);
        assert_eq!(sim.saw(a).iter().filter(|saw| ***saw == Saw::Warned).count(), 1, "once, before");
        assert!(sim.saw(a).contains(&&Saw::Exceeded));
        assert_eq!(sim.lost(a).len(), 2);
        let last = sim.coordinator.modern.heard.iter().rev().find(|beat| beat.member_epoch < 0).unwrap();
        assert_eq!(last.member_epoch, if instance.is_some() { -2 } else { -1 });
        sim.run(5_000);
        sim.processes[a].polls_every = Some(500);
        sim.settle();
        assert_eq!(sim.has(a), 2);
    }
}

#[test]
fn f9_leaving_at_the_wrong_broker_is_retried_and_an_unknown_member_has_left() {
    let mut sim = modern(16);
    let a = sim.join();
    sim.settle();
    sim.run(100);
    for code in [ErrorCode::NotCoordinator, ErrorCode::UnknownMemberId] {
        sim.coordinator.modern.instead.push(refusal(code));
    }
    sim.leave(a);
    sim.run(1_000);
    let leaving = sim.coordinator.modern.heard.iter().filter(|beat| beat.member_epoch == -1).count();
    assert_eq!((leaving, sim.saw(a).last()), (2, Some(&&Saw::Left)));
}

#[test]
fn f11_an_unrecoverable_error_ends_the_member_with_a_clear_message() {
    let cases = [
        (ErrorCode::UnsupportedAssignor, "UNSUPPORTED_ASSIGNOR"),
        (ErrorCode::InvalidRegularExpression, "RE2 syntax"),
        (ErrorCode::UnsupportedVersion, "group.protocol=classic"),
        (ErrorCode::GroupAuthorizationFailed, "READ"),
        (ErrorCode::GroupMaxSizeReached, "group.consumer.max.size"),
        (ErrorCode::FencedInstanceId, "taken over"),
        (ErrorCode::InvalidRequest, "because we say so"),
    ];
    for (code, hint) in cases {
        let mut sim = modern(17);
        let error_message = Some("because we say so".into());
        sim.coordinator
            .modern
            .instead
            .push(ConsumerGroupHeartbeatResponse { error_message, ..refusal(code) });
        let a = sim.join();
        sim.run(60_000);
        let sentence = sim.failure(a).unwrap().to_string();
        assert!(sentence.contains(hint), "{sentence}");
        assert_eq!(sim.count(a, ApiKey::ConsumerGroupHeartbeat), 1);
    }
}

#[test]
fn f13_a_coordinator_that_flaps_is_spoken_of_once() {
    let mut sim = modern(18);
    let a = sim.join();
    sim.settle();
    for _ in 0..8 {
        sim.coordinator.modern.instead.push(refusal(ErrorCode::CoordinatorNotAvailable));
    }
    sim.run(30_000);
    let spoken: Vec<_> = sim.saw(a).into_iter().skip(1).collect();
    assert_eq!(spoken, [&Saw::Trouble, &Saw::Recovered]);
}

#[test]
fn c4_a_coordinator_that_fails_over_in_time_costs_nothing() {
    let mut sim = modern(19);
    let (a, b) = (sim.join(), sim.join());
    sim.settle();
    let (epoch, seen) = (sim.coordinator.modern.epoch(), (sim.saw(a).len(), sim.saw(b).len()));
    for _ in 0..3 {
        sim.fail_over(2_000);
        sim.run(20_000);
    }
    assert_eq!(sim.coordinator.modern.epoch(), epoch);
    let is_change = |saw: &Saw| match saw {
        Saw::Assigned { added, .. } => !added.is_empty(),
        Saw::Trouble | Saw::Recovered => false,
        _ => true,
    };
    for (who, before) in [(a, seen.0), (b, seen.1)] {
        let since = &sim.saw(who)[before..];
        assert!(!since.iter().any(|saw| is_change(saw)), "{since:?}");
    }
}

#[test]
fn g6_an_instance_id_in_use_is_waited_for_twice_as_long_as_a_session_and_no_longer() {
    let mut sim = modern(20);
    let a = sim.join_static("i");
    sim.settle();
    let twin = sim.join_static("i");
    sim.run(2 * sim.session() - 5_000);
    assert!(sim.failure(twin).is_none());
    sim.run(10_000);
    assert!(matches!(sim.failure(twin), Some(GroupError::UnreleasedInstanceId { .. })));
    assert_eq!(sim.has(a), 4);

    let mut sim = modern(20);
    let a = sim.join_static("i");
    sim.settle();
    sim.kill(a);
    let again = sim.join_static("i");
    sim.settle();
    assert_eq!(sim.has(again), 4);
}

#[test]
fn g2_a_static_member_that_restarts_properly_finds_its_partitions() {
    let mut sim = modern(21);
    let (a, b) = (sim.join_static("a"), sim.join_static("b"));
    sim.settle();
    let (had, epoch) = (sim.processes[a].has.clone(), sim.coordinator.modern.epoch());
    sim.leave(a);
    sim.run(2_000);
    assert_eq!(sim.saw(a).last(), Some(&&Saw::Left));
    sim.kill(a);
    let again = sim.join_static("a");
    sim.run(2_000);
    assert_eq!((&sim.processes[again].has, sim.coordinator.modern.epoch()), (&had, epoch));
    assert_eq!(sim.has(b), 2);
}

#[test]
fn b3_a_topic_that_was_deleted_and_made_again_is_another_one() {
    let mut sim = modern(22);
    let a = sim.join();
    sim.settle();
    let mut cluster = sim.cluster();
    let id = Uuid([9; 16]);
    cluster.topics.get_mut(&Topic::from("orders")).unwrap().id = id;
    sim.processes[a].cluster = Arc::new(cluster);
    sim.coordinator.modern.set_topics([("orders".to_owned(), (id, 2))].into());
    sim.run(20_000);
    let saw = sim.saw(a);
    let [Saw::Assigned { .. }, Saw::Revoked(old), .., Saw::Assigned { added, owned, .. }] = saw[..] else {
        panic!("{saw:?}")
    };
    assert_eq!((old.len(), added.len(), owned.len()), (4, 2, 2), "the old let go of, the new taken");
}

#[test]
fn d8_a_subscription_that_changes_is_said_at_once() {
    let mut sim = Sim::seeded(23).with_topic("a", 2).with_topic("b", 2).modern();
    let a = sim.join();
    sim.settle();
    sim.run(500);
    sim.subscribe(a, &["a"]);
    sim.run(1_000);
    assert_eq!((sim.has(a), sim.revoked(a).len(), sim.lost(a).len()), (2, 2, 0));
}

#[test]
fn m2_a_member_cut_off_for_a_session_has_lost_its_partitions() {
    let mut sim = modern(24);
    let (a, b) = (sim.join(), sim.join());
    sim.settle();
    sim.cut.insert(a);
    let cut = sim.now;
    sim.until("it gives itself up", |sim| !sim.lost(a).is_empty());
    assert!(sim.now <= cut + sim.session());
    sim.until("b has it all", |sim| sim.has(b) == 4);
    sim.cut.clear();
    sim.settle();
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
}

#[test]
fn m4_a_member_that_wakes_after_its_session_hands_nothing_out() {
    let mut sim = modern(25);
    let (a, b) = (sim.join(), sim.join());
    sim.settle();
    sim.stop_for(a, 30_000);
    sim.run(29_999);
    assert_eq!(sim.has(b), 4);
    assert!(sim.processes[a].member.valid_until().unwrap() < sim.at(sim.now));
    sim.run(2); // SAFE6 is checked at every step
    assert_eq!(sim.lost(a).len(), 2);
    sim.settle();
}

#[test]
fn fifty_members_settle_with_an_epoch_each() {
    let mut sim = Sim::seeded(26).with_topic("orders", 60).modern();
    for _ in 0..50 {
        sim.join();
    }
    sim.settle();
    assert!(sim.coordinator.modern.epoch() <= 52);
    let config = Config { protocol: sim.template.protocol.clone(), ..sim.template.clone() };
    assert_ne!(config.protocol, Protocol::Classic);
    let mut ids: Vec<String> = (0..50).map(|who| member_id(&sim, who)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50, "each has a name of its own");
}
