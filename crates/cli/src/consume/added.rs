//! Partitions that are added to the topics while they are read without a group, which would assign them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake::{Consumer, TopicPartition};

use super::target;
use crate::{args::Consume, clock::now};

/// How long reading pauses at most for one look.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks for them every `metadata.max.age.ms`, after which a member of a group sees them, too.
pub(crate) struct Added {
    topics: Vec<String>,
    regex: bool,
    every: Duration,
    last: Instant,
}

impl Added {
    /// `None` if what is read was fixed at the start: certain partitions, or all up to an end.
    pub(crate) fn of(args: &Consume, consumer: &Consumer) -> Option<Self> {
        let every = consumer.config().client.metadata_max_age;
        let fixed = args.group.is_some() || args.until.is_some() || !args.partitions.is_empty();
        (!fixed).then(|| Self { topics: args.topics.clone(), regex: args.regex, every, last: now() })
    }

    /// The partitions that are not assigned yet, if it is time to look for them.
    pub(crate) async fn look(&mut self, consumer: &Consumer) -> Vec<TopicPartition> {
        if self.last.elapsed() < self.every {
            return Vec::new();
        }
        let found = target::partitions(consumer, &self.topics, self.regex, &[]);
        let found = tokio::time::timeout(LIMIT, found).await;
        self.last = now();
        let Ok(Ok(found)) = found else { return Vec::new() }; // the brokers do not answer, or a topic is gone: later
        let known: BTreeSet<_> = consumer.assignment().into_iter().collect();
        found.into_iter().filter(|partition| !known.contains(partition)).collect()
    }
}
