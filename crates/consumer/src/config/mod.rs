//! [`Config`]: the configuration of a consumer, under Java's names.
//!
//! A property keeps Kafka's name with `_` for `.` and its unit in its type: `session.timeout.ms` is
//! [`session_timeout`](Config::session_timeout). As text, both Java's and librdkafka's names are accepted; an
//! unknown name is refused, with a suggestion of what was probably meant. Defaults are those of Java's
//! consumer 4.3, except where noted. An error lists all mistakes, not only the first.
//!
//! ```
//! use offtake::config::Config;
//! let config = Config::from_properties([("bootstrap.servers", "localhost:9092"), ("group.id", "orders")])?;
//! assert_eq!(config.session_timeout.as_secs(), 45);
//! # Ok::<_, offtake::config::ConfigError>(())
//! ```
//!
//! # Sources of properties
//!
//! | | source | properties that are not a consumer's |
//! |---|---|---|
//! | [`Config::from_properties`] | names and values | refused |
//! | [`Config::from_file`] | a Java `.properties` file | refused |
//! | [`Config::from_shared_properties`], [`Config::from_shared_file`] | the same, shared with other programs | left out, and [listed](Config::ignored) |
//! | [`Config::from_env`] | variables `KAFKA_*` | left out, and [listed](Config::ignored) |
//!
//! To read a file first and let environment variables override it:
//!
//! ```no_run
//! # fn run() -> Result<(), offtake::config::ConfigError> {
//! use offtake::{Builder, Config};
//! let mut config = Config::from_file("consumer.properties")?;
//! config.apply_env()?;
//! let builder = Builder::from_config(config);
//! # Ok(())
//! # }
//! ```

mod assignors;
mod check;
mod choices;
mod java;
mod other;
mod setters;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use choices::{AssignmentStrategy, AutoOffsetReset, GroupProtocol, IsolationLevel};
pub use offtake_client::config::{
    ClientConfig, ConfigError, Ignored, MetadataRecoveryStrategy, SecurityConfig, SecurityProtocol, Shown,
    parse_properties,
};
use offtake_client::config::{Properties, Property, names};
#[doc(hidden)] // for the command
pub use offtake_client::config::{is_of_providers, is_secret, warn_of_readers};

/// The most threads that decompress ahead.
const MAX_DECOMPRESSION_THREADS: usize = 64;

