//! [`Config`]: the settings of the fetcher.

use std::time::Duration;

use offtake_machine::{BackoffConfig, IsolationLevel};

/// Longer waits are limited to this, so that adding a wait to a time cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Some brokers never respond when `max_wait` is 0.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The settings of the fetcher. The defaults are Kafka's, except for the budget.
#[derive(Clone, Debug)]
pub struct Config {
    /// `fetch.min.bytes`: the broker waits for this much, up to [`max_wait`](Self::max_wait). At least 1.
    pub min_bytes: i32,
    /// `fetch.max.bytes`: the most that one response should hold, in bytes. A larger first batch is sent whole (KIP-74).
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`: the most that one response should hold of one partition, in bytes; a larger first batch is
    /// sent whole.
    pub max_partition_bytes: i32,
    /// `fetch.max.wait.ms`: how long the broker may wait for `min_bytes`. At least 1 ms: with 0 some brokers never answer, and
    /// others would answer without pause.
    pub max_wait: Duration,
    /// `isolation.level`.
    pub isolation: IsolationLevel,
    /// `client.rack`: leaders may then name a nearby replica to fetch from (KIP-392).
    pub rack: Option<String>,
    /// `fetch.buffer.max.bytes`: the memory to hold, in bytes. A response counts with its whole size until
    /// the last chunk cut from it is released. No request is sent while the budget is used up. It may be
    /// exceeded by what one response of each broker has beyond the requested bytes: a first batch that is
    /// larger (KIP-74), or a larger buffer.
    pub budget: usize,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// How long a preferred replica is used before the leader is asked again: `metadata.max.age.ms`.
    pub replica_lease: Duration,
    /// `check.crcs`, for the batches that only the fetcher reads: control batches, and those of aborted
    /// transactions.
    pub check_crcs: bool,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub backoff: BackoffConfig,
    /// Seeds the jitter of backoffs.
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
    /// Raises sizes and waits that no broker can work with to the least permitted values.
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
        // A long poll must not time out and end the connection.
        self.request_timeout = self.request_timeout.max(self.max_wait.saturating_mul(2));
        self
    }
}
