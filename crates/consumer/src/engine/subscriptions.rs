//! The subscription, and which topics of the cluster it matches.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{Cluster, Topic, TopicPartition};
use offtake_wire::{ErrorCode, Uuid};
use regex::Regex;

use super::topics::matching;
use crate::command::Subscription;

#[derive(Debug)]
pub(super) struct Subscriptions {
    kind: Subscription,
    /// Topics as they were when first seen after the subscription: partitions created later are read from
    /// their first record, whatever `auto.offset.reset` says (FAILURES B4).
    at_subscribe: BTreeMap<Topic, FirstSeen>,
    /// Topics of the subscription that the client may not read, or that cannot exist, and that were reported.
    refused: BTreeSet<Topic>,
    /// Whether the topics that matched at the time of the pattern subscription are known, by a listing that was asked for
    /// after it: others were created later.
    catalog_seen: bool,
    no_match: NoMatch,
    /// The patterns that the subscription before this one had too, when the topics were known that matched them: others that
    /// match were created later.
    goes_on: Vec<Regex>,
    /// How many metadata requests had been sent when this was subscribed to.
    asked_before: u64,
}

/// Whether no topic matches the patterns, of all that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoMatch {
    No,
    Untold,
    Told,
}

/// A topic as it was when it was first seen after the subscription.
#[derive(Clone, Copy, Debug)]
struct FirstSeen {
    partitions: i32,
    /// Zero if the brokers do not send it.
    id: Uuid,
}

impl FirstSeen {
    const MISSING: Self = Self { partitions: 0, id: Uuid::ZERO };

    /// Notes that the topic exists with this id. If it was created again, all of it is newer than the
    /// subscription.
    fn sees(&mut self, id: Uuid) {
        if id != Uuid::ZERO && self.id != Uuid::ZERO && self.id != id {
            self.partitions = 0;
        }
        if id != Uuid::ZERO {
            self.id = id;
        }
    }
}

impl Subscriptions {
    pub(super) fn none() -> Self {
        Self {
            kind: Subscription::None,
            at_subscribe: BTreeMap::new(),
            refused: BTreeSet::new(),
            catalog_seen: false,
            no_match: NoMatch::No,
            goes_on: Vec::new(),
            asked_before: 0,
        }
    }

    pub(super) fn kind(&self) -> &Subscription {
        &self.kind
    }

    /// Replaces the subscription, when `asked` metadata requests have been sent. What is known of the
    /// partitions of topics that stay is kept; a topic that is dropped, and subscribed to again, counts as
    /// new. Refusals are reported anew. The same patterns again change nothing: returns whether anything does.
    pub(super) fn replace(&mut self, kind: Subscription, asked: u64) -> bool {
        if self.kind.has_patterns_of(&kind) {
            return false;
        }
        match &kind {
            Subscription::Topics(topics) => self.at_subscribe.retain(|topic, _| topics.contains(topic)),
            Subscription::None | Subscription::Assigned => self.at_subscribe.clear(),
            // The first listing shows which topics stay.
            Subscription::Patterns(_) | Subscription::BrokerPattern(_) => {}
        }
        self.goes_on = self.continued(&kind);
        self.kind = kind;
        self.refused.clear();
        self.catalog_seen = false;
        self.no_match = NoMatch::No;
        self.asked_before = asked;
        true
    }

    /// The patterns of a new subscription of which it is known which topics matched them.
    fn continued(&self, kind: &Subscription) -> Vec<Regex> {
        let known = match &self.kind {
            Subscription::Patterns(patterns) if self.catalog_seen => patterns,
            _ => &self.goes_on,
        };
        let Subscription::Patterns(patterns) = kind else { return Vec::new() };
        let is_known = |pattern: &&Regex| known.iter().any(|known| known.as_str() == pattern.as_str());
        patterns.iter().filter(is_known).cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::none();
    }

    /// Whether all topics of the cluster have to be listed. `has_unnamed`: the broker has assigned a topic by
    /// an id whose name we do not know.
    pub(super) fn lists_all(&self, has_unnamed: bool) -> bool {
        match &self.kind {
            Subscription::Patterns(_) => true,
            // Once, to know the topics that exist already (FAILURES B4); then only for topics that the broker
            // has assigned by their ids before we know their names (FAILURES B7, F4).
            Subscription::BrokerPattern(_) => !self.catalog_seen || has_unnamed,
            Subscription::None | Subscription::Topics(_) | Subscription::Assigned => false,
        }
    }

    /// The topics subscribed to by name.
    pub(super) fn names(&self) -> &[Topic] {
        match &self.kind {
            Subscription::Topics(topics) => topics,
            Subscription::None
            | Subscription::Patterns(_)
            | Subscription::BrokerPattern(_)
            | Subscription::Assigned => &[],
        }
    }

