//! [`Config`]: the settings of a cluster. Names and defaults are those of Kafka's `server.properties`.

use std::time::Duration;

/// The settings of a cluster. Names and defaults are those of Kafka's `server.properties`, except where a field says
/// why not. Start from the default and set the fields that differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How many brokers; they are numbered from 1.
    pub brokers: i32,
    /// `broker.rack` of each broker, in order; brokers beyond the end of the list have none. Consumers with a
    /// `client.rack` are sent to the replica nearest to them (KIP-392).
    pub racks: Vec<String>,
    /// The cluster's id: 22 characters.
    pub cluster_id: String,
    /// Seeds everything random in a broker, such as ids and the choice of a group's leader.
    pub seed: u64,
    /// Wall-clock time, in milliseconds since 1970, at the `now` that is passed to [`Model::new`](crate::Model::new), or
    /// at the start of a [`Cluster`](crate::Cluster). A cluster that was given the default goes by this machine's clock
    /// instead, as its clients do: brokers refuse records with timestamps of the future.
    pub wall_ms: i64,
    /// `auto.create.topics.enable`. Kafka says true; here a topic that nobody created is a mistake in the test.
    pub auto_create_topics: bool,
    /// `num.partitions`, for topics created without a count.
    pub num_partitions: i32,
    /// `default.replication.factor`, at most the number of brokers.
    pub replication_factor: i16,
    /// `group.initial.rebalance.delay.ms`. Kafka says 3 s; tests want none.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout: Duration,
    /// `group.max.size`.
    pub group_max_size: usize,
    /// `group.consumer.session.timeout.ms` (KIP-848).
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms` (KIP-848).
    pub consumer_heartbeat_interval: Duration,
    /// `group.consumer.assignment.interval.ms` (KIP-1263): the shortest time for which a group of the consumer protocol
    /// keeps an assignment. Kafka says 1 s; tests want none.
    pub consumer_assignment_interval: Duration,
    /// `max.incremental.fetch.session.cache.slots` of each broker.
    pub fetch_session_slots: usize,
    /// `fetch.max.bytes` of the broker.
    pub fetch_max_bytes: i32,
    /// `message.max.bytes`.
    pub max_message_bytes: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `socket.request.max.bytes`.
    pub max_frame: usize,
    /// The level of the feature `transaction.version`: 2 gives each transaction its own epoch (KIP-890), 0 and 1 do
    /// not. Brokers set to [an earlier release](crate::KafkaVersion) have 0.
    pub transaction_version: i16,
    /// How long after a broker's death its partitions get other leaders and its groups another coordinator: Kafka's
    /// `broker.session.timeout.ms`, which is 9 s there.
    pub failover: Duration,
    /// Whether events are reported by [`Model::poll_observed`](crate::Model::poll_observed).
    pub observe: bool,
}

/// In September 2026.
pub(crate) const DEFAULT_WALL_MS: i64 = 1_790_000_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: 1,
            racks: Vec::new(),
            cluster_id: "T2ZmdGFrZUluVGhlQm94MA".to_owned(),
            seed: 0,
            wall_ms: DEFAULT_WALL_MS,
            auto_create_topics: false,
            num_partitions: 1,
            replication_factor: 1,
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            group_max_size: usize::MAX,
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_assignment_interval: Duration::ZERO,
            fetch_session_slots: 1000,
            fetch_max_bytes: 55 * 1024 * 1024,
            max_message_bytes: 1_048_588,
            offset_metadata_max_bytes: 4096,
            max_frame: 100 * 1024 * 1024,
            transaction_version: 2,
            failover: Duration::from_millis(500),
            observe: false,
        }
    }
}
