//! The plan of a replay, by partition of the dead-letter topic.

use std::collections::{BTreeMap, BTreeSet};

use offtake::TopicPartition;
use serde_json::json;

use super::{filter::Filter, letter::Letter, source::Source};
use crate::{
    failure::{Failure, say},
    output::Output,
    text::table::Sheet,
};

/// The letters to replay, and their target.
pub(super) struct Choice {
    pub(super) filter: Filter,
    /// The target topic, instead of their origins.
    pub(super) to: Option<String>,
}

/// The decision about a dead letter.
#[derive(Debug, PartialEq)]
pub(super) enum Disposition {
    /// It goes to this topic.
    Replayed(String),
    /// A filter leaves it out.
    LeftOut,
    /// Its origin is unknown.
    UnknownOrigin,
}

impl Choice {
    pub(super) fn disposition(&self, letter: &Letter<'_>) -> Disposition {
        if !self.filter.passes(letter) {
            return Disposition::LeftOut;
        }
        match self.to.as_ref().or(letter.origin.topic.as_ref()) {
            Some(topic) if !topic.is_empty() => Disposition::Replayed(topic.clone()),
            _ => Disposition::UnknownOrigin,
        }
    }
}

/// The part of one partition.
#[derive(Default)]
struct Share {
    from: i64,
    to: i64,
    by_target: BTreeMap<String, u64>,
    left_out: u64,
}

/// The letters of a topic, and the progress.
#[derive(Default)]
pub(super) struct Plan {
    shares: BTreeMap<TopicPartition, Share>,
    unknown_origin: u64,
    /// The partitions whose replay is complete and committed.
    done: BTreeSet<TopicPartition>,
}

impl Plan {
    pub(super) fn new(source: &Source) -> Self {
        let share = |from, to| Share { from, to, ..Share::default() };
        let ranges = source.ranges.iter();
        let shares = ranges.map(|(partition, range)| (partition.clone(), share(range.from, range.end)));
        Self { shares: shares.collect(), ..Self::default() }
    }

    pub(super) fn add(&mut self, letter: &Letter<'_>, disposition: Disposition) {
        let share = self.shares.entry(letter.record.topic_partition().clone()).or_default();
        let count = match disposition {
            Disposition::Replayed(topic) => share.by_target.entry(topic).or_default(),
            Disposition::LeftOut => &mut share.left_out,
            Disposition::UnknownOrigin => &mut self.unknown_origin,
        };
        *count = count.saturating_add(1);
    }

    /// Checks that each letter has a target.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.unknown_origin {
            0 => Ok(()),
            1 => Err(Failure::failed(
                "1 dead letter does not say which topic it came from: replay it --to TOPIC, or leave it out by --from-topic",
            )),
            many => Err(Failure::failed(format!(
                "{many} dead letters do not say which topic they came from: replay them --to TOPIC, or leave them out by --from-topic"
            ))),
        }
    }

    pub(super) fn targets(&self) -> BTreeSet<&str> {
        let targets = self.shares.values().flat_map(|share| share.by_target.keys());
        targets.map(String::as_str).collect()
    }

    pub(super) fn records(&self) -> u64 {
        self.shares.values().flat_map(|share| share.by_target.values()).sum()
    }

    pub(super) fn left_out(&self) -> u64 {
        self.shares.values().map(|share| share.left_out).sum()
    }

    /// Whether the group has passed all letters.
    pub(super) fn is_empty(&self) -> bool {
        self.records() == 0 && self.left_out() == 0 && self.unknown_origin == 0
    }

    /// Records that the replay of these partitions is committed up to these offsets.
    pub(super) fn committed(&mut self, offsets: BTreeMap<TopicPartition, i64>) {
        let is_all = |(partition, offset): &(TopicPartition, i64)| {
            self.shares.get(partition).is_some_and(|share| *offset >= share.to)
        };
        self.done.extend(offsets.into_iter().filter(is_all).map(|(partition, _)| partition));
    }

    /// The end is reached. Beyond the last record there may be offsets without one, such as the end of a
    /// transaction.
    pub(super) fn finished(&mut self) {
        self.done.extend(self.shares.keys().cloned());
    }

    pub(super) fn print(&self, group: &str, json: bool, output: &mut Output) {
        let mut sheet = Sheet::new(&["topic", "#partition", "#from", "#end", "#records", "to", "executed"]);
        for (partition, share) in &self.shares {
            let (topic, index) = (partition.topic.as_str(), partition.partition);
            let executed = share.from < share.to && self.done.contains(partition);
            if json {
                output.json(&json!({
                    "group": group, "topic": topic, "partition": index, "from": share.from, "end": share.to,
                    "records": share.by_target, "left_out": share.left_out, "executed": executed,
                }));
                continue;
            }
            let targets = share.by_target.iter().map(|(target, count)| (target.as_str(), *count));
            let left_out = Some(("(left out)", share.left_out)).filter(|(_, count)| *count > 0);
            for (target, count) in targets.chain(left_out) {
                let executed = if executed { "yes" } else { "no" };
                let numbers = [i64::from(index), share.from, share.to].map(|number| number.to_string());
                let [index, from, to] = numbers.each_ref().map(String::as_str);
                sheet.row([topic, index, from, to, &count.to_string(), target, executed]);
            }
        }
        match (json, self.is_empty()) {
            (true, _) => {}
            (false, true) => say(format_args!(
                "there is nothing to replay: group `{group}` has passed all dead letters that are there; to replay them again, name another --group"
            )),
            (false, false) => output.sheet(&sheet),
        }
    }
}