/// The configuration of a consumer. See the [module](self) for the names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The settings of every client: where the brokers are, and how long to wait for them.
    pub client: ClientConfig,

    /// `group.id`: the group to join and to commit offsets for. Without one, partitions can only be assigned
    /// manually.
    pub group_id: Option<String>,
    /// `group.instance.id`: a name that survives restarts, for static membership (KIP-345).
    pub group_instance_id: Option<String>,
    /// `group.protocol`: classic.
    pub group_protocol: GroupProtocol,
    /// `group.remote.assignor`: the broker's assignor to use, only with `group.protocol=consumer`.
    pub group_remote_assignor: Option<String>,
    /// `partition.assignment.strategy`: range, cooperative-sticky. The assignors that this member offers, the
    /// preferred one first; a custom assignor ([`Builder::assignor`](crate::Builder::assignor)) is listed by
    /// its name. Among those that all members offer, the broker takes the one that most members prefer.
    ///
    /// A member is cooperative, and during a rebalance keeps reading the partitions that do not move
    /// (KIP-429), only if every assignor in its list is cooperative, whichever is taken: with the default it
    /// is eager. To change a running group from `range` to `cooperative-sticky`, do two rolling restarts:
    /// first with `cooperative-sticky,range`, and once all members have that, with `cooperative-sticky`.
    pub partition_assignment_strategy: Vec<AssignmentStrategy>,
    /// `session.timeout.ms`: 45 s, the longest time without a heartbeat before the group continues without
    /// this member. With `group.protocol=consumer` it cannot be set: the brokers have their own
    /// (`group.consumer.session.timeout.ms`, or for one group `consumer.session.timeout.ms`), which is requested
    /// after each join. If it cannot be read (this needs DESCRIBE_CONFIGS on the group), 45 s are assumed.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`: 3 s. Less than a third of the session timeout.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: 5 min, the longest time without a `poll` before the group continues without
    /// this member.
    pub max_poll_interval: Duration,
    /// `max.poll.records`: 500, the most that one `poll` hands out.
    pub max_poll_records: usize,

    /// `enable.auto.commit`: true, if there is a group. Finished offsets are committed periodically.
    pub enable_auto_commit: bool,
    /// `enable.auto.offset.store`, librdkafka's: true. Records handed out by one `poll` are finished when the
    /// next one begins. If false, the application marks them as finished, by `store` or `commit`.
    pub enable_auto_offset_store: bool,
    /// `auto.commit.interval.ms`: 5 s.
    pub auto_commit_interval: Duration,
    /// `auto.offset.reset`: latest.
    pub auto_offset_reset: AutoOffsetReset,
    /// `isolation.level`: read_uncommitted.
    pub isolation_level: IsolationLevel,
    /// `allow.auto.create.topics`: true. The broker decides too.
    pub allow_auto_create_topics: bool,
    /// `exclude.internal.topics`: true. A pattern does not match internal topics such as
    /// `__consumer_offsets`.
    pub exclude_internal_topics: bool,
    /// `check.crcs`: true.
    pub check_crcs: bool,

    /// `fetch.min.bytes`: 1. The broker waits until it has this many bytes.
    pub fetch_min_bytes: u32,
    /// `fetch.max.bytes`: 50 MiB in one response, unless the first batch alone is larger. A value above
    /// `receive.message.max.bytes` raises that limit: see [`largest_response`](Self::largest_response). A
    /// partition whose next batch arrives in an even larger response stops there
    /// ([`TooLarge`](crate::ErrorKind::TooLarge)).
    pub fetch_max_bytes: u32,
    /// `fetch.max.wait.ms`: 500 ms, how long the broker waits for `fetch.min.bytes`.
    pub fetch_max_wait: Duration,
    /// `max.partition.fetch.bytes`: 1 MiB of one partition in one response, unless its first batch is larger.
    pub max_partition_fetch_bytes: u32,
    /// `fetch.buffer.max.bytes`, ours: 32 MiB (at least 1 byte) of fetch responses that are not yet handed
    /// out, all partitions together, paused ones included. A response counts with its whole buffer until its
    /// last record has been handed out, plus 1 KiB for each partition's piece in it. Nothing is requested
    /// beyond the bound. If the next batch alone is larger than the remaining budget, it is fetched as the
    /// only one, once nothing else is held.
    ///
    /// Memory used in addition, at most:
    /// - two response buffers kept for reuse, each of up to half of the bound, until sixteen responses below
    ///   128 KiB in a row show that little data is arriving;
    /// - decompressed data: the batch that is being handed out, and, for an application that takes its time
    ///   between two polls or sets `decompression.threads`, 12 MiB ahead of it and a batch for each thread
    ///   (`decompressed.batch.max.bytes` each); paused partitions keep nothing decompressed. As buffers to
    ///   decompress into, the application's thread keeps 4 MiB and each other thread 16 MiB;
    /// - the responses and decompressed batches that contain records which the application holds: those of
    ///   the last poll, and any that it keeps. They do not count against the bound, because an application
    ///   that collects records would otherwise wait for ever;
    /// - about 5 KiB for each partition, and the program itself.
    ///
    /// `benches/README.md` has the resulting total: between 40 and 50 MiB with the default, for responses of
    /// many MiB.
    /// librdkafka's `queued.max.messages.kbytes` sets it too.
    pub fetch_buffer_max_bytes: usize,
    /// `decompressed.batch.max.bytes`, ours: 64 MiB, the largest size of one decompressed batch.
    pub decompressed_batch_max_bytes: usize,
    /// `decompression.threads`, ours: 0. This many threads verify and decompress batches ahead of
    /// [`poll`](crate::Consumer::poll), which still hands out records in order. Use it for more compressed
    /// records a second than one thread can decompress, at some more processor time for each. With 0, one
    /// thread does so while an application takes its time between two polls, and none if it polls again at
    /// once.
    pub decompression_threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client: ClientConfig::default(),
            group_id: None,
            group_instance_id: None,
            group_protocol: GroupProtocol::Classic,
            group_remote_assignor: None,
            partition_assignment_strategy: vec![
                AssignmentStrategy::Range,
                AssignmentStrategy::CooperativeSticky,
            ],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            max_poll_records: 500,
            enable_auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            enable_auto_offset_store: true,
            auto_offset_reset: AutoOffsetReset::Latest,
            isolation_level: IsolationLevel::ReadUncommitted,
            allow_auto_create_topics: true,
            exclude_internal_topics: true,
            check_crcs: true,
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 << 20,
            fetch_max_wait: Duration::from_millis(500),
            max_partition_fetch_bytes: 1 << 20,
            fetch_buffer_max_bytes: 32 << 20,
            decompressed_batch_max_bytes: 64 << 20,
            decompression_threads: 0,
        }
    }
}

#[doc(hidden)] // applications have the methods of `property_methods!`
impl Properties for Config {
    const CLIENT: &'static str = "a consumer";
    const NAMES: &'static [&'static [&'static str]] = &[names::CONSUMER];

    fn own() -> &'static [&'static [Property<Self>]] {
        const OWN: &[&[Property<Config>]] = &[java::JAVA, other::OTHER];
        OWN
    }

    fn client(&self) -> &ClientConfig {
        &self.client
    }

    fn client_mut(&mut self) -> &mut ClientConfig {
        &mut self.client
    }

    fn conflicts(&self) -> Vec<String> {
        self.find_conflicts()
    }
}

offtake_client::property_methods!(Config);

impl Config {
    /// The largest response that is accepted, in bytes: `receive.message.max.bytes`, or enough for
    /// `fetch.max.bytes`.
    pub fn largest_response(&self) -> usize {
        // Space for everything besides records: names and the headers of partitions.
        const MARGIN: u32 = 1 << 20;
        self.client.receive_message_max_bytes.max(self.fetch_max_bytes.saturating_add(MARGIN)) as usize
    }
}

/// The part of the configuration that every client has.
impl From<Config> for ClientConfig {
    fn from(config: Config) -> Self {
        config.client
    }
}
