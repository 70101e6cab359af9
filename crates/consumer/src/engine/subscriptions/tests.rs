use offtake_machine::{PartitionInfo, TopicInfo};

use super::*;

fn cluster(topics: &[(&str, ErrorCode, i32)]) -> Cluster {
    let topics = topics.iter().map(|(name, error, partitions)| {
        let info = PartitionInfo::new(None, None);
        let partitions = (0..*partitions).map(|index| (index, info.clone())).collect();
        let id = Uuid::ZERO;
        (Topic::from(*name), TopicInfo { id, error: *error, internal: false, partitions })
    });
    Cluster { topics: topics.collect(), lists_all: true, ..Cluster::default() }
}

#[test]
fn b4_partitions_at_the_subscription_are_old_and_later_ones_are_new() {
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(Subscription::Topics(vec!["orders".into(), "later".into()]), 0);
    let before = [("orders", ErrorCode::None, 2), ("later", ErrorCode::UnknownTopicOrPartition, 0)];
    subscriptions.resolve(&cluster(&before), 1, true);
    subscriptions.resolve(
        &cluster(&[("orders", ErrorCode::None, 4), ("later", ErrorCode::None, 1)]),
        1,
        true,
    );
    let born_later = |topic: &str, partition| {
        subscriptions.is_newer_than_subscription(&TopicPartition::new(topic, partition))
    };
    assert!(!born_later("orders", 1) && born_later("orders", 2) && born_later("later", 0));
}

#[test]
fn b4_a_topic_that_matches_a_pattern_later_is_new() {
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(Subscription::Patterns(vec![Regex::new("^o.*$").unwrap()]), 0);
    let mut partial = cluster(&[("orders", ErrorCode::None, 2)]);
    partial.lists_all = false;
    assert_eq!(subscriptions.resolve(&partial, 1, true), None, "nothing is known to match");
    subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 2)]), 1, true);
    let both = cluster(&[("orders", ErrorCode::None, 2), ("offers", ErrorCode::None, 2)]);
    assert_eq!(subscriptions.resolve(&both, 1, true).unwrap().len(), 2);
    assert!(subscriptions.is_newer_than_subscription(&TopicPartition::new("offers", 0)));
    assert!(!subscriptions.is_newer_than_subscription(&TopicPartition::new("orders", 0)));
}

#[test]
fn b4_a_topic_that_is_created_after_a_pattern_stays_new_if_the_pattern_is_subscribed_to_again() {
    for kind in [patterns(), broker_pattern()] {
        let mut subscriptions = Subscriptions::none();
        subscriptions.replace(kind.clone(), 0);
        let one = cluster(&[("orders", ErrorCode::None, 2)]);
        subscriptions.resolve(&one, 1, true);
        // `offers` is created now. The same pattern again, as after an error of `poll`.
        assert!(!subscriptions.replace(kind.clone(), 1), "{kind:?}");
        subscriptions.resolve(&one, 1, true);
        assert_eq!(subscriptions.lists_all(false), matches!(kind, Subscription::Patterns(_)), "{kind:?}");
        let two = cluster(&[("orders", ErrorCode::None, 2), ("offers", ErrorCode::None, 2)]);
        subscriptions.resolve(&two, 2, true);
        let is_new = |topic| subscriptions.is_newer_than_subscription(&TopicPartition::new(topic, 0));
        assert_eq!(["orders", "offers"].map(is_new), [false, true], "{kind:?}");
    }
}

#[test]
fn the_same_patterns_in_another_order_change_nothing() {
    let of = |patterns: &[&str]| {
        Subscription::Patterns(patterns.iter().map(|pattern| Regex::new(pattern).unwrap()).collect())
    };
    let mut subscriptions = Subscriptions::none();
    assert!(subscriptions.replace(of(&["^o.*$", "^p.*$"]), 0));
    assert!(!subscriptions.replace(of(&["^p.*$", "^o.*$", "^p.*$"]), 1));
    assert!(subscriptions.replace(of(&["^p.*$"]), 1));
    assert!(subscriptions.replace(broker_pattern(), 1));
}

