//! [`Config`]: everything a consumer can be told, under Java's names.
//!
//! A property keeps Kafka's name with `_` for `.` and its unit in its type: `session.timeout.ms` is
//! [`session_timeout`](Config::session_timeout). Written as text, both Java's names and librdkafka's are understood; one
//! that nobody knows is refused, with the one that was probably meant. Defaults are those of Java's consumer 4.3; a line says
//! where not. An error names all mistakes, not the first.
//!
//! ```
//! use offtake::config::Config;
//! let config = Config::from_properties([("bootstrap.servers", "localhost:9092"), ("group.id", "orders")])?;
//! assert_eq!(config.session_timeout.as_secs(), 45);
//! # Ok::<_, offtake::config::ConfigError>(())
//! ```
//!
//! # Where properties come from
//!
//! | | source | properties that are not a consumer's |
//! |---|---|---|
//! | [`Config::from_properties`] | names and values | refused |
//! | [`Config::from_file`] | a Java `.properties` file | refused |
//! | [`Config::from_shared_properties`], [`Config::from_shared_file`] | the same, shared with other programs | left out, and [listed](Config::ignored) |
//! | [`Config::from_env`] | variables `KAFKA_*` | left out, and [listed](Config::ignored) |
//!
//! A file first, and the environment over it:
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

/// What a consumer is told. See the [module](self) for the names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What every client is told: where the brokers are, and how long to wait for them.
    pub client: ClientConfig,

    /// `group.id`: the group to be a member of, and whose offsets are committed. Without one, only hand assignment.
    pub group_id: Option<String>,
    /// `group.instance.id`: a name that survives restarts, for static membership (KIP-345).
    pub group_instance_id: Option<String>,
    /// `group.protocol`: classic.
    pub group_protocol: GroupProtocol,
    /// `group.remote.assignor`: the broker's assignor to use, under `group.protocol=consumer` alone.
    pub group_remote_assignor: Option<String>,
    /// `partition.assignment.strategy`: range, cooperative-sticky. The assignors that this member offers, its favourite
    /// first; an assignor of one's own by the name it has ([`Builder::assignor`](crate::Builder::assignor)). Of those
    /// that all members offer the broker takes the one that most of them put first.
    ///
    /// A member is cooperative, and keeps reading through a rebalance what does not move (KIP-429), only if every assignor
    /// in its list is, whichever is taken: with the default it is eager. To change a running group from `range` to
    /// `cooperative-sticky`, restart its members twice, one after the other: first with `cooperative-sticky,range`, and
    /// when all have that, with `cooperative-sticky`.
    pub partition_assignment_strategy: Vec<AssignmentStrategy>,
    /// `session.timeout.ms`: 45 s without a heartbeat, and the group goes on without this member.
    /// With `group.protocol=consumer` it cannot be set: the broker has its own for the group (`consumer.session.timeout.ms`),
    /// which is asked for after each join. 45 s count where it cannot be read (it needs DESCRIBE_CONFIGS on the group).
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`: 3 s. Shorter than a third of the session timeout.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: 5 min without a `poll`, and the group goes on without this member.
    pub max_poll_interval: Duration,
    /// `max.poll.records`: 500, the most that one `poll` hands out.
    pub max_poll_records: usize,

    /// `enable.auto.commit`: true, if there is a group. What is finished is committed.
    pub enable_auto_commit: bool,
    /// `enable.auto.offset.store`, librdkafka's: true. What a `poll` handed out is finished when the next one begins;
    /// false: when the application says so, by `store` or `commit`.
    pub enable_auto_offset_store: bool,
    /// `auto.commit.interval.ms`: 5 s.
    pub auto_commit_interval: Duration,
    /// `auto.offset.reset`: latest.
    pub auto_offset_reset: AutoOffsetReset,
    /// `isolation.level`: read_uncommitted.
    pub isolation_level: IsolationLevel,
    /// `allow.auto.create.topics`: true. The broker decides too.
    pub allow_auto_create_topics: bool,
    /// `exclude.internal.topics`: true. A pattern does not match `__consumer_offsets` and its like.
    pub exclude_internal_topics: bool,
    /// `check.crcs`: true.
    pub check_crcs: bool,

    /// `fetch.min.bytes`: 1. The broker waits until it has so many.
    pub fetch_min_bytes: u32,
    /// `fetch.max.bytes`: 50 MiB in one response, unless the first batch alone is larger. More than
    /// `receive.message.max.bytes` raises that: see [`largest_response`](Self::largest_response). A partition whose next batch
    /// comes in a larger response than that stops there ([`TooLarge`](crate::ErrorKind::TooLarge)).
    pub fetch_max_bytes: u32,
    /// `fetch.max.wait.ms`: 500 ms, how long the broker waits for `fetch.min.bytes`.
    pub fetch_max_wait: Duration,
    /// `max.partition.fetch.bytes`: 1 MiB of one partition in one response, unless its first batch is larger.
    pub max_partition_fetch_bytes: u32,
    /// `fetch.buffer.max.bytes`, ours: 32 MiB (at least 1 byte) of answers that were fetched and not yet handed out, all
    /// partitions together, paused ones too. An answer counts with the whole of its buffer until the last record of it has
    /// been handed out, and each piece of one partition in it with 1 KiB more. Nothing is asked for beyond the bound; where the
    /// next batch alone is larger than what is left, it comes all the same once nothing else is held, and is the only one.
    ///
    /// On top of it, at most:
    /// - two buffers of answers that have been read, kept for the next ones, each of up to half of the bound, until
    ///   sixteen answers below 128 KiB in a row say that nothing much is coming;
    /// - what is unpacked: the batch that is being handed out, and for an application that takes its time between two
    ///   polls, or asks for `decompression.threads`, 6 MiB ahead of it and a batch for each thread
    ///   (`decompressed.batch.max.bytes` each); paused partitions keep nothing unpacked. Of buffers to unpack into, the application's
    ///   thread keeps 4 MiB and each other 8 MiB;
    /// - the answers and unpacked batches that records in the application's hands lie in: those of the last poll, and whatever
    ///   it keeps. These do not hold up fetching, or an application that collects records would wait for ever;
    /// - some 5 KiB a partition, and the program.
    ///
    /// `benches/README.md` has what that comes to: between 40 and 50 MiB with the default, for answers of many MiB.
    /// librdkafka's `queued.max.messages.kbytes` sets it too.
    pub fetch_buffer_max_bytes: usize,
    /// `decompressed.batch.max.bytes`, ours: 64 MiB, the most that one batch may inflate to.
    pub decompressed_batch_max_bytes: usize,
    /// `decompression.threads`, ours: 0. So many threads verify and decompress batches ahead of [`poll`](crate::Consumer::poll), which
    /// hands out the records in order as ever: for more compressed records a second than one thread can decompress, at some more
    /// processor time for each. With 0 one thread does so for an application that stays away between two polls, and none for one
    /// that polls again at once.
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
    /// The largest response that is read, in bytes: `receive.message.max.bytes`, or room for `fetch.max.bytes`.
    pub fn largest_response(&self) -> usize {
        // Beside records: names and the headers of partitions.
        const MARGIN: u32 = 1 << 20;
        self.client.receive_message_max_bytes.max(self.fetch_max_bytes.saturating_add(MARGIN)) as usize
    }
}

/// The part of it that every client has.
impl From<Config> for ClientConfig {
    fn from(config: Config) -> Self {
        config.client
    }
}
