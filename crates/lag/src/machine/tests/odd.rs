//! Other contents of a report, and incomplete samples.

use super::*;
use crate::report::FindingKind;

fn kinds(world: &World) -> Vec<FindingKind> {
    world.report().findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_round_without_answers_leaves_what_was_known() {
    let mut world = World::with_window(60);
    (world.end, world.committed) = (10, Some(4));
    for _ in 0..8 {
        world.look();
        world.pass(10);
    }
    let before = world.partition();
    let mut nothing = Sample::at(world.began + Duration::from_millis(80_000), EPOCH + 80_000);
    nothing.unanswered.insert("audit".to_owned());
    nothing.failures.push("broker 1 did not answer".to_owned());
    let after = world.give(nothing.clone());
    assert_eq!((after.committed, after.end, after.status), (before.committed, before.end, before.status));
    assert_eq!(world.report().failures, ["broker 1 did not answer"]);
    // A group in neither list is gone, and its log with it.
    nothing.unanswered.clear();
    world.lag.handle_sample(nothing);
    let report = world.report();
    assert!(report.groups.is_empty() && report.partitions.is_empty());
    assert!(world.lag.logs.is_empty() && world.lag.topics.is_empty());
}

#[test]
fn parts_of_a_group_that_were_not_answered_stay() {
    let mut world = World::with_window(60);
    (world.end, world.committed) = (10, Some(4));
    world.look();
    let mut sample = world.sample();
    (sample.groups[0].members, sample.groups[0].committed) = (None, None);
    let told = world.give(sample);
    assert_eq!((told.committed, told.member), (Some(4), Some(0)));
}

/// The present value of one side compared with an old value of the other is not a lag.
#[test]
fn while_the_group_or_the_log_does_not_answer_its_lag_stays_as_it_was() {
    for is_group_silent in [true, false] {
        let mut world = World::with_window(60);
        (world.end, world.committed) = (100, Some(90));
        for _ in 0..8 {
            world.look();
            world.pass(10);
            (world.end, world.committed) = (world.end + 10, Some(world.committed.unwrap() + 10));
        }
        let before = world.look();
        assert_eq!((before.lag, before.status), (Some(10), Some(Status::Warn)));
        for _ in 0..20 {
            world.pass(10);
            (world.end, world.committed) = (world.end + 10, Some(world.committed.unwrap() + 10));
            let mut sample = world.sample();
            if is_group_silent {
                sample.groups[0].committed = None;
            } else {
                sample.logs.clear();
            }
            assert_eq!(world.give(sample), before);
        }
        let log = world.report().partitions.remove(0);
        assert_eq!(log.latest, Some(if is_group_silent { world.end } else { before.end.unwrap() }));
        // Both respond again. The time in between is in no sample.
        let after = world.look();
        assert_eq!((after.committed, after.end), (world.committed, Some(world.end)));
        assert_eq!((after.lag, after.status), (Some(10), Some(Status::Warn)));
    }
}

#[test]
fn a_group_that_has_not_been_compared_yet_has_no_lag() {
    let mut world = World::with_window(60);
    (world.end, world.committed) = (100, None);
    world.look();
    world.committed = Some(90);
    let mut sample = world.sample();
    sample.logs.clear();
    let told = world.give(sample);
    assert_eq!((told.committed, told.end, told.lag, told.lag_seconds), (Some(90), None, None, None));
    let told = world.look();
    assert_eq!((told.committed, told.end, told.lag), (Some(90), Some(100), Some(10)));
}

#[test]
fn a_topic_that_is_made_anew_has_nothing_of_the_old_one() {
    for with_ids in [true, false] {
        let mut world = World::with_window(60);
        (world.end, world.committed) = (1000, Some(900));
        for nth in 0..10 {
            world.end += nth;
            let mut sample = world.sample();
            sample.topics[0].id = with_ids.then(|| "one".to_owned());
            world.give(sample);
            world.pass(10);
        }
        (world.end, world.committed) = (3, Some(1));
        let mut sample = world.sample();
        sample.topics[0].id = with_ids.then(|| "two".to_owned());
        let told = world.give(sample);
        assert_eq!((told.lag, told.lag_seconds), (Some(2), None));
        if with_ids {
            assert_eq!((told.status, told.produced_per_second), (None, None), "its window begins anew");
        }
        let log = &world.lag.logs[&orders()];
        assert_eq!(log.ends.last(), Some((100_000, 3)));
    }
}

#[test]
fn a_deleted_topic_has_no_end_and_no_status() {
    let mut world = World::with_window(10);
    world.end = 5;
    for _ in 0..3 {
        world.look();
        world.pass(10);
    }
    assert_eq!(world.partition().status, Some(Status::Stall));
    let mut sample = world.sample();
    sample.logs.insert(orders(), LogSample::Missing);
    let told = world.give(sample);
    assert_eq!((told.committed, told.end, told.lag), (Some(0), None, None));
    assert_eq!((told.status, told.lag_seconds), (None, None));
}

#[test]
fn a_group_without_a_commit_has_no_lag() {
    let mut world = World::with_window(10);
    (world.committed, world.end) = (None, 5);
    let told = world.look();
    assert_eq!((told.committed, told.end, told.lag, told.member), (None, Some(5), None, Some(0)));
    world.owned = false;
    world.lag.handle_sample(world.sample());
    assert!(world.group().partitions.is_empty(), "and none that nobody owns");
}

#[test]
fn rebalances_are_counted_within_the_window_and_three_are_too_many() {
    let mut world = World::with_window(100);
    world.look();
    assert_eq!((world.group().rebalances, kinds(&world)), (0, vec![]));
    // A rebalance is seen while it is in progress.
    for state in ["PreparingRebalance", "CompletingRebalance", "Stable"] {
        world.pass(5);
        let mut sample = world.sample();
        sample.groups[0].state = state.to_owned();
        world.give(sample);
    }
    assert_eq!((world.group().rebalances, kinds(&world)), (1, vec![]));
    // Other rebalances are seen only by their results: a member, and an epoch.
    let mut sample = world.sample();
    sample.groups[0].members.as_mut().unwrap()[0].member_id = "n".to_owned();
    world.give(sample.clone());
    assert_eq!(world.group().rebalances, 2);
    world.give(sample.clone());
    assert_eq!(world.group().rebalances, 2);
    sample.groups[0].epoch = Some(7);
    world.give(sample.clone());
    assert_eq!((world.group().rebalances, kinds(&world)), (3, vec![FindingKind::RepeatedRebalances]));
    // Only those in the window count.
    world.pass(1000);
    let later = world.sample();
    (sample.now, sample.wall_ms) = (later.now, later.wall_ms);
    world.give(sample);
    assert_eq!((world.group().rebalances, kinds(&world)), (0, vec![]));
}

/// Brokers before 2.6 return states only of described groups.
#[test]
fn a_state_that_is_not_told_is_as_it_was_and_no_rebalance() {
    let mut world = World::with_window(100);
    for _ in 0..4 {
        world.look();
        world.pass(5);
        let mut sample = world.sample();
        (sample.groups[0].state, sample.groups[0].members) = (String::new(), None);
        world.give(sample);
        assert_eq!((world.group().state.as_str(), world.group().rebalances), ("Stable", 0));
        world.pass(5);
    }
}

#[test]
fn a_member_that_owns_nothing_is_found_once_the_group_is_stable() {
    let mut world = World::with_window(100);
    world.owned = false;
    world.look();
    assert_eq!(kinds(&world), [FindingKind::IdleMember]);
    assert!(world.report().findings[0].message.starts_with("1 of 1 members of group `audit`"));
    let mut sample = world.sample();
    sample.groups[0].state = "CompletingRebalance".to_owned();
    world.give(sample);
    assert_eq!(kinds(&world), []);
}

#[test]
fn a_hot_partition_and_dead_letters_that_grow_are_found() {
    let mut world = World::with_window(100);
    let of = |topic: &str, partition| TopicPartition::new(topic, partition);
    for round in 0..5 {
        let mut sample = world.sample();
        for (partition, rate) in [(0, 10), (1, 10), (2, 100)] {
            world.end = round * rate * 10;
            sample.logs.insert(of("orders", partition), world.log());
        }
        world.end = round;
        sample.logs.insert(of("orders.dlq", 0), world.log());
        world.give(sample);
        world.pass(10);
    }
    let findings = world.report().findings;
    let hot = &findings[0];
    assert_eq!((hot.kind, hot.partition), (FindingKind::HotPartition, Some(2)));
    assert!(
        hot.message.contains("100 records a second, and the others of its topic 10 each"),
        "{}",
        hot.message
    );
    assert_eq!(
        (findings[1].kind, findings[1].topic.as_deref()),
        (FindingKind::DeadLetters, Some("orders.dlq"))
    );
    assert!(findings[1].message.contains("6.0 dead letters a minute"), "{}", findings[1].message);
    assert_eq!(findings.len(), 2);
}

#[test]
fn rates_and_the_time_to_catch_up_are_of_the_window() {
    let mut world = World::with_window(60);
    for _ in 0..20 {
        world.end += 100;
        world.committed = Some(world.committed.unwrap() + 150);
        world.pass(10);
        if world.committed.unwrap() > world.end {
            world.end += 5000;
        }
        world.look();
    }
    let told = world.partition();
    assert_eq!(told.consumed_per_second, Some(15.0));
    let produced = told.produced_per_second.unwrap();
    match told.catch_up_seconds {
        Some(seconds) => assert!((seconds - told.lag.unwrap() as f64 / (15.0 - produced)).abs() < 1e-6),
        None => assert!(produced >= 15.0),
    }
}
