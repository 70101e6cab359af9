//! What the application decides about fetching.

use std::time::Duration;

use offtake_machine::{BackoffConfig, IsolationLevel};

/// Longer waits mean "for ever"; added to a time they must still be one.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Some brokers never answer to a wait of 0.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How much to ask for, of whom, and how much to hold. The defaults are Kafka's, but for the budget.
#[derive(Clone, Debug)]
pub struct Config {
    /// `fetch.min.bytes`: the broker waits for this much, up to [`max_wait`](Self::max_wait). At least 1.
    pub min_bytes: i32,
    /// `fetch.max.bytes`: the most that one answer should carry. A first batch larger than that is sent whole (KIP-74).
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`: the most that one answer should carry of one partition; the same holds.
    pub max_partition_bytes: i32,
    /// `fetch.max.wait.ms`: how long the broker may wait for `min_bytes`. At least a millisecond: some brokers never
    /// answer to 0, the others would answer without pause.
    pub max_wait: Duration,
    /// `isolation.level`.
    pub isolation: IsolationLevel,
    /// `client.rack`: brokers may then point us to a replica nearby (KIP-392).
    pub rack: Option<String>,
    /// Memory to hold, in bytes: responses count whole until the last chunk cut from them is released. Reached, nothing more
    /// is asked for. What is held may exceed it by what one response of each broker has beyond the bytes that were asked for:
    /// a first batch that is larger, or a buffer.
    pub budget: usize,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// How long a preferred replica is believed to be one: `metadata.max.age.ms`.
    pub replica_lease: Duration,
    /// `check.crcs`, for the batches that nobody reads after us: those of aborted transactions, and control batches.
    pub check_crcs: bool,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub backoff: BackoffConfig,
    /// For the jitter of the pauses.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_bytes: 1,
            max_bytes: 50 << 20,
            max_partition_bytes: 1 << 20,
            max_wait: Duration::from_millis(500),
            isolation: IsolationLevel::ReadUncommitted,
            rack: None,
            budget: 32 << 20,
            request_timeout: Duration::from_secs(30),
            replica_lease: Duration::from_secs(300),
            check_crcs: true,
            backoff: BackoffConfig::default(),
            seed: 0,
        }
    }
}

impl Config {
    /// Normalized: sizes and waits that no broker can work with are raised to the least that it can.
    pub(crate) fn normalized(mut self) -> Self {
        self.min_bytes = self.min_bytes.max(1);
        self.max_bytes = self.max_bytes.max(1);
        self.max_partition_bytes = self.max_partition_bytes.max(1);
        self.max_wait = self.max_wait.max(SHORTEST_WAIT);
        self.budget = self.budget.max(1);
        self.rack = self.rack.filter(|rack| !rack.is_empty());
        for wait in [
            &mut self.max_wait,
            &mut self.request_timeout,
            &mut self.replica_lease,
            &mut self.backoff.base,
            &mut self.backoff.max,
        ] {
            *wait = (*wait).min(LONGEST);
        }
        // A long poll is no reason to give up a connection.
        self.request_timeout = self.request_timeout.max(self.max_wait.saturating_mul(2));
        self
    }
}
