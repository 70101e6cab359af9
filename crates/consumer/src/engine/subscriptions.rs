//! The subscription, and which topics of the cluster it matches.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{Cluster, Topic, TopicPartition};
use offtake_wire::{ErrorCode, Uuid};
use regex::Regex;

use super::{lookups, topics::matching};
use crate::{command::Subscription, error::Error};

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
        let shows_all = is_newer && cluster.lists_all;
        self.no_match = match (&self.kind, self.no_match) {
            (Subscription::Patterns(_), NoMatch::Told) if topics.is_empty() => NoMatch::Told,
            (Subscription::Patterns(_), _) if topics.is_empty() && self.catalog_seen => NoMatch::Untold,
            // All topics are listed once for the broker's pattern. What it assigns from then on says that there are some.
            (Subscription::BrokerPattern(pattern), NoMatch::No) if shows_all => {
                match matches_any(pattern, &topics) {
                    false => NoMatch::Untold,
                    true => NoMatch::No,
                }
            }
            (Subscription::BrokerPattern(_), told) => told,
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

    /// The error for the patterns, if no topic matches them and that was not told yet.
    pub(super) fn newly_without_match(&mut self) -> Option<Error> {
        if self.no_match != NoMatch::Untold {
            return None;
        }
        self.no_match = NoMatch::Told;
        match &self.kind {
            Subscription::Patterns(patterns) => {
                let patterns: Vec<_> = patterns.iter().map(as_given).collect();
                Some(lookups::no_match(&patterns))
            }
            Subscription::BrokerPattern(pattern) => Some(lookups::no_match_for_broker(pattern)),
            Subscription::None | Subscription::Topics(_) | Subscription::Assigned => None,
        }
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

/// Whether a pattern that only the broker matches would match one of these, as far as can be told here: the syntax is nearly the same.
fn matches_any(pattern: &str, topics: &BTreeSet<Topic>) -> bool {
    let pattern = Regex::new(&format!("^(?:{pattern})$"));
    pattern.map_or(true, |pattern| topics.iter().any(|topic| pattern.is_match(topic.as_str())))
}

/// A pattern without what makes it match whole names.
fn as_given(pattern: &Regex) -> &str {
    let text = pattern.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

#[cfg(test)]
mod tests;
