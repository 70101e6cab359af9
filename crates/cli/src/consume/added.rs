//! Partitions that are added to the topics while they are read without a group, which would assign them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
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
        // Named topics one by one: one that is gone hides nothing of the others.
        let each = if self.regex { self.topics.len().max(1) } else { 1 };
        let looks = self.topics.chunks(each).map(|topics| {
            let found = target::partitions(consumer, topics, self.regex, &[]);
            tokio::time::timeout(LIMIT, found)
        });
        let found = join_all(looks).await;
        self.last = now();
        // Otherwise the brokers do not answer, or the topic is gone: later.
        let found = found.into_iter().flatten().flatten().flatten();
        let known: BTreeSet<_> = consumer.assignment().into_iter().collect();
        found.filter(|partition| !known.contains(partition)).collect()
    }
}
