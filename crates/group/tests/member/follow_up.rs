//! Tests of the second rebalance of a cooperative change: when members learn of it, its cost, and which
//! member requests it when the one that should is gone. Also tests how a classic member leaves.

use std::time::Duration;

use crate::sim::{Saw, Sim, coordinator::Millis};
use offtake_group::{
    BuiltIn::{self, CooperativeSticky},
    GroupMembership,
};
use offtake_wire::ApiKey;

fn cooperative(seed: u64, partitions: i32) -> Sim {
    Sim::seeded(seed).with_topic("orders", partitions).with(&[CooperativeSticky])
}

/// The time of the first revocation of any member since then.
fn first_revoke(sim: &Sim, since: Millis) -> Millis {
    let saw = sim.processes.iter().flat_map(|process| &process.saw);
    let revoked = saw.filter(|(at, saw)| *at >= since && matches!(saw, Saw::Revoked(_)));
    revoked.map(|(at, _)| *at).min().unwrap()
}

/// The time of its last assignment of partitions.
fn last_gain(sim: &Sim, who: usize) -> Millis {
    let gained = sim.processes[who]
        .saw
        .iter()
        .filter(|(_, saw)| matches!(saw, Saw::Assigned { added, .. } if !added.is_empty()));
    gained.map(|(at, _)| *at).max().unwrap()
}

#[test]
fn live3_a_moving_partition_is_unowned_for_far_less_than_a_heartbeat_interval() {
    for seed in 0..20 {
        let mut sim = cooperative(seed, 6);
        sim.join();
        sim.join();
        sim.settle();
        sim.run(20_000);
        let joined = sim.now;
        let third = sim.join();
        sim.settle();
        let gap = last_gain(&sim, third) - first_revoke(&sim, joined);
        assert!(gap <= 400, "seed {seed}: {gap} ms");
        assert_eq!(sim.coordinator.generation(), sim.coordinator.generations.len() as i32);
    }
}

#[test]
fn live3_a_listener_that_takes_a_second_is_waited_for_at_the_same_pace() {
    let mut sim = cooperative(30, 6);
    for _ in 0..2 {
        let who = sim.join();
        sim.processes[who].callback_takes = 1_000;
    }
    sim.settle();
    sim.run(20_000);
    let joined = sim.now;
    let third = sim.join();
    sim.settle();
    let gap = last_gain(&sim, third) - first_revoke(&sim, joined);
    assert!((1_000..=1_700).contains(&gap), "{gap} ms");
}

#[test]
fn live3_members_learn_of_a_death_just_after_its_session_ends() {
    for seed in 0..20 {
        let sim = Sim::seeded(seed).with_topic("orders", 6).with(&[BuiltIn::Range]);
        let mut sim = sim.with_session(Duration::from_secs(9));
        let members = [sim.join(), sim.join(), sim.join()];
        sim.settle();
        let dies = members[usize::try_from(seed).unwrap() % members.len()];
        let began = last_gain(&sim, dies);
        sim.kill(dies);
        sim.settle();
        let rest = members.into_iter().filter(|who| *who != dies);
        let took = rest.map(|who| last_gain(&sim, who)).max().unwrap() - began;
        assert!((sim.session()..sim.session() + 500).contains(&took), "seed {seed}: {took} ms");
    }
}

#[test]
fn d12_quick_heartbeats_have_a_price_that_is_known() {
    let mut sim = cooperative(31, 6);
    let members = [sim.join(), sim.join(), sim.join()];
    sim.settle();
    sim.run(20_000);
    let before: Vec<usize> = members.iter().map(|who| sim.count(*who, ApiKey::Heartbeat)).collect();
    let generation = sim.coordinator.generation();
    let leader = sim.coordinator.leader().to_owned();
    sim.set_partitions("orders", 9);
    sim.settle();
    sim.run(9_000);
    let generations = usize::try_from(sim.coordinator.generation() - generation).unwrap();
    assert_eq!(generations, 1, "nothing had to move");
    for (who, before) in members.into_iter().zip(before) {
        let beats = sim.count(who, ApiKey::Heartbeat) - before;
        let leads = sim.processes[who].member.identity().unwrap().member_id == leader;
        // As usual, one each 3 s; and six more from members that cannot know that no second rebalance
        // follows.
        let most = if leads { 4 } else { 4 + 6 * generations };
        assert!(beats <= most, "{who} (leads: {leads}) sent {beats}");
    }
}

