//! Topics that were created again, and brokers that lag behind: which answer is believed.

use super::*;

#[test]
fn b2_an_older_leader_epoch_changes_nothing_and_an_unknown_one_keeps_the_known() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(2, 7)])]));
    sim.told(cluster(vec![topic("orders", 1, &[(1, 6)])]));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(7))), "a lagging broker");
    sim.told(cluster(vec![topic("orders", 1, &[(1, -1)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(7))), "fencing stays possible");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 8)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(8))));
}

#[test]
fn b3_a_topic_created_again_starts_its_epochs_anew() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(2, 7)])]));
    sim.told(cluster(vec![topic("orders", 2, &[(1, 0)])]));
    assert_eq!(sim.leader("orders", 0), Some((1, Some(0))));
}

/// Without topic ids, only the epochs indicate it; and a broker that lags behind sends the same.
#[test]
fn b3_b2_without_ids_older_epochs_are_believed_when_answer_after_answer_has_them() {
    let mut sim = Sim::wanting(&["orders", "returns"]);
    let view = |epoch| cluster(vec![topic("orders", 0, &[(2, epoch)]), topic("returns", 0, &[(1, 3)])]);
    sim.told(view(7));
    for _ in 1..OLDER_BEFORE_CREATED_ANEW {
        sim.told(view(0));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
    }
    sim.told(view(7));
    for _ in 1..OLDER_BEFORE_CREATED_ANEW {
        sim.told(view(0));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))), "in a row");
    }
    sim.told(view(0));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(0))));
    assert_eq!(sim.leader("returns", 0), Some((1, Some(3))), "of another topic nothing is forgotten");
    assert_eq!(sim.ask().to, Target::Any, "nothing is in doubt");
    // The epoch of a topic with an id never decreases.
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(2, 7)])]));
    for _ in 0..20 {
        sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    }
    assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
}

/// It has the old epochs for as long as it is cut off from the controller, but clients can still reach it.
#[test]
fn b2_b3_without_ids_one_broker_that_lags_behind_is_not_believed_for_as_long_as_another_can_be_asked() {
    let view = |epoch| cluster(vec![topic("orders", 0, &[(2, epoch)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(7));
    for _ in 0..20 {
        let asked = sim.ask();
        // A request to any broker is answered by the one with an open connection.
        let from = if asked.to == Target::Other(BrokerId(1)) { 2 } else { 1 };
        let response = view(if from == 1 { 3 } else { 7 }).into();
        let answer = Answer { from: Some(BrokerId(from)), version: 9, memory: 0, response };
        sim.metadata.handle_answer(sim.now, asked.id, Ok(answer));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
    }
    // The other does not respond.
    for _ in 0..20 {
        sim.told_by(|_| 1, view(3));
        assert_eq!(sim.leader("orders", 0), Some((2, Some(7))));
    }
    sim.told_by(|_| 2, view(3));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(3))), "two say so");

    let mut alone = Sim::wanting(&["orders"]);
    let view = |epoch| MetadataResponse {
        brokers: cluster(Vec::new()).brokers.into_iter().take(1).collect(),
        ..view(epoch)
    };
    alone.told_by(|_| 1, view(7));
    for _ in 0..OLDER_BEFORE_CREATED_ANEW {
        alone.told_by(|_| 1, view(0));
    }
    let of = TopicPartition::new("orders", 0);
    assert_eq!(
        alone.metadata.cluster().partition(&of).and_then(|info| info.epoch),
        Some(0),
        "there is no other"
    );
}

/// A broker that lags behind shows the id of a topic as it was before it was deleted and created again: the topic would count as created again
/// twice, and positions in it would be reset each time.
#[test]
fn b3_an_id_that_was_replaced_comes_back_only_when_answer_after_answer_has_it() {
    let view = |id, epoch| cluster(vec![topic("orders", id, &[(1, epoch)]), topic("returns", 9, &[(1, 3)])]);
    let mut sim = Sim::wanting(&["orders", "returns"]);
    let id = |sim: &Sim| sim.metadata.cluster().topic_id("orders").map(|id| id.0[0]);
    sim.told_by(|_| 1, view(1, 5));
    sim.told_by(|_| 1, view(2, 0));
    assert_eq!(id(&sim), Some(2), "a new id is believed at once");
    for _ in 0..20 {
        sim.told_by(|_| 2, view(1, 5));
        assert_eq!((id(&sim), sim.leader("orders", 0)), (Some(2), Some((1, Some(0)))));
        assert_eq!(sim.leader("returns", 0), Some((1, Some(3))));
        assert!(sim.next_in() < Duration::from_secs(2), "another is asked in {:?}", sim.next_in());
    }
    assert_eq!(sim.ask().to, Target::Other(BrokerId(2)));
    // Nor if answers without the topic came between, before the new id or after it.
    for times in 1..=LISTINGS_BEFORE_DELETED {
        let mut sim = Sim::wanting(&["orders", "returns"]);
        sim.told_by(|_| 1, view(1, 5));
        for _ in 0..times {
            sim.told_by(|_| 1, cluster(vec![]));
        }
        sim.told_by(|_| 1, view(2, 0));
        assert_eq!(id(&sim), Some(2));
        for _ in 1..times {
            sim.told_by(|_| 1, cluster(vec![]));
        }
        sim.told_by(|_| 2, view(1, 5));
        assert_eq!(id(&sim), Some(2), "after {times} answers without it");
    }
    // What was first learned may have been the old state.
    let mut sim = Sim::wanting(&["orders", "returns"]);
    sim.told_by(|_| 1, view(2, 0));
    sim.told_by(|_| 2, view(1, 5));
    assert_eq!(id(&sim), Some(1));
    for answer in 1..=OLDER_BEFORE_CREATED_ANEW {
        assert_eq!(id(&sim), Some(1));
        sim.told_by(|_| if answer == 1 { 3 } else { 1 }, view(2, 0));
    }
    assert_eq!((id(&sim), sim.leader("orders", 0)), (Some(2), Some((1, Some(0)))), "two say so, and again");
    assert_eq!(sim.next_in(), MAX_AGE, "nothing is in doubt");
    // A third one is new.
    sim.told_by(|_| 1, view(3, 0));
    assert_eq!(id(&sim), Some(3));
}

