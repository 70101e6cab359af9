//! [`Config`]: all properties of a producer, under Java's names.
//!
//! A property keeps Kafka's name with `_` for `.` and its unit in its type: `delivery.timeout.ms` is
//! [`delivery_timeout`](Config::delivery_timeout). As text, both Java's and librdkafka's names are accepted. An unknown name is
//! refused, with a suggestion of the name that was probably meant. Defaults are those of Java's producer 4.3; the documentation
//! says where they differ. An error lists all mistakes, not only the first.
//!
//! ```
//! use offtake_producer::config::Config;
//! let config = Config::from_properties([("bootstrap.servers", "localhost:9092"), ("compression.type", "lz4")])?;
//! assert_eq!(config.linger.as_millis(), 5);
//! # Ok::<_, offtake_producer::config::ConfigError>(())
//! ```

mod check;
mod choices;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use choices::{Acks, Compression};
pub use offtake_client::config::{
    ClientConfig, ConfigError, Ignored, MetadataRecoveryStrategy, SecurityConfig, SecurityProtocol, Shown,
    parse_properties,
};
use offtake_client::config::{Properties, Property, names};

/// The configuration of a producer. See the [module](self) for the names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The properties common to every client, such as the brokers' addresses and timeouts.
    pub client: ClientConfig,

    /// `acks`: all. Which acknowledgement makes a record count as written.
    pub acks: Acks,
    /// `enable.idempotence`: true. A record that is sent again is written once, and in order (KIP-98). If you do not set it, it
    /// is off where `acks`, `retries` or `max.in.flight.requests.per.connection` exclude it.
    pub enable_idempotence: bool,
    /// `max.in.flight.requests.per.connection`: 5 unanswered requests to one broker; at most 5 with idempotence.
    pub max_in_flight_requests: usize,
    /// `retries`: 2 147 483 647, so that `delivery.timeout.ms` alone is the limit.
    pub retries: u32,

    /// `linger.ms`: 5 ms, how long a batch that is not full waits for more records.
    pub linger: Duration,
    /// `batch.size`: 16 384 bytes of one partition in one batch. A record that is larger is a batch of its own. With compression
    /// this is roughly the compressed size; the uncompressed batch has at most 16 times as many bytes (but at least 1 MiB, and at
    /// most 16 MiB).
    pub batch_size: usize,
    /// `buffer.memory`: 32 MiB of records that are not written yet, for all partitions together. When it is full, sending waits.
    pub buffer_memory: usize,
    /// `max.block.ms`: 60 s, how long sending waits for memory or for a topic's metadata.
    pub max_block: Duration,
    /// `max.request.size`: 1 MiB, the largest request, and the largest record.
    pub max_request_size: usize,
    /// `delivery.timeout.ms`: 2 min from sending to the broker's acknowledgement, retries included. At least the sum of
    /// `linger.ms` and `request.timeout.ms`; the default is raised to that sum.
    pub delivery_timeout: Duration,

    /// `transactional.id`: none. The identity under which transactions are made: a producer that starts with it ends the
    /// transaction that an earlier producer with it began ([`TransactionalProducer`](crate::TransactionalProducer)).
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`: 60 s, after which the coordinator aborts a transaction, and fences its producer if the cluster's
    /// `transaction.version` is below 2 (KIP-890). At most the broker's `transaction.max.timeout.ms`.
    pub transaction_timeout: Duration,

    /// `compression.type`: none.
    pub compression: Compression,
    /// `compression.gzip.level`: 1 to 9, or the codec's own default.
    pub compression_gzip_level: Option<i32>,
    /// `compression.zstd.level`: -131 072 to 22, or 3.
    pub compression_zstd_level: Option<i32>,

    /// `partitioner.ignore.keys`: false. Whether a record's key is ignored in the choice of its partition.
    pub partitioner_ignore_keys: bool,
    /// `partitioner.adaptive.partitioning.enable`: true. Fewer of the records without a key go to slow partitions (KIP-794).
    pub partitioner_adaptive: bool,
    /// `partitioner.availability.timeout.ms`: 0, which disables it. Records without a key avoid partitions whose leader has
    /// accepted nothing for this long although batches were ready for it, if other partitions are available. The batch that is
    /// being filled is still filled. Only with `partitioner.adaptive.partitioning.enable` (KIP-794).
    pub partitioner_availability_timeout: Duration,
    /// `metadata.max.idle.ms`: 5 min, after which a topic is forgotten that no record was sent to.
    pub metadata_max_idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client: ClientConfig::default(),
            acks: Acks::All,
            enable_idempotence: true,
            max_in_flight_requests: 5,
            retries: i32::MAX.unsigned_abs(),
            linger: Duration::from_millis(5),
            batch_size: 16 << 10,
            buffer_memory: 32 << 20,
            max_block: Duration::from_secs(60),
            max_request_size: 1 << 20,
            delivery_timeout: Duration::from_secs(120),
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            compression: Compression::None,
            compression_gzip_level: None,
            compression_zstd_level: None,
            partitioner_ignore_keys: false,
            partitioner_adaptive: true,
            partitioner_availability_timeout: Duration::ZERO,
            metadata_max_idle: Duration::from_secs(300),
        }
    }
}

#[doc(hidden)] // applications use the methods of `property_methods!`
impl Properties for Config {
    const CLIENT: &'static str = "a producer";
    const NAMES: &'static [&'static [&'static str]] = &[names::CONSUMER, names::PRODUCER];

    fn own() -> &'static [&'static [Property<Self>]] {
        const OWN: &[&[Property<Config>]] = &[table::JAVA, table::OTHER];
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
    /// Whether a record that is sent again is written once: `enable.idempotence`, or its default as limited by the other
    /// properties.
    pub fn is_idempotent(&self) -> bool {
        self.enable_idempotence
            && (self.is_given("enable.idempotence") || self.excludes_idempotence().is_empty())
    }

    /// The level of the codec that is used.
    pub(crate) fn compression_level(&self) -> Option<i32> {
        match self.compression {
            Compression::Gzip => self.compression_gzip_level,
            Compression::Zstd => self.compression_zstd_level,
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        }
    }

    /// `delivery.timeout.ms` as given, or else the default, raised if `linger.ms` and `request.timeout.ms` need more.
    pub(crate) fn total_timeout(&self) -> Duration {
        if self.is_given("delivery.timeout.ms") {
            self.delivery_timeout
        } else {
            self.delivery_timeout.max(self.linger.saturating_add(self.client.request_timeout))
        }
    }
}

/// The part that is common to every client.
impl From<Config> for ClientConfig {
    fn from(config: Config) -> Self {
        config.client
    }
}
