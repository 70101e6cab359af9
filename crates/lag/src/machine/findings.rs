//! Anomalies other than lag.

use std::collections::BTreeMap;

use offtake_admin::{Topic, TopicPartition};

use super::{Lag, log::Log};
use crate::report::{Finding, FindingKind, GroupReport};

/// A partition is hot if it gets more than this multiple of the mean of the topic's other partitions, …
const HOT: f64 = 3.0;
/// … and at least this many records a second.
const HOT_RATE: f64 = 10.0;
/// The number of rebalances within the window that is reported.
const REBALANCES: u32 = 3;

impl Lag {
    pub(super) fn findings(&self, groups: &[GroupReport]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for group in groups {
            findings.extend(idle_members(group));
            findings.extend(self.repeated_rebalances(group));
        }
        let mut topics: BTreeMap<&Topic, Vec<(&TopicPartition, f64)>> = BTreeMap::new();
        for (partition, log) in &self.logs {
            if let Some(rate) = self.produced(log) {
                topics.entry(&partition.topic).or_default().push((partition, rate));
            }
        }
        for (topic, rates) in topics {
            if self.config.dead_letters.is_match(topic.as_str()) {
                findings.extend(dead_letters(topic, &rates));
            } else {
                findings.extend(hot_partitions(topic, &rates));
            }
        }
        findings
    }

    /// The records appended per second, over the window.
    fn produced(&self, log: &Log) -> Option<f64> {
        let (to, end) = log.ends.last()?;
        let (from, begin) = log.ends.since(self.clock.now.saturating_sub(self.window()))?;
        let seconds = to.saturating_sub(from) as f64 / 1000.0;
        (seconds > 0.0).then(|| end.saturating_sub(begin).max(0) as f64 / seconds)
    }

    fn repeated_rebalances(&self, group: &GroupReport) -> Option<Finding> {
        let seconds = self.config.window.as_secs_f64();
        (group.rebalances >= REBALANCES).then(|| Finding {
            kind: FindingKind::RepeatedRebalances,
            group: Some(group.group.clone()),
            topic: None,
            partition: None,
            message: format!(
                "group `{}` rebalanced {} times within {seconds} s: members come and go, or take longer than max.poll.interval.ms",
                group.group, group.rebalances
            ),
        })
    }
}

fn idle_members(group: &GroupReport) -> Option<Finding> {
    let idle = group.members.iter().filter(|member| member.partitions == 0).count();
    (group.state == "Stable" && idle > 0).then(|| Finding {
        kind: FindingKind::IdleMember,
        group: Some(group.group.clone()),
        topic: None,
        partition: None,
        message: format!(
            "{idle} of {} members of group `{}` own nothing: there are more members than partitions",
            group.members.len(),
            group.group
        ),
    })
}

fn dead_letters(topic: &Topic, rates: &[(&TopicPartition, f64)]) -> Option<Finding> {
    let rate: f64 = rates.iter().map(|(_, rate)| rate).sum();
    (rate > 0.0).then(|| Finding {
        kind: FindingKind::DeadLetters,
        group: None,
        topic: Some(topic.as_str().to_owned()),
        partition: None,
        message: format!("`{topic}` grows by {:.1} dead letters a minute", rate * 60.0),
    })
}

fn hot_partitions(topic: &Topic, rates: &[(&TopicPartition, f64)]) -> Vec<Finding> {
    let all: f64 = rates.iter().map(|(_, rate)| rate).sum();
    let others = rates.len().saturating_sub(1);
    let mean_of_others = |rate: f64| (all - rate) / others as f64;
    let hot = rates
        .iter()
        .filter(|(_, rate)| others > 0 && *rate >= HOT_RATE && *rate > HOT * mean_of_others(*rate));
    let finding = |(partition, rate): &(&TopicPartition, f64)| Finding {
        kind: FindingKind::HotPartition,
        group: None,
        topic: Some(topic.as_str().to_owned()),
        partition: Some(partition.partition),
        message: format!(
            "{partition} takes {rate:.0} records a second, and the others of its topic {:.0} each: many records have the same key",
            mean_of_others(*rate)
        ),
    };
    hot.map(finding).collect()
}
