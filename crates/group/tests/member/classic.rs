//! Scenarios of the classic protocol, with several members and a model of the coordinator.

use crate::sim::{Saw, Sim, coordinator::Phase};
use offtake_group::{
    BuiltIn::{self as Assignor, CooperativeSticky, Range, RoundRobin, Sticky},
    Config,
};
use offtake_machine::{Topic, TopicPartition};
use offtake_wire::{
    ApiKey, ConsumerProtocolSubscription, ErrorCode, HeartbeatResponse, JoinGroupResponse, SyncGroupResponse,
};

fn cooperative(seed: u64) -> Sim {
    Sim::seeded(seed).with_topic("orders", 4).with(&[CooperativeSticky])
}

fn eager(seed: u64) -> Sim {
    Sim::seeded(seed).with_topic("orders", 4).with(&[Range])
}

fn beat(error_code: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse { error_code, ..Default::default() }
}

fn assignments(sim: &Sim, who: usize) -> usize {
    sim.saw(who).iter().filter(|saw| matches!(saw, Saw::Assigned { .. })).count()
}

// ── joining ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_lonely_member_gets_everything() {
    let mut sim = eager(1);
    let a = sim.join();
    sim.settle();
    assert_eq!(sim.has(a), 4);
    assert_eq!(sim.count(a, ApiKey::JoinGroup), 2, "once for an id, once with it (KIP-394)");
}

#[test]
fn every_assignor_shares_out_everything() {
    for assignor in Assignor::ALL {
        let mut sim = Sim::seeded(3).with_topic("a", 5).with_topic("b", 4).with(&[assignor]);
        let members = [sim.join(), sim.join(), sim.join()];
        sim.settle();
        assert_eq!(members.map(|m| sim.has(m)).iter().sum::<usize>(), 9);
        assert!(assignor == Range || members.iter().all(|m| sim.has(*m) == 3));
    }
}

#[test]
fn a_member_that_gets_nothing_hears_of_it_too() {
    let mut sim = Sim::seeded(2).with_topic("one", 1).with(&[RoundRobin]);
    let members = [sim.join(), sim.join()];
    sim.settle();
    let idle = members.into_iter().find(|m| sim.has(*m) == 0).unwrap();
    let last = sim.saw(idle).last().copied().cloned();
    assert!(matches!(last, Some(Saw::Assigned { added, owned, .. }) if added.is_empty() && owned.is_empty()));
}

#[test]
fn d3_a_lost_join_answer_leaves_no_ghost() {
    let mut sim = eager(4);
    let a = sim.join();
    sim.until("it has an id", |sim| sim.count(a, ApiKey::JoinGroup) == 2);
    sim.loses_answers = 100;
    sim.run(50);
    sim.loses_answers = 0;
    sim.settle();
    let ids: Vec<_> = sim.joins.iter().map(|(_, join)| join.member_id.clone()).skip(1).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{ids:?}");
    assert_eq!(sim.coordinator.member_ids(), [ids[0].clone()]);
}

#[test]
fn d11_a_join_that_outlasts_the_session_costs_nobody_the_membership() {
    let mut sim = eager(5);
    let a = sim.join();
    sim.settle();
    sim.processes[a].callback_takes = 20_000; // the session is 10 s
    let b = sim.join();
    sim.settle();
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
    assert!(sim.coordinator.expelled.is_empty(), "{:?}", sim.coordinator.expelled);
    assert!(sim.lost(a).is_empty() && sim.lost(b).is_empty());
}

#[test]
fn d10_a_full_group_is_said_so_once() {
    let mut sim = eager(6);
    sim.coordinator.most_members = 1;
    sim.join();
    sim.settle();
    let b = sim.join();
    sim.run(30_000);
    assert!(sim.failure(b).unwrap().to_string().contains("group.max.size"));
    assert_eq!(sim.count(b, ApiKey::JoinGroup), 1);
}

#[test]
fn d10_a_group_without_a_common_assignor_is_said_so_once() {
    let mut sim = eager(6);
    sim.join();
    sim.settle();
    let topics = vec![Topic::from("orders")];
    let b = sim
        .start(Config { assignors: vec![Sticky.into(), RoundRobin.into()], ..sim.template.clone() }, topics);
    sim.run(30_000);
    let sentence = sim.failure(b).unwrap().to_string();
    assert!(sentence.contains("partition.assignment.strategy (sticky, roundrobin)"), "{sentence}");
    assert_eq!(sim.count(b, ApiKey::JoinGroup), 1);
}

