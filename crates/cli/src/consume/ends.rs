//! The offsets at which reading ends, known before it begins.

use std::collections::{BTreeMap, BTreeSet};

use offtake::{Consumer, TopicPartition};

use crate::failure::Failure;

/// An end offset for each partition: records from it on are not wanted.
pub(crate) struct Ends(BTreeMap<TopicPartition, i64>);

impl Ends {
    pub(crate) fn new(offsets: BTreeMap<TopicPartition, i64>) -> Self {
        Self(offsets)
    }

    /// The end of a partition; 0 for one that appeared later, so that none of its records are wanted.
    pub(crate) fn of(&self, partition: &TopicPartition) -> i64 {
        self.0.get(partition).copied().unwrap_or(0)
    }

    /// Whether every partition assigned to the consumer has reached its end. Partitions that have are not
    /// fetched any more.
    pub(crate) fn are_reached(&self, consumer: &Consumer) -> Result<bool, Failure> {
        let mut all = true;
        let mut any = false;
        let mut done = Vec::new();
        for partition in consumer.assignment() {
            any = true;
            let end = self.of(&partition);
            if consumer.position(&partition).is_some_and(|position| position >= end) {
                done.push(partition);
            } else {
                all = false;
            }
        }
        if any && all {
            return Ok(true);
        }
        let paused: BTreeSet<_> = consumer.paused().into_iter().collect();
        done.retain(|partition| !paused.contains(partition));
        if !done.is_empty() {
            consumer.pause(done)?;
        }
        Ok(false)
    }
}
