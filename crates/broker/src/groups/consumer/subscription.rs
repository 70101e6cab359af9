//! The subscriptions of members: names, patterns, and when a change of either moves the group epoch.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use regex::Regex;
use uuid::Uuid;

use super::{ClusterView, Consumer, Member, Refusal, assign};

/// The change that a heartbeat or a join made to a member's subscription.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// The assignment must be adapted to the subscription.
    pub(super) any: bool,
    /// The group epoch moves at once. A pattern that is not yet resolved moves it once it is.
    pub(super) bumps: bool,
}

impl Consumer {
    /// Compares a member before and after a request, drops unused patterns and checks a new one. The group still
    /// contains the member as it was before.
    pub(super) fn change(&mut self, was: &Member, is: &Member) -> Result<Change, Refusal> {
        let names = was.names != is.names;
        let mut change = Change { any: names, bumps: names };
        if was.pattern == is.pattern {
            return Ok(change);
        }
        change.any = true;
        if !is.pattern.is_empty() {
            if self.readers_of(&is.pattern) == 0 {
                compile(&is.pattern)?;
            } else {
                change.bumps |= self.patterns.contains_key(&is.pattern);
            }
        } else {
            change.bumps = true;
        }
        if !was.pattern.is_empty() && self.readers_of(&was.pattern) == 1 {
            self.patterns.remove(&was.pattern);
        }
        Ok(change)
    }

    /// Checks the subscribed topics again; a change of them, or `bumps`, moves the group epoch.
    pub(super) fn refresh_topics(&mut self, bumps: bool, world: &ClusterView) {
        let topics = self.subscribed_topics(world);
        if bumps || topics != self.topics {
            self.epoch += 1;
        }
        self.topics = topics;
    }

    /// Computes a new target if the group epoch has moved since the last one, unless that is too young (KIP-1263).
    pub(super) fn refresh_target(&mut self, world: &ClusterView) {
        let young = self
            .target_since
            .is_some_and(|since| world.now.saturating_duration_since(since) < world.assignment_interval);
        if self.epoch <= self.target_epoch || young {
            return;
        }
        let members = self.members.values().map(|member| assign::MemberToAssign {
            id: member.id.clone(),
            topics: self.subscribed_ids(member, world),
            has: self.target.get(&member.id).cloned().unwrap_or_default(),
        });
        let parties: Vec<assign::MemberToAssign> = members.collect();
        self.target = match self.assignor() {
            "range" => assign::range(parties, &|id| world.partitions_of(id)),
            _ => assign::uniform(parties, &|id| world.partitions_of(id)),
        };
        self.target_epoch = self.epoch;
        self.target_since = Some(world.now);
    }

    /// The assignor that most members prefer, or `uniform`.
    pub(super) fn assignor(&self) -> &str {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.assignor.as_deref()) {
            *counts.entry(name).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map_or("uniform", |(name, _)| name)
    }

    /// Resolves the members' patterns to topics: all of them, or only the new ones. Kafka does it apart from the
    /// request that brings a pattern, whose answer therefore does not reflect it.
    pub(super) fn resolve_patterns(&mut self, all: bool, world: &ClusterView) {
        let wanted: BTreeSet<String> = self
            .members
            .values()
            .map(|member| member.pattern.clone())
            .filter(|pattern| !pattern.is_empty() && (all || !self.patterns.contains_key(pattern)))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let mut bumps = false;
        for pattern in wanted {
            // It was checked on arrival.
            let Ok(compiled) = compile(&pattern) else { continue };
            let names = world.topics.keys().filter(|name| compiled.is_match(name));
            let matched: BTreeSet<String> = names.cloned().collect();
            bumps |= self.patterns.get(&pattern).map_or(!matched.is_empty(), |before| *before != matched);
            self.patterns.insert(pattern, matched);
        }
        self.refresh_topics(bumps, world);
    }

    /// The ids of the existing topics that a member reads.
    pub(super) fn subscribed_ids(&self, member: &Member, world: &ClusterView) -> BTreeSet<Uuid> {
        let matched = self.patterns.get(&member.pattern).into_iter().flatten();
        let names = member.names.iter().chain(matched);
        names.filter_map(|name| world.topics.get(name)).map(|(id, _)| *id).collect()
    }

    /// Removes patterns that no member subscribes to any more.
    pub(super) fn forget_patterns(&mut self) {
        let used: BTreeSet<&str> = self.members.values().map(|member| member.pattern.as_str()).collect();
        self.patterns.retain(|pattern, _| used.contains(pattern.as_str()));
    }

    pub(super) fn subscribed_topics(&self, world: &ClusterView) -> BTreeMap<String, (Uuid, i32)> {
        let by_name = self.members.values().flat_map(|member| &member.names);
        let names = by_name.chain(self.patterns.values().flatten());
        names.filter_map(|name| Some((name.clone(), *world.topics.get(name)?))).collect()
    }

    fn readers_of(&self, pattern: &str) -> usize {
        self.members.values().filter(|member| member.pattern == pattern).count()
    }
}

/// Compiles a pattern, which matches whole names. Kafka's are RE2's, which differ little from those of this crate.
fn compile(pattern: &str) -> Result<Regex, Refusal> {
    // Compiled alone first: `)(` is not a valid pattern.
    Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$"))).map_err(|error| {
        let why = error.to_string();
        let why =
            RE2_MESSAGES.iter().find(|(ours, _)| why.contains(ours)).map_or("syntax error", |(_, re2)| re2);
        let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        Refusal::new(ResponseError::InvalidRegularExpression, message)
    })
}

/// RE2's names for the errors in a pattern.
const RE2_MESSAGES: &[(&str, &str)] = &[
    ("unclosed group", "missing closing )"),
    ("unopened group", "unexpected )"),
    ("unclosed character class", "missing closing ]"),
    ("repetition operator missing expression", "missing argument to repetition operator"),
    ("incomplete escape sequence", "trailing backslash at end of expression"),
    ("unrecognized escape sequence", "invalid escape sequence"),
];