#[test]
fn c6_a_refused_group_is_said_so_once_and_a_new_subscribe_tries_again() {
    let mut sim = eager(7);
    let refused = JoinGroupResponse { error_code: ErrorCode::GroupAuthorizationFailed, ..Default::default() };
    sim.answer_instead(ApiKey::JoinGroup, refused);
    let a = sim.join();
    sim.run(60_000);
    assert!(sim.failure(a).unwrap().to_string().contains("needs READ on the group"));
    assert_eq!(sim.count(a, ApiKey::JoinGroup), 1);
    sim.subscribe(a, &["orders"]);
    sim.settle();
    assert_eq!(sim.has(a), 4);
}

#[test]
fn c2_a_loading_coordinator_is_waited_for_with_growing_patience() {
    let mut sim = eager(8);
    sim.coordinator.loading_until = 20_000;
    let a = sim.join();
    sim.run(20_000);
    let asked = sim.count(a, ApiKey::JoinGroup);
    assert!((15..40).contains(&asked), "{asked}");
    assert!(sim.saw(a).contains(&&Saw::Trouble));
    sim.settle();
    assert!(sim.saw(a).contains(&&Saw::Recovered));
}

// ── the start of a generation ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn d1_an_eager_member_lets_everything_go_before_it_joins_again() {
    let mut sim = eager(9);
    let a = sim.join();
    sim.settle();
    sim.processes[a].callback_takes = 700;
    let joins = sim.count(a, ApiKey::JoinGroup);
    sim.join();
    sim.until("a hears of it", |sim| !sim.revoked(a).is_empty());
    assert_eq!(sim.revoked(a).len(), 4);
    assert!(sim.processes[a].member.identity().is_some(), "a commit is still possible");
    sim.run(600);
    assert_eq!(sim.count(a, ApiKey::JoinGroup), joins, "it has not let go yet");
    sim.settle();
    assert_eq!(sim.has(a), 2);
}

#[test]
fn a_second_cooperative_member_takes_only_its_share() {
    let mut sim = cooperative(7);
    let a = sim.join();
    sim.settle();
    let kept = sim.processes[a].has.clone();
    let b = sim.join();
    sim.settle();
    assert_eq!(sim.revoked(a).len(), 2, "what stays is never given up");
    assert!(sim.processes[a].has.is_subset(&kept));
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
}

#[test]
fn e1_a_partition_moves_only_after_its_owner_has_let_go() {
    let mut sim = cooperative(10);
    let a = sim.join();
    sim.settle();
    sim.processes[a].callback_takes = 5_000;
    let b = sim.join();
    sim.settle();
    let revoked = sim.processes[a].saw.iter().find(|(_, saw)| matches!(saw, Saw::Revoked(_))).unwrap().0;
    let assigned = sim.processes[b].saw.iter().find_map(|(at, saw)| match saw {
        Saw::Assigned { added, .. } if !added.is_empty() => Some(*at),
        _ => None,
    });
    assert!(assigned.unwrap() >= revoked + 5_000);
}

#[test]
fn live3_a_cooperative_change_takes_two_rounds() {
    let mut sim = cooperative(11);
    sim.join();
    sim.settle();
    let before = sim.coordinator.generation();
    sim.join();
    sim.settle();
    assert_eq!(sim.coordinator.generation(), before + 2);
    sim.run(60_000);
    assert_eq!(sim.coordinator.generation(), before + 2, "and then there is peace");
}

#[test]
fn kept_partitions_flow_through_a_cooperative_rebalance() {
    let mut sim = cooperative(12);
    let a = sim.join();
    sim.settle();
    let joined = sim.join();
    let mut least = 4;
    while !sim.is_settled() {
        sim.run(1);
        least = least.min(sim.hands_out(a).len());
    }
    assert_eq!((least, sim.has(joined)), (2, 2));
}

