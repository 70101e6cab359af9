//! Where reading ends: at offsets that are known before it begins.

use std::collections::BTreeMap;

use offtake::{Consumer, TopicPartition};

use crate::failure::Failure;

/// An offset for each partition; it and what follows are not wanted.
pub(crate) struct Ends(BTreeMap<TopicPartition, i64>);

impl Ends {
    pub(crate) fn new(offsets: BTreeMap<TopicPartition, i64>) -> Self {
        Self(offsets)
    }

    /// A partition that came later has nothing before its end.
    pub(crate) fn of(&self, partition: &TopicPartition) -> i64 {
        self.0.get(partition).copied().unwrap_or(0)
    }

    /// Whether every partition that is the consumer's has reached its end. Those that have are not fetched any more.
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
        let paused = consumer.paused();
        done.retain(|partition| !paused.contains(partition));
        if !done.is_empty() {
            consumer.pause(done)?;
        }
        Ok(false)
    }
}