/// A follower has two partitions, the others one; another member joins, and the first takes 25 s to revoke
/// one, longer than a session, without effect on the others.
fn a_slow_listener_disturbs_nobody(join: impl Fn(&mut Sim, &str) -> usize) {
    let mut sim = cooperative(41, 3);
    let members = ["a", "b", "c"].map(|name| {
        let who = join(&mut sim, name);
        sim.settle();
        who
    });
    sim.set_partitions("orders", 4);
    sim.until("assigned", |sim| sim.assigned().len() == 4);
    sim.run(5_000);
    for who in members {
        sim.processes[who].callback_takes = 25_000;
        sim.processes[who].saw.clear();
    }
    let new = join(&mut sim, "d");
    sim.until("told to revoke", |sim| members.iter().any(|who| !sim.revoked(*who).is_empty()));
    let slow = members.into_iter().find(|who| !sim.revoked(*who).is_empty()).unwrap();
    let identity = sim.processes[slow].member.identity().unwrap();
    assert_ne!(identity.member_id, sim.coordinator.leader(), "a leader that revokes is not impatient");
    let (generation, joins) = (sim.coordinator.generation(), sim.joins.len());
    sim.run(24_000);
    let early: Vec<_> = sim.joins.iter().skip(joins).map(|(who, join)| (who, &join.reason)).collect();
    assert!(early.is_empty(), "{early:?}");
    assert_eq!(sim.coordinator.phase(), crate::sim::coordinator::Phase::Stable, "nobody is parked");
    sim.settle();
    assert_eq!((sim.has(slow), sim.has(new)), (1, 1));
    assert_eq!(sim.coordinator.generation(), generation + 1);
}

#[test]
fn d9_no_leader_forces_a_rebalance_while_a_live_member_takes_its_time_to_revoke() {
    a_slow_listener_disturbs_nobody(|sim, _| sim.join());
}

#[test]
fn d9_a_static_member_has_as_long_to_revoke_as_the_group_allows() {
    a_slow_listener_disturbs_nobody(Sim::join_static);
}

/// One of two members takes 25 s to revoke, longer than a session; the other has rejoined and waits for it.
#[test]
fn d11_kept_partitions_are_delivered_however_long_others_take_to_revoke() {
    let mut sim = cooperative(42, 6);
    let (slow, fast) = (sim.join(), sim.join());
    sim.settle();
    sim.processes[slow].callback_takes = 25_000;
    sim.join();
    sim.until("waits to join", |sim| {
        !sim.revoked(slow).is_empty() && sim.processes[fast].member.state_name() == "joining"
    });
    let from = sim.now;
    while sim.processes[fast].member.state_name() == "joining" {
        assert_eq!(sim.hands_out(fast).len(), 2, "{} ms after it began to wait", sim.now - from);
        let identity = sim.processes[fast].member.identity();
        assert!(identity.is_some() || sim.coordinator.phase() != crate::sim::coordinator::Phase::Preparing);
        sim.run(10);
    }
    assert!(sim.now - from > 2 * sim.session());
    sim.settle();
}

/// There are two static members, and a third joins; one that has to revoke dies meanwhile and returns.
fn dies_while_it_lets_go(seed: u64, leader_dies: bool) {
    let mut sim = cooperative(seed, 6);
    let names = ["a", "b"];
    let members = names.map(|name| sim.join_static(name));
    sim.settle();
    for who in members {
        sim.processes[who].callback_takes = 3_000;
    }
    let third = sim.join_static("c");
    sim.until("told to let go", |sim| members.iter().all(|who| !sim.revoked(*who).is_empty()));
    let leader = sim.coordinator.leader().to_owned();
    let leads = |who: usize| sim.processes[who].member.identity().unwrap().member_id == leader;
    let victims: Vec<usize> = members.into_iter().filter(|who| leads(*who) == leader_dies).collect();
    assert!(!victims.is_empty());
    for who in victims {
        sim.kill(who);
        let again = sim.join_static(names[members.iter().position(|m| *m == who).unwrap()]);
        assert_eq!(again, sim.processes.len() - 1);
    }
    sim.run(sim.session().max(sim.rebalance()) + 10_000);
    assert_eq!((sim.assigned().len(), sim.has(third)), (6, 2), "seed {seed}: {}", sim.states());
    let generation = sim.coordinator.generation();
    sim.run(120_000);
    assert_eq!(sim.coordinator.generation(), generation, "and then there is peace");
}