#[test]
fn d4_a_generation_that_gave_us_nothing_does_not_renew_our_claim() {
    let mut sim = cooperative(13);
    let a = sim.join();
    sim.settle();
    let before = sim.coordinator.generation();
    let again = SyncGroupResponse { error_code: ErrorCode::RebalanceInProgress, ..Default::default() };
    sim.answer_instead(ApiKey::SyncGroup, again);
    sim.set_partitions("orders", 6);
    sim.until("joined twice more", |sim| sim.count(a, ApiKey::JoinGroup) == 4);
    let claims: Vec<_> = sim.joins.iter().map(|(_, join)| join).skip(2).collect();
    for claim in &claims {
        let metadata = claim.protocols[0].metadata.clone();
        let told = ConsumerProtocolSubscription::decode_versioned(metadata).unwrap();
        assert_eq!(told.generation_id, before, "the one it was assigned in");
        assert_eq!(told.owned_partitions[0].partitions, [0, 1, 2, 3]);
        assert_eq!(claim.member_id, claims[0].member_id);
    }
    sim.settle();
    assert!(sim.revoked(a).is_empty() && sim.lost(a).is_empty());
}

#[test]
fn d5_a_leader_that_dies_before_it_assigns_is_got_over() {
    let mut sim = eager(14);
    let a = sim.join();
    sim.settle();
    let b = sim.join();
    sim.until("joined", |sim| sim.coordinator.phase() == Phase::Completing);
    sim.kill(a); // leads, and has not synced
    let killed = sim.now;
    sim.settle();
    assert_eq!(sim.has(b), 4);
    assert!(sim.now - killed <= sim.rebalance() + sim.session());
}

#[test]
fn d8_a_subscription_that_changes_during_a_rebalance_costs_one_more_join() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(15).with_topic("a", 2).with_topic("b", 2).with(assignors);
        let a = sim.join();
        sim.until("the join with the id is under way", |sim| sim.count(a, ApiKey::JoinGroup) == 2);
        sim.subscribe(a, &["a"]);
        sim.run(5_000);
        assert_eq!(sim.count(a, ApiKey::JoinGroup), 3);
        assert_eq!(sim.saw(a).len(), 1, "the stale assignment was dropped: {:?}", sim.saw(a));
        assert_eq!(sim.has(a), 2);
    }
}

#[test]
fn a_cooperative_member_that_unsubscribes_from_a_topic_lets_only_that_go() {
    let mut sim = Sim::seeded(16).with_topic("a", 2).with_topic("b", 2).with(&[CooperativeSticky]);
    let a = sim.join();
    sim.settle();
    sim.subscribe(a, &["a"]);
    sim.subscribe(a, &["a"]);
    sim.run(5_000);
    assert_eq!(sim.revoked(a), [TopicPartition::new("b", 0), TopicPartition::new("b", 1)]);
    assert_eq!(sim.count(a, ApiKey::JoinGroup), 3);
}

#[test]
fn d9_a_callback_that_outlives_the_rebalance_costs_the_membership_but_not_the_group() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(17).with_topic("orders", 4).with(assignors);
        let a = sim.join();
        sim.settle();
        sim.processes[a].callback_takes = 2 * sim.rebalance();
        let b = sim.join();
        sim.until("b has it all", |sim| sim.has(b) == 4);
        assert_eq!(sim.hands_out(a).len(), 0);
        sim.run(3_100); // until the next heartbeat
        assert!(sim.processes[a].member.identity().is_none(), "nothing to commit with");
        assert_eq!(sim.hands_out(a).len(), 0);
        sim.processes[a].callback_takes = 0;
        sim.run(sim.rebalance() * 2);
        sim.settle();
        assert_eq!((sim.has(a), sim.has(b)), (2, 2));
    }
}

#[test]
fn d12_live4_fifty_members_one_by_one_need_at_most_two_generations_each() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(18).with_topic("orders", 60).with(assignors);
        for _ in 0..50 {
            sim.join();
            sim.settle();
        }
        let generations = sim.coordinator.generations.len();
        assert!(generations <= 2 * 50 + 2, "{generations}");
        assert!((0..50).all(|m| (1..=2).contains(&sim.has(m))));
    }
}

#[test]
fn fifty_members_at_once_are_quick_too() {
    let mut sim = Sim::seeded(19).with_topic("orders", 60).with(&[CooperativeSticky]);
    sim.coordinator.initial_delay = 3_000;
    for _ in 0..50 {
        sim.join();
    }
    sim.settle();
    assert!(sim.now < 10_000 && sim.coordinator.generation() <= 3, "{} ms", sim.now);
}

#[test]
fn e6_a_vote_that_turns_eager_takes_nothing_that_somebody_still_holds() {
    let mut sim = Sim::seeded(20).with_topic("orders", 4).with(&[CooperativeSticky, Range]);
    let a = sim.join();
    sim.settle();
    sim.template.assignors = vec![Range.into()];
    let b = sim.join();
    sim.settle();
    assert_eq!(sim.revoked(a).len(), 4, "everything, for range might give it to anybody");
    sim.leave(b);
    sim.settle(); // the vote returns to the old assignor
    assert_eq!(sim.has(a), 4);
}