/// Each answer is then from before the last call, but not from before the first.
#[test]
fn a_pattern_that_is_subscribed_to_faster_than_brokers_answer_learns_its_topics() {
    for kind in [patterns(), broker_pattern()] {
        let mut subscriptions = Subscriptions::none();
        let mut changes = 0;
        for asked in 0..10 {
            changes += u32::from(subscriptions.replace(kind.clone(), asked));
            subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 2)]), asked, true);
        }
        subscriptions.resolve(
            &cluster(&[("orders", ErrorCode::None, 2), ("offers", ErrorCode::None, 2)]),
            10,
            true,
        );
        let is_new = |topic| subscriptions.is_newer_than_subscription(&TopicPartition::new(topic, 0));
        assert_eq!((["orders", "offers"].map(is_new), changes), ([false, true], 1), "{kind:?}");
    }
}

#[test]
fn b4_a_topic_without_a_leader_while_its_pattern_is_subscribed_to_again_stays_old() {
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(patterns(), 0);
    let one = cluster(&[("orders", ErrorCode::None, 2)]);
    subscriptions.resolve(&one, 1, true);
    subscriptions.replace(patterns(), 1);
    subscriptions.resolve(&cluster(&[("orders", ErrorCode::LeaderNotAvailable, 0)]), 2, true);
    subscriptions.resolve(&one, 3, true);
    assert!(!subscriptions.is_newer_than_subscription(&TopicPartition::new("orders", 0)));
}

/// What one more pattern matches begins as a new subscription does, and what the others match goes on.
#[test]
fn b4_a_pattern_that_is_added_leaves_the_topics_of_the_others_as_they_were() {
    let pattern = |pattern| Regex::new(pattern).unwrap();
    let more = Subscription::Patterns(vec![pattern("^o.*$"), pattern("^p.*$")]);
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(patterns(), 0);
    subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 1)]), 1, true);
    assert!(subscriptions.replace(more, 1));
    let all = ["orders", "offers", "payments"].map(|topic| (topic, ErrorCode::None, 1));
    subscriptions.resolve(&cluster(&all), 2, true);
    let is_new = |topic| subscriptions.is_newer_than_subscription(&TopicPartition::new(topic, 0));
    assert_eq!(["orders", "offers", "payments"].map(is_new), [false, true, false]);
}

#[test]
fn b4_a_partition_that_a_listing_from_before_a_pattern_did_not_show_is_old() {
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(patterns(), 7);
    subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 1)]), 7, true);
    subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 2)]), 8, true);
    assert!(!subscriptions.is_newer_than_subscription(&TopicPartition::new("orders", 1)));
}

/// A listing for an earlier pattern, or for `topics_matching`, may be minutes old.
#[test]
fn b4_a_topic_that_a_listing_from_before_a_pattern_did_not_show_is_old() {
    for kind in [patterns(), broker_pattern()] {
        let mut subscriptions = Subscriptions::none();
        subscriptions.replace(kind.clone(), 7);
        subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 2)]), 7, true);
        let lists_all = subscriptions.lists_all(false);
        assert!(lists_all, "{kind:?}: what exists now is still to be learnt");
        let two = cluster(&[("orders", ErrorCode::None, 2), ("offers", ErrorCode::None, 2)]);
        subscriptions.resolve(&two, 8, true);
        let three = cluster(&[
            ("orders", ErrorCode::None, 2),
            ("offers", ErrorCode::None, 2),
            ("others", ErrorCode::None, 2),
        ]);
        subscriptions.resolve(&three, 9, true);
        let is_new = |topic| subscriptions.is_newer_than_subscription(&TopicPartition::new(topic, 0));
        assert_eq!(["orders", "offers", "others"].map(is_new), [false, false, true], "{kind:?}");
    }
}

