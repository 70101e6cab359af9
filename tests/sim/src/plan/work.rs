//! Members that are workers: the behaviour of their handlers, and the faults they meet.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The settings that the workers of a plan share. Times are in milliseconds, shares in per cent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) order: Order,
    /// The most records of one call of a handler; 1: not a handler of batches.
    pub(crate) batch: usize,
    pub(crate) concurrency: usize,
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    /// 0: unlimited.
    pub(crate) attempts: u32,
    /// Least and most.
    pub(crate) delay: (u64, u64),
    pub(crate) jitter: bool,
    /// Partitions of the topic of dead letters; none: there are no dead letters.
    pub(crate) letters: Option<i32>,
    /// The naming of their headers: Offtake's, Spring's, Connect's.
    pub(crate) headers: u8,
    pub(crate) delivery_timeout: u64,
    pub(crate) timeout: Option<u64>,
    pub(crate) grace: u64,
    pub(crate) close_timeout: u64,
    pub(crate) revoke_grace: Option<u64>,
    pub(crate) commit_interval: u64,
    pub(crate) metadata_bytes: usize,
    pub(crate) breaker: Option<Breaker>,
    /// The number of keys, and the share of the first of them; one in ten records has none.
    pub(crate) keys: u64,
    pub(crate) hot: u64,
    /// The shares of records that can never be handled: those reported as poison, and those reported as retriable.
    pub(crate) poison: u64,
    pub(crate) doomed: u64,
    /// The shares of attempts that fail, panic, hang, or take ten times as long, until all is calm.
    pub(crate) flaky: u64,
    pub(crate) panics: u64,
    pub(crate) hangs: u64,
    pub(crate) slow: u64,
    /// Of a thousand attempts, those that report that nothing can be handled.
    pub(crate) fatal: u64,
    /// The times in which every attempt fails.
    pub(crate) outages: Vec<(u64, u64)>,
    pub(crate) strikes: Vec<Strike>,
    /// Logs may be cut (unclean elections), topics be created again, an operator set offsets: the result is checked at the end only, as in
    /// between nobody can say which member knows of it.
    #[serde(default)]
    pub(crate) cuts: bool,
    /// Each record is written once more, to the topic of copies, in the transaction that commits it.
    #[serde(default)]
    pub(crate) transactional: bool,
    /// How long a record waits in each retry topic on its way, in turn; they have as many partitions as the topic of dead letters.
    #[serde(default)]
    pub(crate) retries: Vec<u64>,
    /// Handlers block their threads.
    #[serde(default)]
    pub(crate) blocking: bool,
    /// How long the application lets a worker with a stopped partition run before it restarts it.
    pub(crate) restarts_after: u64,
}

impl Work {
    /// The retry topics in turn, with the delay of each.
    pub(crate) fn retry_topics(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.retries.iter().zip(1..).map(|(delay, stage)| (format!("retry.{stage}"), *delay))
    }

    /// How many topics a record of this topic has been through: 0 for the subscribed topics.
    pub(crate) fn stage_of(&self, topic: &str) -> usize {
        let mut topics = self.retry_topics();
        topics.position(|(name, _)| name == topic).map_or(0, |index| index + 1)
    }

    /// How many attempts a record has had that is given up after this many topics: at least, and at most. A record with one attempt
    /// that failed in a batch of several has one more, alone. `None` where attempts are unlimited.
    pub(crate) fn attempts_in(&self, topics: usize) -> Option<RangeInclusive<u32>> {
        let topics = u32::try_from(topics).unwrap_or(u32::MAX);
        let most = if self.batch > 1 { self.attempts.max(2) } else { self.attempts };
        let range = self.attempts.saturating_mul(topics)..=most.saturating_mul(topics);
        (self.attempts > 0).then_some(range)
    }

    /// Every partition of a retry topic.
    pub(crate) fn retry_partitions(&self) -> impl Iterator<Item = (String, i32)> + '_ {
        let partitions = self.letters.unwrap_or_default();
        self.retry_topics()
            .flat_map(move |(name, _)| (0..partitions).map(move |number| (name.clone(), number)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Key,
    Partition,
    Unordered,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Breaker {
    pub(crate) share: u64,
    pub(crate) window: usize,
    pub(crate) pause: u64,
    pub(crate) probes: usize,
}

/// The `nth` member that reaches this step is struck at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strike {
    pub(crate) step: Moment,
    pub(crate) nth: u64,
    pub(crate) what: Blow,
    /// How long after its end it returns.
    pub(crate) returns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    Assigned,
    HandlerBegan,
    HandlerEnded,
    Retried,
    /// Its producer asks a broker to write a dead letter.
    LetterSent,
    LetterTold,
    CommitSent,
    HandedOver,
    Breaker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Blow {
    Kill,
    Stop,
    StopNow,
}