#[test]
fn b2_an_id_that_was_not_known_for_a_moment_is_no_id_from_before() {
    let view = |id, leader, epoch| cluster(vec![topic("orders", id, &[(leader, epoch)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(1, 1, 5));
    sim.told_by(|_| 2, view(0, 1, 5));
    sim.told_by(|_| 1, view(1, 2, 6));
    assert_eq!(sim.leader("orders", 0), Some((2, Some(6))), "the leader has moved");
}

#[test]
fn b8_a_topic_that_is_refused_while_its_id_is_in_doubt_is_not_asked_for_all_the_time() {
    let view = |id| cluster(vec![topic("orders", id, &[(1, 5)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(1));
    sim.told_by(|_| 1, view(2));
    sim.told_by(|_| 2, view(1));
    let mut asked = 0;
    let until = sim.now + Duration::from_secs(600);
    while sim.now < until {
        sim.told_by(|_| 1, cluster(vec![refused("orders", ErrorCode::TopicAuthorizationFailed)]));
        asked += 1;
    }
    assert!(asked <= 5, "asked {asked} times in 10 minutes");
}

#[test]
fn b3_one_broker_that_is_cut_off_does_not_outweigh_two_that_are_not() {
    let answer = |from: i32| {
        let (id, epoch) = if from == 2 { (1, 5) } else { (2, 0) };
        let mut all = cluster(vec![topic("orders", id, &[(1, epoch)])]);
        let third = wire::MetadataResponseBroker { node_id: 3, port: 9095, ..all.brokers[0].clone() };
        all.brokers.push(third);
        all
    };
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, answer(1));
    sim.told_by(|_| 2, answer(2));
    let began = sim.now;
    let mut rotation = 0;
    while sim.metadata.cluster().topic_id("orders") != Some(Uuid([2; 16])) {
        assert!(sim.now < began + Duration::from_secs(300), "the wrong id for 5 minutes");
        sim.now += Duration::from_millis(1000);
        sim.metadata.refresh(sim.now); // the leader refuses the id
        let Transmit { id, to, .. } = sim.ask();
        rotation += 1;
        // Three connected brokers take turns.
        let turns = (0..3).map(|turn| 1 + (rotation + turn) % 3);
        let from = turns.into_iter().find(|broker| to != Target::Other(BrokerId(*broker))).unwrap();
        let response = answer(from).into();
        let answer = Answer { from: Some(BrokerId(from)), version: 13, memory: 0, response };
        sim.metadata.handle_answer(sim.now, id, Ok(answer));
    }
}

/// It lags behind for a moment, or for long: two others agree, and the metadata are as old as they may be.
#[test]
fn b3_a_doubt_ends_when_two_brokers_agree_with_what_is_known() {
    let view = |id| {
        let mut all = cluster(vec![topic("orders", id, &[(1, 0)])]);
        let third = wire::MetadataResponseBroker { node_id: 3, port: 9095, ..all.brokers[0].clone() };
        all.brokers.push(third);
        all
    };
    let mut sim = Sim::wanting(&["orders"]);
    for (broker, id) in [(1, 1), (1, 2), (2, 1)] {
        sim.told_by(|_| broker, view(id));
    }
    sim.told_by(|_| 1, view(2));
    assert!(sim.next_in() < Duration::from_secs(2), "it may be the one that lags behind");
    sim.told_by(|_| 3, view(2));
    assert_eq!((sim.next_in(), sim.ask().to), (MAX_AGE, Target::Any));
    assert_eq!(sim.metadata.cluster().topic_id("orders"), Some(Uuid([2; 16])));
}

#[test]
fn b3_listing_all_an_id_from_before_a_deletion_is_not_believed_at_once_either() {
    let view = |id, epoch| cluster(vec![topic("orders", id, &[(1, epoch)])]);
    let mut sim = Sim::wanting(&[]);
    sim.metadata.want_all(sim.now, BTreeSet::new());
    sim.told_by(|_| 1, view(1, 5));
    for _ in 0..LISTINGS_BEFORE_DELETED {
        sim.told_by(|_| 1, cluster(vec![]));
    }
    assert!(sim.metadata.cluster().topics.is_empty());
    sim.told_by(|_| 1, view(2, 0));
    for _ in 0..20 {
        sim.told_by(|_| 2, view(1, 5)); // cut off since before the deletion
        assert_eq!(sim.metadata.cluster().topic_id("orders"), Some(Uuid([2; 16])));
    }
}