#[test]
fn that_no_topic_matches_is_told_once_until_one_does() {
    let mut subscriptions = Subscriptions::none();
    let shows = |name| cluster(&[(name, ErrorCode::None, 2)]);
    subscriptions.replace(Subscription::Patterns(vec![Regex::new("^(?:o.*)$").unwrap()]), 7);
    let told = |subscriptions: &mut Subscriptions| {
        subscriptions.newly_without_match().is_some_and(|error| error.to_string().contains("`o.*`"))
    };
    for (learnt, name, is_told) in [
        (7, "payments", false), // from before the subscription
        (8, "payments", true),
        (9, "payments", false),
        (10, "orders", false),
        (11, "payments", true),
    ] {
        subscriptions.resolve(&shows(name), learnt, true);
        assert_eq!(told(&mut subscriptions), is_told, "{learnt}");
    }
    subscriptions.replace(names(), 11);
    subscriptions.resolve(&shows("payments"), 12, true);
    assert!(!told(&mut subscriptions), "a name");
    for (name, is_told) in [("payments", true), ("orders", false)] {
        subscriptions.clear();
        subscriptions.replace(broker_pattern(), 12);
        subscriptions.resolve(&shows("payments"), 12, true);
        assert!(!told(&mut subscriptions), "from before the subscription");
        subscriptions.resolve(&shows(name), 13, true);
        assert_eq!(told(&mut subscriptions), is_told, "{name}");
        let mut assigned = shows("orders");
        assigned.lists_all = false;
        subscriptions.resolve(&assigned, 14, true);
        assert!(!told(&mut subscriptions), "{name}, again");
    }
    subscriptions.replace(Subscription::BrokerPattern("o(".to_owned()), 14);
    subscriptions.resolve(&shows("payments"), 15, true);
    assert!(!told(&mut subscriptions), "the broker says what is wrong with it");
}

#[test]
fn b3_b4_a_topic_that_was_created_again_is_born_later_whole_and_a_stale_answer_changes_nothing() {
    let with_id = |id: u8, partitions| {
        let mut cluster = cluster(&[("orders", ErrorCode::None, partitions)]);
        for info in cluster.topics.values_mut() {
            info.id = Uuid([id; 16]);
        }
        cluster
    };
    let third = TopicPartition::new("orders", 2);
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(Subscription::Topics(vec!["orders".into()]), 0);
    subscriptions.resolve(&with_id(1, 3), 1, true);
    subscriptions.resolve(&with_id(1, 3), 2, true);
    subscriptions.resolve(&cluster(&[("orders", ErrorCode::UnknownTopicOrPartition, 0)]), 3, true);
    assert!(!subscriptions.is_newer_than_subscription(&third), "it is the same topic");
    subscriptions.resolve(&with_id(2, 1), 4, true);
    assert!(subscriptions.is_newer_than_subscription(&third), "it has one partition, and grows");
    assert!(subscriptions.is_newer_than_subscription(&TopicPartition::new("orders", 0)), "all of it is new");
    subscriptions.resolve(&with_id(1, 3), 5, true);
    subscriptions.resolve(&with_id(2, 3), 6, true);
    assert!(subscriptions.is_newer_than_subscription(&third));
}

#[test]
fn b8_a_topic_that_may_not_be_seen_is_told_once_until_it_may() {
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(Subscription::Topics(vec!["secret".into()]), 0);
    let refused = cluster(&[("secret", ErrorCode::TopicAuthorizationFailed, 0)]);
    assert_eq!(subscriptions.newly_refused(&refused, 9).len(), 1);
    assert!(subscriptions.newly_refused(&refused, 9).is_empty());
    assert!(subscriptions.newly_refused(&cluster(&[("secret", ErrorCode::None, 1)]), 9).is_empty());
    assert_eq!(subscriptions.newly_refused(&refused, 9).len(), 1);
    subscriptions.replace(Subscription::Topics(vec!["secret".into()]), 1);
    assert_eq!(subscriptions.newly_refused(&refused, 9).len(), 1, "subscribed to again");
}