#[test]
fn e11_partitions_revoked_and_returned_are_assigned_anew() {
    let mut sim = eager(21);
    let a = sim.join();
    sim.settle();
    sim.join();
    sim.settle();
    let saw = sim.saw(a);
    let [Saw::Assigned { .. }, Saw::Revoked(all), Saw::Assigned { added, .. }] = saw[..] else {
        panic!("{saw:?}")
    };
    assert!(added.iter().all(|partition| all.contains(partition)) && added.len() == 2);
}

// ── staying ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn heartbeats_keep_their_interval_and_nothing_else_is_sent() {
    let mut sim = eager(22);
    let a = sim.join();
    sim.settle();
    let from = sim.requests.len();
    sim.run(60_000);
    let beats: Vec<_> = sim.requests[from..].iter().map(|(at, _, api)| (*at, *api)).collect();
    assert!(beats.iter().all(|(_, api)| *api == ApiKey::Heartbeat));
    assert!(beats.windows(2).all(|w| w[1].0 - w[0].0 == 3_000), "{beats:?}");
    assert_eq!(assignments(&sim, a), 1);
}

#[test]
fn c1_a_heartbeat_at_the_wrong_broker_costs_a_search_and_no_rebalance() {
    for code in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable] {
        let mut sim = eager(23);
        let a = sim.join();
        sim.settle();
        sim.answer_instead(ApiKey::Heartbeat, beat(code));
        sim.run(60_000);
        assert_eq!((assignments(&sim, a), sim.saw(a).len()), (1, 1));
        assert_eq!(sim.coordinator.generation(), 1);
    }
}

#[test]
fn c4_a_coordinator_that_fails_over_in_time_costs_no_rebalance() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(24).with_topic("orders", 4).with(assignors);
        let (a, b) = (sim.join(), sim.join());
        sim.settle();
        let before = sim.coordinator.generation();
        let seen = (sim.saw(a).len(), sim.saw(b).len());
        for _ in 0..3 {
            sim.fail_over(4_000);
            sim.run(20_000);
        }
        assert_eq!(sim.coordinator.generation(), before);
        assert_eq!((sim.saw(a).len(), sim.saw(b).len()), seen);
    }
}

#[test]
fn c7_answers_that_come_twice_change_nothing() {
    let mut sim = cooperative(25);
    sim.repeats_answers = 100;
    let (a, b) = (sim.join(), sim.join());
    sim.settle();
    sim.run(30_000);
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
    assert!(sim.lost(a).is_empty() && sim.lost(b).is_empty());
}

#[test]
fn d2_an_unknown_member_loses_everything_and_joins_as_a_new_one() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(26).with_topic("orders", 4).with(assignors);
        let a = sim.join();
        sim.settle();
        let id = sim.processes[a].member.identity().unwrap().member_id;
        sim.coordinator.expel(sim.now, &id);
        sim.settle();
        assert_eq!((sim.lost(a).len(), sim.revoked(a).len()), (4, 0));
        assert_ne!(sim.processes[a].member.identity().unwrap().member_id, id);
    }
}

#[test]
fn d2_an_illegal_generation_loses_everything_but_not_the_member_id() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(27).with_topic("orders", 4).with(assignors);
        let a = sim.join();
        sim.settle();
        let id = sim.processes[a].member.identity().unwrap().member_id;
        sim.coordinator.skip_a_generation();
        sim.until("lost", |sim| !sim.lost(a).is_empty());
        sim.settle();
        assert_eq!((sim.lost(a).len(), sim.revoked(a).len()), (4, 0));
        assert_eq!(sim.processes[a].member.identity().unwrap().member_id, id);
    }
}

#[test]
fn lost_is_let_go_before_the_member_joins_again() {
    let mut sim = eager(28);
    let a = sim.join();
    sim.settle();
    let joins = sim.count(a, ApiKey::JoinGroup);
    sim.processes[a].callback_takes = 8_000;
    sim.coordinator.skip_a_generation();
    sim.until("lost", |sim| !sim.lost(a).is_empty());
    sim.run(7_000);
    assert_eq!(sim.count(a, ApiKey::JoinGroup), joins);
    sim.settle();
}

