//! What is known of topics that an answer refuses, lacks, or does not speak of.

use super::*;

#[test]
fn only_what_is_wanted_is_asked_for_and_kept() {
    let mut sim = Sim::wanting(&["orders"]);
    let Request::Metadata(request) = sim.ask().request else { panic!("a metadata request") };
    let names: Vec<_> = request.topics.unwrap().into_iter().map(|topic| topic.name.unwrap()).collect();
    assert_eq!(names, ["orders"]);
    sim.now += TIMEOUT * 2;
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)]), topic("other", 2, &[(1, 0)])]));
    assert!(sim.metadata.cluster().topic("other").is_none());
}

#[test]
fn b6_no_error_and_no_partitions_is_no_topic() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[])]));
    assert!(sim.metadata.cluster().topic("orders").is_none());
    assert!(sim.next_in() < Duration::from_secs(2), "it is asked for again");
}

#[test]
fn b9_a_passing_error_keeps_what_was_known_and_a_lasting_absence_is_believed() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    for _ in 0..10 {
        sim.told(cluster(vec![refused("orders", ErrorCode::LeaderNotAvailable)]));
        assert!(sim.metadata.cluster().topic("orders").is_some());
    }
    // To leave it out says the same as to call it unknown.
    for absence in [vec![refused("orders", ErrorCode::UnknownTopicOrPartition)], vec![]] {
        for left in [true, true, false] {
            sim.told(cluster(absence.clone()));
            assert_eq!(sim.metadata.cluster().topic("orders").is_some(), left);
            assert!(sim.next_in() < Duration::from_secs(2), "asked again in {:?}", sim.next_in());
        }
        assert!(sim.metadata.cluster().topics.contains_key("orders"), "it was asked for, and is not there");
        sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
        assert_eq!(sim.leader("orders", 0), Some((1, Some(0))));
    }
}

#[test]
fn b9_a_topic_that_is_kept_over_an_error_is_asked_for_again_soon() {
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    sim.told(cluster(vec![refused("orders", ErrorCode::LeaderNotAvailable)]));
    assert!(sim.next_in() < Duration::from_secs(2), "not in five minutes: {:?}", sim.next_in());
}

#[test]
fn a_listing_counts_as_full_only_if_all_topics_were_asked_for() {
    let mut sim = Sim::wanting(&["orders"]);
    let id = sim.ask().id;
    sim.metadata.want_all(sim.now, BTreeSet::new());
    let answer = Answer {
        from: None,
        version: 13,
        memory: 0,
        response: cluster(vec![topic("orders", 1, &[(1, 0)])]).into(),
    };
    sim.metadata.handle_answer(sim.now, id, Ok(answer));
    assert!(!sim.metadata.cluster().lists_all, "it was under way before");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)]), topic("returns", 2, &[(1, 0)])]));
    assert!(sim.metadata.cluster().lists_all);
    assert!(sim.metadata.cluster().topic("returns").is_some());
}

/// After all topics were listed, a topic that the listing lacks is requested, as it is without the listing.
#[test]
fn b1_a_topic_that_the_last_listing_did_not_have_is_asked_for() {
    let mut sim = Sim::wanting(&[]);
    sim.metadata.want_all(sim.now, BTreeSet::new());
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    sim.now += Duration::from_secs(1);
    sim.metadata.want_topics(sim.now, [Topic::from("new")].into());
    assert!(sim.next_in() < Duration::from_secs(2), "not for {:?}", sim.next_in());
}

/// The leader of a group lists all topics for its pattern; another member names one.
#[test]
fn b1_a_topic_named_besides_all_topics_is_known_at_once_not_to_exist() {
    let mut sim = Sim::wanting(&[]);
    sim.metadata.want_all(sim.now, BTreeSet::new());
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    sim.now += Duration::from_secs(1);
    let named: BTreeSet<Topic> = ["new".into(), "orders".into()].into();
    sim.metadata.want_all(sim.now, named.clone());
    assert!(sim.next_in() < Duration::from_secs(2), "the listing may be old: not for {:?}", sim.next_in());
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    let info = sim.metadata.cluster().topics.get(&Topic::from("new")).expect("it is said of it");
    assert_eq!(info.error, ErrorCode::UnknownTopicOrPartition);
    assert!(sim.metadata.cluster().lists_all);
    sim.metadata.want_all(sim.now, named);
    assert_eq!(sim.next_in(), MAX_AGE, "once");
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)]), topic("new", 2, &[(1, 0)])]));
    assert_eq!(sim.metadata.cluster().topic("new").map(|info| info.partitions.len()), Some(1));
}

/// A broker that has just started lists few topics, or none: the members of a group whose leader asked it
/// would lose them.
#[test]
fn b9_a_topic_is_gone_when_several_listings_in_a_row_lack_it() {
    for named in [BTreeSet::new(), BTreeSet::from(["orders".into()])] {
        let mut sim = Sim::wanting(&[]);
        sim.metadata.want_all(sim.now, named.clone());
        let orders = || cluster(vec![topic("orders", 1, &[(1, 0)])]);
        sim.told(orders());
        for listing in [cluster(vec![]), orders(), cluster(vec![]), cluster(vec![])] {
            sim.told(listing);
            assert!(sim.metadata.cluster().topic("orders").is_some());
        }
        assert!(sim.next_in() < Duration::from_secs(2), "asked again in {:?}", sim.next_in());
        sim.told(cluster(vec![]));
        assert!(sim.metadata.cluster().topic("orders").is_none());
        assert_eq!(sim.metadata.cluster().topics.len(), named.len(), "what is named is said not to exist");
        assert_eq!(sim.next_in(), MAX_AGE);
        sim.told(orders());
        sim.told(cluster(vec![]));
        assert!(sim.metadata.cluster().topic("orders").is_some(), "counted anew");
    }
}