#[test]
fn g2_a_static_follower_that_dies_while_it_lets_go_strands_nothing() {
    for seed in 0..10 {
        dies_while_it_lets_go(seed, false);
    }
}

#[test]
fn g3_a_static_leader_that_dies_while_it_lets_go_strands_nothing() {
    for seed in 0..10 {
        dies_while_it_lets_go(seed, true);
    }
}

#[test]
fn g3_partitions_that_came_while_a_static_leader_was_away_are_assigned_when_it_is_back() {
    for (assignor, skips) in [CooperativeSticky, BuiltIn::Range].map(|it| [(it, true), (it, false)]).concat()
    {
        let mut sim = Sim::seeded(60).with_topic("orders", 2).with(&[assignor]);
        sim.coordinator.skips_assignment = skips;
        let leader = sim.join_static("i");
        sim.settle();
        let generation = sim.coordinator.generation();
        sim.kill(leader);
        sim.set_partitions("orders", 4);
        sim.run(1_000);
        let back = sim.join_static("i");
        sim.until("all four", |sim| sim.has(back) == 4);
        assert_eq!(sim.coordinator.generation(), generation + 1, "{assignor:?}: one rebalance for it");
        // And none if nothing has changed.
        sim.kill(back);
        sim.run(1_000);
        let again = sim.join_static("i");
        sim.until("all four", |sim| sim.has(again) == 4);
        sim.run(20_000);
        assert_eq!(sim.coordinator.generation(), generation + 1, "{assignor:?}: a restart disturbs nobody");
    }
}

#[test]
fn e8_a_classic_member_leaves_as_it_is_told_to() {
    use GroupMembership::{Default, Leave, Remain};
    let cases = [
        (false, Default, 1),
        (false, Leave, 1),
        (false, Remain, 0),
        (true, Default, 0),
        (true, Leave, 1),
        (true, Remain, 0),
    ];
    for (is_static, membership, said) in cases {
        let mut sim = cooperative(50, 4);
        let stays = sim.join();
        let goes = if is_static { sim.join_static("i") } else { sim.join() };
        sim.settle();
        let (from, now) = (sim.now, sim.at(sim.now));
        sim.processes[goes].has.clear();
        sim.processes[goes].member.leave(now, "a restart", membership);
        sim.until("left", |sim| sim.saw(goes).last() == Some(&&Saw::Left));
        assert_eq!(sim.count(goes, ApiKey::LeaveGroup), said, "{is_static} {membership:?}");
        sim.until("all with the other", |sim| sim.has(stays) == 4);
        let (took, session) = (sim.now - from, sim.session());
        assert_eq!(took < session / 2, said == 1, "{is_static} {membership:?}: {took} ms");
    }
}

#[test]
fn kip_800_each_join_says_why() {
    let mut sim = cooperative(51, 4);
    let a = sim.join();
    sim.settle();
    sim.set_partitions("orders", 6);
    sim.settle();
    let b = sim.join();
    sim.settle();
    let reasons = |who: usize| -> Vec<&str> {
        let joins = sim.joins.iter().filter(|(of, _)| *of == who);
        joins.map(|(_, join)| join.reason.as_deref().unwrap()).collect()
    };
    let of_a = [
        "subscribed",
        "subscribed", // with the id that it was given (KIP-394)
        "the partitions of the group's topics have changed",
        "the group is rebalancing",
        "partitions that move have been revoked",
    ];
    assert_eq!(reasons(a), of_a);
    assert_eq!(reasons(b), ["subscribed", "subscribed", "the group is rebalancing"]);
    assert!(sim.joins.iter().all(|(_, join)| join.reason.as_ref().is_some_and(|reason| reason.len() <= 255)));
}