    /// The topics that the subscription matches now, by the view from that many requests; `None` as long as
    /// they are not known, and for a manual assignment.
    pub(super) fn resolve(
        &mut self,
        cluster: &Cluster,
        learnt: u64,
        exclude_internal: bool,
    ) -> Option<BTreeSet<Topic>> {
        let topics: BTreeSet<Topic> = match &self.kind {
            Subscription::None | Subscription::Assigned => return None,
            Subscription::Topics(topics) => topics.iter().cloned().collect(),
            // Before the first full listing it is not known what matches.
            Subscription::Patterns(_) if !cluster.lists_all => return None,
            Subscription::Patterns(patterns) => matching(cluster, patterns, exclude_internal),
            Subscription::BrokerPattern(_) if !self.catalog_seen && !cluster.lists_all => return None,
            // Only the broker knows which of them match.
            Subscription::BrokerPattern(_) => cluster.topics.keys().cloned().collect(),
        };
        let by_pattern = self.kind.is_by_pattern();
        // An older view may have been right then.
        let is_newer = learnt > self.asked_before;
        let is_later = by_pattern && self.catalog_seen;
        self.catalog_seen |= by_pattern && is_newer && cluster.lists_all;
        self.no_match = match (&self.kind, self.no_match) {
            (Subscription::Patterns(_), NoMatch::Told) if topics.is_empty() => NoMatch::Told,
            (Subscription::Patterns(_), _) if topics.is_empty() && self.catalog_seen => NoMatch::Untold,
            _ => NoMatch::No,
        };
        let goes_on = |name: &Topic| self.goes_on.iter().any(|pattern| pattern.is_match(name.as_str()));
        if by_pattern && !is_later {
            self.at_subscribe.retain(|topic, _| topics.contains(topic) || goes_on(topic));
        }
        for name in &topics {
            let info = cluster.topics.get(name);
            let first = match info {
                Some(_) if is_later || goes_on(name) => FirstSeen::MISSING,
                // It may have grown between that listing and the subscription.
                Some(_) if by_pattern && !is_newer => continue,
                Some(info) if info.error.is_ok() => {
                    let partitions = i32::try_from(info.partitions.len()).unwrap_or(i32::MAX);
                    FirstSeen { partitions, id: info.id }
                }
                // It does not exist yet: all of it will be newer than the subscription.
                Some(info) if is_newer && info.error == ErrorCode::UnknownTopicOrPartition => {
                    FirstSeen::MISSING
                }
                None if is_newer && cluster.lists_all => FirstSeen::MISSING,
                _ => continue,
            };
            let seen = self.at_subscribe.entry(name.clone()).or_insert(first);
            if let Some(info) = info.filter(|info| info.error.is_ok()) {
                seen.sees(info.id);
            }
        }
        Some(topics)
    }

    /// The patterns, if no topic matches them and that was not told yet.
    pub(super) fn newly_without_match(&mut self) -> Option<Vec<&str>> {
        if self.no_match != NoMatch::Untold {
            return None;
        }
        self.no_match = NoMatch::Told;
        let Subscription::Patterns(patterns) = &self.kind else { return None };
        Some(patterns.iter().map(as_given).collect())
    }

    /// Whether the partition did not exist when its topic was subscribed to.
    pub(super) fn is_newer_than_subscription(&self, partition: &TopicPartition) -> bool {
        let first = self.at_subscribe.get(&partition.topic);
        first.is_some_and(|first| partition.partition >= first.partitions)
    }

    /// Whether a topic of the subscription is refused, as far as is known.
    pub(super) fn has_refused(&self, cluster: &Cluster) -> bool {
        self.refusals(cluster).next().is_some()
    }

    fn refusals(&self, cluster: &Cluster) -> impl Iterator<Item = (Topic, ErrorCode)> {
        let error_of = |topic: &Topic| Some((topic.clone(), cluster.topics.get(topic)?.error));
        self.names().iter().filter_map(error_of).filter(|(_, code)| {
            matches!(code, ErrorCode::TopicAuthorizationFailed | ErrorCode::InvalidTopicException)
        })
    }

    /// Topics of a subscription by name that the client may not read, or that cannot exist, each once; the
    /// others are read (FAILURES B8).
    pub(super) fn newly_refused(&mut self, cluster: &Cluster, learnt: u64) -> Vec<(Topic, ErrorCode)> {
        if learnt <= self.asked_before {
            return Vec::new(); // from before the subscription
        }
        let mut refused: Vec<_> = self.refusals(cluster).collect();
        let now = refused.iter().map(|(topic, _)| topic.clone()).collect();
        let before = std::mem::replace(&mut self.refused, now);
        refused.retain(|(topic, _)| !before.contains(topic));
        refused
    }
}

/// A pattern without what makes it match whole names.
fn as_given(pattern: &Regex) -> &str {
    let text = pattern.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
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
        for (learnt, name, told) in [
            (7, "payments", None), // from before the subscription
            (8, "payments", Some(vec!["o.*"])),
            (9, "payments", None),
            (10, "orders", None),
            (11, "payments", Some(vec!["o.*"])),
        ] {
            subscriptions.resolve(&shows(name), learnt, true);
            assert_eq!(subscriptions.newly_without_match(), told, "{learnt}");
        }
        subscriptions.replace(names(), 11);
        subscriptions.resolve(&shows("payments"), 12, true);
        assert_eq!(subscriptions.newly_without_match(), None, "a name");
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
        assert!(
            subscriptions.is_newer_than_subscription(&TopicPartition::new("orders", 0)),
            "all of it is new"
        );
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
        assert_eq!(
            [born_later("orders"), born_later("payments"), born_later("offers")],
            [false, false, true]
        );
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
        let shows =
            |orders| cluster(&[("orders", ErrorCode::None, orders), ("payments", ErrorCode::None, 1)]);
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
}