#[test]
fn b9_a_response_says_nothing_about_topics_that_its_request_did_not_name() {
    let orders = || topic("orders", 1, &[(1, 0)]);
    for others in [topic("others", 2, &[(1, 0)]), refused("others", ErrorCode::TopicAuthorizationFailed)] {
        let others = || others.clone();
        let mut sim = Sim::wanting(&["orders", "others"]);
        sim.told(cluster(vec![orders(), others()]));
        for _ in 0..=LISTINGS_BEFORE_DELETED {
            let known = sim.metadata.cluster().topics.clone();
            sim.metadata.want_topics(sim.now, names(&["orders"]));
            sim.metadata.refresh(sim.now);
            let asked = sim.ask().id; // for orders alone
            sim.metadata.want_topics(sim.now, names(&["orders", "others"]));
            sim.answered(asked, 1, cluster(vec![orders()]));
            assert_eq!(sim.metadata.cluster().topics, known);
            assert_eq!(sim.next_in(), Duration::ZERO, "it is asked for");
        }
        // Nor one that named some while all are wanted since.
        let known = sim.metadata.cluster().topics.clone();
        sim.metadata.want_topics(sim.now, names(&["orders"]));
        let asked = sim.ask().id;
        sim.metadata.want_all(sim.now, names(&["others"]));
        sim.answered(asked, 1, cluster(vec![orders()]));
        assert_eq!(sim.metadata.cluster().topics, known);
        assert!(!sim.metadata.cluster().lists_all);
        // One that listed all says that the others do not exist.
        sim.told(cluster(vec![orders()])).told(cluster(vec![orders()]));
        sim.metadata.refresh_now(sim.now);
        let asked = sim.ask().id;
        sim.metadata.want_topics(sim.now, names(&["others"]));
        sim.answered(asked, 1, cluster(vec![orders()]));
        let shown = sim.metadata.cluster().topics.get("others").map(|info| info.error);
        assert_eq!(shown, Some(ErrorCode::UnknownTopicOrPartition));
    }
}

#[test]
fn b9_only_answers_in_a_row_are_a_deletion() {
    let gone = || cluster(vec![refused("orders", ErrorCode::UnknownTopicOrPartition)]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told(cluster(vec![topic("orders", 1, &[(1, 0)])]));
    for _ in 0..5 {
        sim.told(gone()).told(gone());
        sim.told(cluster(vec![refused("orders", ErrorCode::LeaderNotAvailable)]));
        assert!(sim.metadata.cluster().topic("orders").is_some(), "it is there, without a leader");
    }
}

#[test]
fn what_is_remembered_of_topics_that_are_gone_is_bounded() {
    let mut sim = Sim::wanting(&[]);
    for n in 0..1_000 {
        let name = format!("job-{n}");
        sim.metadata.want_topics(sim.now, names(&[&name]));
        sim.told(cluster(vec![topic(&name, 1, &[(1, 0)])]));
        for _ in 0..n % 4 {
            sim.told(cluster(vec![refused(&name, ErrorCode::UnknownTopicOrPartition)]));
        }
    }
    sim.metadata.want_topics(sim.now, names(&[]));
    sim.told(cluster(vec![]));
    let Metadata { unknown, older, known_ids, .. } = &sim.metadata;
    assert_eq!((unknown.len(), older.len()), (0, 0));
    assert!((1..=REMEMBERED_TOPICS).contains(&known_ids.len()), "{}", known_ids.len());
}

/// Its former id, shown by a broker that is cut off, is no newer than the last one for that.
#[test]
fn b3_a_topic_that_was_not_wanted_for_a_while_has_its_last_id_as_soon_as_one_broker_shows_it() {
    let view = |id, epoch| cluster(vec![topic("orders", id, &[(1, epoch)])]);
    let mut sim = Sim::wanting(&["orders"]);
    sim.told_by(|_| 1, view(1, 5));
    sim.told_by(|_| 1, view(2, 0));
    sim.metadata.want_topics(sim.now, names(&[]));
    sim.metadata.refresh_now(sim.now);
    sim.told_by(|_| 1, cluster(vec![]));
    sim.metadata.want_topics(sim.now, names(&["orders"]));
    sim.told_by(|_| 2, view(1, 5)); // it is cut off
    assert_eq!(sim.metadata.cluster().topic_id("orders"), Some(Uuid([1; 16])), "nothing else is known");
    sim.metadata.refresh_now(sim.now);
    sim.told_by(|_| 1, view(2, 0));
    for _ in 0..20 {
        assert_eq!(sim.metadata.cluster().topic_id("orders"), Some(Uuid([2; 16])));
        sim.metadata.refresh_now(sim.now);
        sim.told_by(|_| 2, view(1, 5));
    }
}