#[test]
fn b4_a_topic_that_no_listing_had_since_the_subscription_is_born_later_too() {
    for (learnt, is_born_later) in [(7, false), (8, true)] {
        let mut subscriptions = Subscriptions::none();
        subscriptions.replace(Subscription::Topics(vec!["later".into()]), 7);
        subscriptions.resolve(&cluster(&[("orders", ErrorCode::None, 2)]), learnt, true);
        subscriptions.resolve(&cluster(&[("later", ErrorCode::None, 2)]), 9, true);
        let is_new = subscriptions.is_newer_than_subscription(&TopicPartition::new("later", 0));
        assert_eq!(is_new, is_born_later, "by a listing that was asked for as the {learnt}th");
    }
}

fn patterns() -> Subscription {
    Subscription::Patterns(vec![Regex::new("^o.*$").unwrap()])
}

fn names() -> Subscription {
    Subscription::Topics(vec!["orders".into()])
}

fn broker_pattern() -> Subscription {
    Subscription::BrokerPattern("o.*".to_owned())
}

#[test]
fn b7_all_topics_are_listed_for_patterns_and_for_a_brokers_pattern_once_or_to_name_what_it_assigned() {
    for (kind, before, after, unnamed) in [
        (Subscription::None, false, false, false),
        (Subscription::Assigned, false, false, false),
        (names(), false, false, false),
        (patterns(), true, true, true),
        (broker_pattern(), true, false, true),
    ] {
        let mut subscriptions = Subscriptions::none();
        let what = format!("{kind:?}");
        subscriptions.replace(kind.clone(), 0);
        assert_eq!(subscriptions.lists_all(false), before, "{what}");
        let listing = cluster(&[("orders", ErrorCode::None, 2)]);
        let is_known = subscriptions.resolve(&listing, 1, true).is_some();
        assert_eq!(is_known, kind.is_of_a_group(), "{what}");
        let listed = (subscriptions.lists_all(false), subscriptions.lists_all(true));
        assert_eq!(listed, (after, unnamed), "{what}");
        subscriptions.replace(kind.clone(), 1);
        assert_eq!(subscriptions.lists_all(false), after, "{what}: the same again");
        subscriptions.clear();
        subscriptions.replace(kind, 1);
        assert_eq!(subscriptions.lists_all(false), before, "{what}: subscribed to anew");
    }
}

/// Only the broker knows which topics match: all that exist at first are old, and all that are created
/// later are new.
#[test]
fn b4_all_topics_first_seen_for_a_broker_side_pattern_are_old() {
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(broker_pattern(), 0);
    let mut partial = cluster(&[("orders", ErrorCode::None, 2)]);
    partial.lists_all = false;
    assert_eq!(subscriptions.resolve(&partial, 1, true), None, "there may be more");
    let first = cluster(&[("orders", ErrorCode::None, 2), ("payments", ErrorCode::None, 2)]);
    assert_eq!(subscriptions.resolve(&first, 2, true).unwrap().len(), 2);
    let mut later = cluster(&[("offers", ErrorCode::None, 2)]);
    later.lists_all = false;
    assert_eq!(subscriptions.resolve(&later, 3, true).unwrap().len(), 1, "what is assigned by its id");
    let born_later = |topic| subscriptions.is_newer_than_subscription(&TopicPartition::new(topic, 1));
    assert_eq!([born_later("orders"), born_later("payments"), born_later("offers")], [false, false, true]);
}