#[test]
fn new_partitions_are_noticed_by_the_leader_alone_and_assigned() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(29).with_topic("orders", 4).with(assignors);
        sim.join();
        sim.join();
        sim.settle();
        let joins = sim.joins.len();
        sim.set_partitions("orders", 6);
        sim.run(100);
        assert_eq!(sim.joins.len(), joins + 1, "the others hear of it by heartbeat");
        sim.settle();
        assert_eq!(sim.assigned().len(), 6);
    }
}

#[test]
fn m1_a_member_that_does_not_poll_leaves_and_rejoins_with_the_next_poll() {
    let mut sim = cooperative(30);
    let (a, b) = (sim.join(), sim.join());
    sim.settle();
    sim.processes[a].polls_every = None;
    let silent = sim.now;
    sim.until("it is warned", |sim| sim.saw(a).contains(&&Saw::Warned));
    assert!(sim.now - silent >= sim.rebalance() / 5 * 4 - 500 && sim.now - silent <= sim.rebalance() / 5 * 4);
    sim.run(sim.rebalance() / 5 + 5_000);
    assert!(sim.saw(a).contains(&&Saw::Exceeded));
    assert_eq!(sim.saw(a).iter().filter(|saw| ***saw == Saw::Warned).count(), 1, "once");
    assert_eq!(sim.lost(a).len(), 2);
    assert_eq!(sim.count(a, ApiKey::LeaveGroup), 1);
    assert_eq!(sim.has(b), 4);
    sim.run(60_000);
    assert_eq!(sim.processes[a].member.state_name(), "not polled");
    sim.processes[a].polls_every = Some(500);
    sim.settle();
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
}

#[test]
fn m2_a_member_cut_off_for_a_session_has_lost_its_partitions() {
    for assignors in [&[Range], &[CooperativeSticky]] {
        let mut sim = Sim::seeded(31).with_topic("orders", 4).with(assignors);
        let (a, b) = (sim.join(), sim.join());
        sim.settle();
        sim.cut.insert(a);
        let cut = sim.now;
        sim.until("it gives itself up", |sim| !sim.lost(a).is_empty());
        assert!(sim.now <= cut + sim.session());
        sim.until("b has it all", |sim| sim.has(b) == 4);
        assert!(sim.now - cut <= sim.session() + 5_000, "LIVE5");
        sim.cut.clear();
        sim.settle();
        assert_eq!((sim.has(a), sim.has(b)), (2, 2));
    }
}

#[test]
fn m4_a_member_that_wakes_after_its_session_hands_nothing_out() {
    let mut sim = cooperative(32);
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
fn q4_a_code_from_the_future_is_asked_about_a_few_times_and_then_told() {
    let mut sim = eager(33);
    let a = sim.join();
    sim.settle();
    for _ in 0..10 {
        sim.answer_instead(ApiKey::Heartbeat, beat(ErrorCode::Unknown(999)));
    }
    sim.run(60_000);
    assert!(sim.failure(a).unwrap().to_string().contains("999"));
    assert_eq!(sim.lost(a).len(), 4);
}

// ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn e8_leaving_is_said_at_once() {
    let mut sim = cooperative(34);
    let (a, b) = (sim.join(), sim.join());
    sim.settle();
    sim.leave(a);
    sim.run(20);
    assert_eq!(sim.saw(a).last(), Some(&&Saw::Left));
    sim.settle();
    assert_eq!(sim.has(b), 4);
    assert_eq!(sim.coordinator.expelled.last().unwrap().2, "left");
}

#[test]
fn n2_leaving_without_a_coordinator_is_given_up_in_time() {
    let mut sim = eager(35);
    let a = sim.join();
    sim.settle();
    sim.cut.insert(a);
    sim.leave(a);
    sim.run(5_100);
    assert_eq!(sim.saw(a).last(), Some(&&Saw::Left));
}

#[test]
fn a_member_that_resubscribes_is_not_overtaken_by_its_own_leave_request() {
    let mut sim = eager(36);
    let a = sim.join();
    sim.settle();
    sim.leave(a);
    sim.subscribe(a, &["orders"]);
    sim.settle();
    assert_eq!(sim.has(a), 4);
    assert_eq!(sim.saw(a).iter().filter(|saw| matches!(saw, Saw::Left)).count(), 1);
}

// ── static members ───────────────────────────────────────────────────────────────────────────────────────────────────

