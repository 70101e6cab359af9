//! Members that are workers: what their handlers do, and what is done to them.

use serde::{Deserialize, Serialize};

/// What the workers of a plan have in common. Times are milliseconds, shares so many in a hundred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) order: Order,
    /// Records that a handler is given at once; 1: it is no handler of batches.
    pub(crate) batch: usize,
    pub(crate) concurrency: usize,
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    /// 0: without an end.
    pub(crate) attempts: u32,
    /// Least and most.
    pub(crate) delay: (u64, u64),
    pub(crate) jitter: bool,
    /// Of the topic of dead letters; none: there are no dead letters.
    pub(crate) letters: Option<i32>,
    /// Whose names their headers have: ours, Spring's, Connect's.
    pub(crate) headers: u8,
    pub(crate) delivery_timeout: u64,
    pub(crate) timeout: Option<u64>,
    pub(crate) grace: u64,
    pub(crate) close_timeout: u64,
    pub(crate) revoke_grace: Option<u64>,
    pub(crate) commit_interval: u64,
    pub(crate) metadata_bytes: usize,
    pub(crate) breaker: Option<Breaker>,
    /// How many keys there are, and the share of the first of them; one in ten records has none.
    pub(crate) keys: u64,
    pub(crate) hot: u64,
    /// The share of records that can never be handled: the handler says so, or says that they may be tried again.
    pub(crate) poison: u64,
    pub(crate) doomed: u64,
    /// The share of attempts that fail, panic, never end, take ten times as long, until all is calm.
    pub(crate) flaky: u64,
    pub(crate) panics: u64,
    pub(crate) hangs: u64,
    pub(crate) slow: u64,
    /// Of a thousand attempts, those that say that nothing can be handled.
    pub(crate) fatal: u64,
    /// From when to when every attempt fails.
    pub(crate) outages: Vec<(u64, u64)>,
    pub(crate) strikes: Vec<Strike>,
    /// Logs may be cut (unclean elections), topics be created again, an operator set offsets: what is handled is judged at the end only, as nobody can say in
    /// between who knows what of that.
    #[serde(default)]
    pub(crate) cuts: bool,
    /// Each record is written once more, to the topic of copies, in the transaction that commits it.
    #[serde(default)]
    pub(crate) transactional: bool,
    /// How long a record waits in each retry topic that it passes through, in turn; they have as many partitions as that of dead letters.
    #[serde(default)]
    pub(crate) retries: Vec<u64>,
    /// Handlers block their threads.
    #[serde(default)]
    pub(crate) blocking: bool,
    /// How long the application lets a worker go on of which a partition has stopped, before it starts it anew.
    pub(crate) restarts_after: u64,
}

impl Work {
    /// The retry topics in turn, and how long a record waits in each.
    pub(crate) fn retry_topics(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.retries.iter().zip(1..).map(|(delay, stage)| (format!("retry.{stage}"), *delay))
    }

    /// How many topics a record of this one has been through: none before those that are subscribed to.
    pub(crate) fn stage_of(&self, topic: &str) -> usize {
        let mut topics = self.retry_topics();
        topics.position(|(name, _)| name == topic).map_or(0, |index| index + 1)
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

/// Whoever is the `nth` to come to this step is struck there and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strike {
    pub(crate) step: Moment,
    pub(crate) nth: u64,
    pub(crate) what: Blow,
    /// How long after it is gone it comes again.
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