#[test]
fn b4_known_partitions_stay_known_until_nothing_is_subscribed_to() {
    let (two, three) =
        (cluster(&[("orders", ErrorCode::None, 2)]), cluster(&[("orders", ErrorCode::None, 3)]));
    let third = TopicPartition::new("orders", 2);
    let mut subscriptions = Subscriptions::none();
    subscriptions.replace(names(), 0);
    subscriptions.resolve(&two, 1, true);
    subscriptions.replace(patterns(), 1);
    subscriptions.resolve(&three, 2, true);
    assert!(subscriptions.is_newer_than_subscription(&third), "since the first of the two");
    subscriptions.clear();
    assert!(matches!(subscriptions.kind(), Subscription::None));
    subscriptions.replace(names(), 2);
    subscriptions.resolve(&three, 3, true);
    assert!(!subscriptions.is_newer_than_subscription(&third), "it was there");
}

#[test]
fn b4_a_topic_that_was_left_and_is_subscribed_to_again_begins_as_a_new_one() {
    let shows = |orders| cluster(&[("orders", ErrorCode::None, orders), ("payments", ErrorCode::None, 1)]);
    let both = || Subscription::Topics(vec!["orders".into(), "payments".into()]);
    let others = || Subscription::Topics(vec!["payments".into()]);
    let pattern = |pattern: &str| Subscription::Patterns(vec![Regex::new(pattern).unwrap()]);
    let added = TopicPartition::new("orders", 2);
    for (first, meanwhile, again) in [
        (both(), others(), both()),
        (both(), Subscription::Assigned, both()),
        (pattern("^.*$"), pattern("^p.*$"), pattern("^.*$")),
        (both(), pattern("^p.*$"), both()),
        (pattern("^.*$"), others(), both()),
    ] {
        let what = format!("{first:?}, then {meanwhile:?}, then {again:?}");
        let mut subscriptions = Subscriptions::none();
        subscriptions.replace(first, 0);
        subscriptions.resolve(&shows(2), 1, true);
        subscriptions.replace(meanwhile, 1);
        subscriptions.resolve(&shows(3), 2, true);
        subscriptions.replace(again, 2);
        subscriptions.resolve(&shows(3), 3, true);
        assert!(!subscriptions.is_newer_than_subscription(&added), "{what}");
        subscriptions.resolve(&shows(4), 4, true);
        assert!(subscriptions.is_newer_than_subscription(&TopicPartition::new("orders", 3)), "{what}");
    }
}

#[test]
fn b8_a_topic_that_cannot_exist_is_told_and_one_that_does_not_is_waited_for() {
    let mut subscriptions = Subscriptions::none();
    let named: Vec<Topic> = ["bad", "missing", "orders"].map(Topic::from).into();
    subscriptions.replace(Subscription::Topics(named.clone()), 0);
    assert_eq!(subscriptions.names(), named);
    let now = cluster(&[
        ("bad", ErrorCode::InvalidTopicException, 0),
        ("missing", ErrorCode::UnknownTopicOrPartition, 0),
        ("orders", ErrorCode::None, 1),
        ("secret", ErrorCode::TopicAuthorizationFailed, 0),
    ]);
    let bad = ("bad".into(), ErrorCode::InvalidTopicException);
    assert_eq!(subscriptions.newly_refused(&now, 9), [bad], "and nothing that nobody named");
    subscriptions.replace(patterns(), 0);
    assert!(subscriptions.names().is_empty());
}

#[test]
fn that_a_topic_was_missing_before_the_subscription_says_nothing() {
    for (learnt, is_newer) in [(7, false), (8, true)] {
        let mut subscriptions = Subscriptions::none();
        subscriptions.replace(Subscription::Topics(vec!["later".into()]), 7);
        // The view of the 7th request may be minutes old.
        let missing = cluster(&[("later", ErrorCode::UnknownTopicOrPartition, 0)]);
        subscriptions.resolve(&missing, learnt, true);
        subscriptions.resolve(&cluster(&[("later", ErrorCode::None, 2)]), 9, true);
        let partition = TopicPartition::new("later", 0);
        assert_eq!(subscriptions.is_newer_than_subscription(&partition), is_newer);
    }
}