fn two_static_members(assignor: Assignor) -> (Sim, usize, usize) {
    let mut sim = Sim::seeded(40).with_topic("orders", 4).with(&[assignor]);
    let (a, b) = (sim.join_static("a"), sim.join_static("b"));
    sim.settle();
    (sim, a, b)
}

#[test]
fn g1_the_older_of_two_with_one_instance_id_ends_for_good() {
    let (mut sim, a, _) = two_static_members(Range);
    let twin = sim.join_static("a");
    sim.run(30_000);
    assert!(sim.failure(a).unwrap().to_string().contains("group.instance.id a"));
    assert_eq!(sim.lost(a).len(), 2);
    assert_eq!(sim.has(twin), 2);
    let sent = sim.requests.len();
    let before = sim.count(a, ApiKey::JoinGroup);
    sim.run(60_000);
    assert!(sim.requests.len() > sent && sim.count(a, ApiKey::JoinGroup) == before, "no ping-pong");
}

#[test]
fn g2_a_restart_within_the_session_moves_nothing() {
    for assignor in [Range, CooperativeSticky] {
        let (mut sim, a, b) = two_static_members(assignor);
        let (generation, had, seen) =
            (sim.coordinator.generation(), sim.processes[a].has.clone(), sim.saw(b).len());
        sim.kill(a);
        sim.run(4_000);
        let again = sim.join_static("a");
        sim.run(4_000);
        assert_eq!(sim.processes[again].has, had);
        assert_eq!((sim.coordinator.generation(), sim.saw(b).len()), (generation, seen));
    }
}

#[test]
fn g2_a_static_member_that_leaves_says_nothing_and_keeps_its_place() {
    let (mut sim, a, b) = two_static_members(CooperativeSticky);
    sim.leave(a);
    sim.run(2_000);
    assert_eq!(sim.count(a, ApiKey::LeaveGroup), 0);
    assert_eq!(sim.saw(a).last(), Some(&&Saw::Left));
    sim.subscribe(a, &["orders"]);
    sim.run(2_000);
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
    assert_eq!(sim.coordinator.generation(), sim.coordinator.generations.len() as i32);
}

#[test]
fn g3_a_leader_that_comes_back_still_notices_new_partitions() {
    for skips in [true, false] {
        let (mut sim, a, b) = two_static_members(Range);
        sim.coordinator.skips_assignment = skips;
        let leader = sim.coordinator.leader().to_owned();
        let leads =
            [a, b].into_iter().find(|p| sim.processes[*p].member.identity().unwrap().member_id == leader);
        let name = if leads == Some(a) { "a" } else { "b" };
        sim.kill(leads.unwrap());
        let again = sim.join_static(name);
        sim.run(4_000);
        assert_eq!(sim.has(again), 2);
        sim.set_partitions("orders", 6);
        sim.settle();
        assert_eq!(sim.assigned().len(), 6);
    }
}

#[test]
fn g4_a_restart_with_another_subscription_is_a_rebalance() {
    let mut sim = Sim::seeded(41).with_topic("x", 2).with_topic("y", 2).with(&[Range]);
    let a = sim.join_static("a");
    let b = sim.join_static("b");
    sim.settle();
    sim.kill(a);
    let config = Config { instance_id: Some("a".into()), ..sim.template.clone() };
    let again = sim.start(config, vec!["x".into()]);
    sim.settle();
    assert_eq!((sim.has(again), sim.has(b)), (1, 3));
}

#[test]
fn g5_an_id_that_was_swapped_survives_a_failover() {
    let (mut sim, a, _) = two_static_members(Range);
    sim.kill(a);
    let again = sim.join_static("a");
    sim.run(2_000);
    sim.fail_over(1_000);
    sim.run(20_000);
    assert!(sim.lost(again).is_empty() && sim.failure(again).is_none());
    assert_eq!(sim.has(again), 2);
}

#[test]
fn m1_a_static_member_that_does_not_poll_just_falls_silent() {
    let (mut sim, a, b) = two_static_members(Range);
    sim.processes[a].polls_every = None;
    sim.run(sim.rebalance() + sim.session() + 8_000);
    assert_eq!((sim.count(a, ApiKey::LeaveGroup), sim.lost(a).len()), (0, 2));
    assert_eq!(sim.has(b), 4, "the session has expired");
    sim.processes[a].polls_every = Some(500);
    sim.settle();
    assert_eq!((sim.has(a), sim.has(b)), (2, 2));
}
