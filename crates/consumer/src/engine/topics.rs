//! Which topics are kept fresh, and what the subscription means by them.

use std::{collections::BTreeSet, time::Instant};

use offtake_group::Member;
use offtake_machine::{Cluster, Topic};
use offtake_wire::ErrorCode;
use regex::Regex;

use super::{Engine, command::Subscription, lookups};
use crate::config::GroupProtocol;

impl Engine {
    pub(super) fn ask_about(&mut self, now: Instant, topics: impl IntoIterator<Item = Topic>) {
        let before = self.asked.len();
        self.asked.extend(topics);
        if self.asked.len() != before {
            self.want_topics(now);
        }
    }

    pub(super) fn want_topics(&mut self, now: Instant) {
        let lists = match &self.subscription {
            Subscription::Patterns(_) => true,
            // Once, to know what there is already (FAILURES B4); then only for topics that the broker has assigned before
            // we have heard of them, which go by their ids (B7, F4).
            Subscription::BrokerPattern(_) => {
                let unnamed =
                    self.member.as_ref().is_some_and(|member| !member.wanted_topic_ids().is_empty());
                !self.listed || unnamed
            }
            Subscription::None | Subscription::Topics(_) | Subscription::Assigned => false,
        };
        if lists || self.lookups.wants_all() {
            self.metadata.want_all(now);
            return;
        }
        let mut wanted = self.asked.clone();
        if let Subscription::Topics(topics) = &self.subscription {
            wanted.extend(topics.iter().cloned());
        }
        wanted.extend(self.assigned.iter().map(|partition| partition.topic.clone()));
        if let Some(topics) = self.member.as_ref().and_then(Member::group_topics) {
            wanted.extend(topics.iter().cloned());
        }
        self.metadata.want_topics(now, wanted);
    }

    /// Tells the member which topics the subscription means now.
    pub(super) fn resolve_subscription(&mut self, now: Instant) {
        let cluster = self.metadata.cluster().clone();
        let topics: BTreeSet<Topic> = match &self.subscription {
            Subscription::None | Subscription::Assigned => return,
            Subscription::Topics(topics) => topics.iter().cloned().collect(),
            Subscription::Patterns(patterns) => {
                // Before the first full listing nothing is known to match.
                if !cluster.lists_all {
                    return;
                }
                matching(&cluster, patterns, self.config.exclude_internal_topics)
            }
            Subscription::BrokerPattern(_) => {
                if !self.listed && !cluster.lists_all {
                    return;
                }
                // Which of them match only the broker knows.
                cluster.topics.keys().cloned().collect()
            }
        };
        let patterns =
            matches!(self.subscription, Subscription::Patterns(_) | Subscription::BrokerPattern(_));
        let later = patterns && std::mem::replace(&mut self.listed, true);
        for name in &topics {
            let count = match cluster.topics.get(name) {
                Some(_) if later => 0,
                Some(info) if info.error.is_ok() => i32::try_from(info.partitions.len()).unwrap_or(i32::MAX),
                // It does not exist yet: all of it will have been born after the subscription.
                Some(info) if info.error == ErrorCode::UnknownTopicOrPartition => 0,
                _ => continue,
            };
            self.born.entry(name.clone()).or_insert(count);
        }
        let topics = self.joinable(topics);
        if let Some(member) = self.member.as_mut().filter(|_| !self.group_failed) {
            match &self.subscription {
                Subscription::BrokerPattern(pattern) => member.subscribe_pattern(now, pattern),
                _ => member.subscribe(now, topics),
            }
        }
    }

    /// Where the broker assigns it refuses the whole membership for one topic that may not be seen: the others are asked
    /// for without it, until it may be (FAILURES B8).
    fn joinable(&self, topics: BTreeSet<Topic>) -> BTreeSet<Topic> {
        if self.config.group_protocol == GroupProtocol::Classic {
            return topics;
        }
        let known = &self.metadata.cluster().topics;
        let refused = |topic: &Topic| {
            known.get(topic).is_some_and(|info| info.error == ErrorCode::TopicAuthorizationFailed)
        };
        let rest: BTreeSet<Topic> = topics.iter().filter(|topic| !refused(topic)).cloned().collect();
        if rest.is_empty() { topics } else { rest }
    }

    pub(super) fn cluster_news(&mut self, now: Instant) {
        self.cluster_changed = true;
        self.reached = true;
        if self.trouble.take().is_some() {
            tracing::info!("the cluster answers again");
        }
        self.resolve_subscription(now);
        self.tell_refused_topics();
        let cluster = self.metadata.cluster().clone();
        if let Some(member) = &mut self.member {
            member.handle_cluster(now, &cluster);
        }
        self.fetch.handle_cluster(now, &cluster);
        self.offsets.handle_cluster(now, &cluster);
        self.settle_lookups(now);
        if matches!(self.subscription, Subscription::BrokerPattern(_)) {
            // The listing may have served its purpose.
            self.want_topics(now);
        }
    }

    /// A topic that was subscribed to by name and may not be seen is told once; the others are read (FAILURES B8).
    fn tell_refused_topics(&mut self) {
        let mut refused = Vec::new();
        if let Subscription::Topics(topics) = &self.subscription {
            let known = &self.metadata.cluster().topics;
            let errors = topics.iter().filter_map(|topic| Some((topic.clone(), known.get(topic)?.error)));
            refused.extend(errors.filter(|(_, code)| {
                matches!(code, ErrorCode::TopicAuthorizationFailed | ErrorCode::InvalidTopicException)
            }));
        }
        let before =
            std::mem::replace(&mut self.refused, refused.iter().map(|(topic, _)| topic.clone()).collect());
        for (topic, code) in refused.into_iter().filter(|(topic, _)| !before.contains(topic)) {
            self.fail(lookups::refused(&topic, code));
        }
    }

    pub(super) fn settle_lookups(&mut self, now: Instant) {
        let hopeless = self.trouble.as_ref().filter(|error| !self.reached && !error.is_retriable());
        let cluster = self.metadata.cluster();
        self.lookups.settle(
            now,
            cluster,
            self.trouble.as_ref(),
            hopeless.is_some(),
            self.config.exclude_internal_topics,
        );
    }
}

/// The topics whose whole names match one of the patterns.
pub(super) fn matching(cluster: &Cluster, patterns: &[Regex], exclude_internal: bool) -> BTreeSet<Topic> {
    cluster
        .topics
        .iter()
        .filter(|(_, info)| info.error.is_ok() && !(exclude_internal && info.internal))
        .filter(|(name, _)| patterns.iter().any(|pattern| pattern.is_match(name.as_str())))
        .map(|(name, _)| name.clone())
        .collect()
}
