//! Which topics are kept fresh, and which ones the subscription matches.

use std::{collections::BTreeSet, time::Instant};

use offtake_group::Member;
use offtake_machine::{Cluster, Topic, TopicPartition};
use offtake_wire::ErrorCode;
use regex::Regex;

use super::{
    Engine,
    lookups::{self, Known},
    missing::{MissingChanges, is_missing},
    waiters,
};
use crate::{command::Subscription, config::GroupProtocol, event::Event};

impl Engine {
    /// Keeps the metadata of these topics fresh: those subscribed to and assigned, and those that callers are
    /// asking about.
    pub(super) fn want_topics(&mut self, now: Instant) {
        let has_unnamed = self.member.as_ref().is_some_and(|member| !member.unnamed_topic_ids().is_empty());
        let of_group = self.member.as_ref().and_then(Member::group_topics);
        if self.subscriptions.lists_all(has_unnamed) || self.waiters.lookups.wants_all() {
            // Topics of other members may not be in the listing yet, and the leader needs them.
            self.metadata.want_all(now, of_group.cloned().unwrap_or_default());
            return;
        }
        let mut wanted = self.waiters.topics();
        wanted.extend(self.subscriptions.names().iter().cloned());
        wanted.extend(self.ownership.partitions().map(|partition| partition.topic.clone()));
        wanted.extend(of_group.into_iter().flatten().cloned());
        self.metadata.want_topics(now, wanted);
    }

    /// Tells the member which topics the subscription matches now.
    pub(super) fn resolve_subscription(&mut self, now: Instant) {
        let cluster = self.metadata.cluster().clone();
        let learnt = self.metadata.view_request();
        let exclude_internal = self.config.exclude_internal_topics;
        let Some(topics) = self.subscriptions.resolve(&cluster, learnt, exclude_internal) else { return };
        let topics = self.joinable(topics);
        if let Some(member) = self.member.as_mut().filter(|_| !self.group_failed) {
            match self.subscriptions.kind() {
                Subscription::BrokerPattern(pattern) => member.subscribe_pattern(now, pattern),
                _ => member.subscribe(now, topics),
            }
        }
    }

    /// Leaves out topics that the client may not read if the broker assigns: it refuses the whole membership
    /// for one of them. They are added once they may be read (FAILURES B8).
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

    pub(super) fn on_cluster_update(&mut self, now: Instant) {
        #[cfg(test)]
        {
            self.views += 1;
        }
        if self.reachability.cluster_is_known() {
            self.cluster_recovered();
        }
        self.resolve_subscription(now);
        let cluster = self.metadata.cluster().clone();
        self.vitals.cluster_is(&cluster);
        for (topic, code) in self.subscriptions.newly_refused(&cluster, self.metadata.view_request()) {
            self.fail(lookups::refused(&topic, code));
        }
        if let Some(error) = self.subscriptions.newly_without_match() {
            tracing::warn!("{error}; waiting for one");
            self.reporter.report(|| Event::Error(error));
        }
        let wanted: BTreeSet<_> = self.ownership.partitions().map(|partition| &partition.topic).collect();
        let wanted = wanted.into_iter().chain(self.subscriptions.names());
        let MissingChanges { missing, found } =
            self.missing_topics.look(now, wanted, |topic| is_missing(topic, &cluster));
        for topic in found {
            tracing::info!(%topic, "the topic exists now");
        }
        for topic in missing {
            let error = lookups::refused(&topic, ErrorCode::UnknownTopicOrPartition);
            tracing::warn!(%topic, "{error}; waiting for it");
            self.reporter.report(|| Event::Error(error));
        }
        self.look_for_partitions(now, &cluster);
        if let Some(member) = &mut self.member {
            member.handle_cluster(now, &cluster);
        }
        self.fetch.handle_cluster(now, &cluster);
        self.offsets.handle_cluster(now, &cluster);
        self.dials.find_leaders(&cluster, |partition| self.ownership.contains(partition));
        self.answer_lookups(now);
        if matches!(self.subscriptions.kind(), Subscription::BrokerPattern(_)) {
            // The full listing may not be needed any more.
            self.want_topics(now);
        }
    }

    /// Reports assigned partitions that their topics do not have.
    fn look_for_partitions(&mut self, now: Instant, cluster: &Cluster) {
        let missing = |partition: &TopicPartition| {
            // A missing topic is reported as such.
            let error =
                (!is_missing(&partition.topic, cluster)).then(|| waiters::missing(partition, cluster));
            error.flatten()
        };
        let assigned = self.ownership.partitions();
        let looked = self.missing_partitions.look(now, assigned, |partition| missing(partition).is_some());
        // One line for each topic: an assignment may name thousands of partitions that do not exist.
        let found: BTreeSet<_> = looked.found.iter().map(|partition| &partition.topic).collect();
        for topic in found {
            tracing::info!(%topic, "assigned partitions that were missing exist now");
        }
        for of_topic in looked.missing.chunk_by(|one, next| one.topic == next.topic) {
            let Some((partition, error)) = of_topic.iter().find_map(|it| Some((it, missing(it)?))) else {
                continue;
            };
            match of_topic.len().saturating_sub(1) {
                0 => tracing::warn!(%partition, "{error}; waiting for it"),
                others => {
                    tracing::warn!(%partition, others, "{error}; waiting for it and for others of the topic")
                }
            }
            self.reporter.report(|| Event::Error(error));
        }
    }

    /// Answers the queries about topics that can be answered now. Topics that no caller asks about any more
    /// are forgotten.
    pub(super) fn answer_lookups(&mut self, now: Instant) {
        let known = Known {
            cluster: self.metadata.cluster(),
            learnt: self.metadata.view_request(),
            trouble: self.reachability.trouble(),
            hopeless: self.reachability.is_hopeless(),
            exclude_internal: self.config.exclude_internal_topics,
        };
        let refused = self.waiters.refuse_missing(now, known.cluster, known.learnt);
        refused.iter().for_each(|id| self.offsets.cancel_query(*id));
        if self.waiters.lookups.answer_known(now, known) || !refused.is_empty() {
            self.want_topics(now);
        }
        if self.waiters.lookups.relists(now) {
            self.metadata.refresh_now(now);
        }
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
