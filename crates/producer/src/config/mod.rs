//! [`Config`]: everything a producer can be told, under Java's names.
//!
//! A property keeps Kafka's name with `_` for `.` and its unit in its type: `delivery.timeout.ms` is
//! [`delivery_timeout`](Config::delivery_timeout). Written as text, both Java's names and librdkafka's are understood; one
//! that nobody knows is refused, with the one that was probably meant. Defaults are those of Java's producer 4.3; a line says
//! where not. An error names all mistakes, not the first.
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

/// What a producer is told. See the [module](self) for the names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What every client is told: where the brokers are, and how long to wait for them.
    pub client: ClientConfig,

    /// `acks`: all. Whose word makes a record written.
    pub acks: Acks,
    /// `enable.idempotence`: true. What is sent again is written once, and in order (KIP-98). Without a word of yours it is off where
    /// `acks`, `retries` or `max.in.flight.requests.per.connection` exclude it.
    pub enable_idempotence: bool,
    /// `max.in.flight.requests.per.connection`: 5 requests to one broker without an answer; at most 5 with idempotence.
    pub max_in_flight_requests: usize,
    /// `retries`: 2 147 483 647, so that `delivery.timeout.ms` alone is the bound.
    pub retries: u32,

    /// `linger.ms`: 5 ms, how long a batch that is not full waits for more records.
    pub linger: Duration,
    /// `batch.size`: 16 384 bytes of one partition in one batch; what is larger alone is a batch of its own. A batch that is compressed
    /// is this large afterwards, about; before, it has 16 times as many bytes at most (but 1 MiB at least, and 16 MiB at most).
    pub batch_size: usize,
    /// `buffer.memory`: 32 MiB of records that are not written yet, all partitions together. With more, sending waits.
    pub buffer_memory: usize,
    /// `max.block.ms`: 60 s, how long sending waits for memory or to learn of a topic.
    pub max_block: Duration,
    /// `max.request.size`: 1 MiB, the largest request, and the largest record.
    pub max_request_size: usize,
    /// `delivery.timeout.ms`: 2 min from sending to the word of a broker, retries included. At least `linger.ms` and
    /// `request.timeout.ms` together; the default follows them.
    pub delivery_timeout: Duration,

    /// `transactional.id`: none. By whom transactions are made: a producer that starts with it ends what another one with it began
    /// ([`TransactionalProducer`](crate::TransactionalProducer)).
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

    /// `partitioner.ignore.keys`: false. Whether a record's key has no part in the choice of its partition.
    pub partitioner_ignore_keys: bool,
    /// `partitioner.adaptive.partitioning.enable`: true. Records without a key go less to partitions that are slow (KIP-794).
    pub partitioner_adaptive: bool,
    /// `partitioner.availability.timeout.ms`: 0, which is never. Records without a key do not go to partitions whose leader has taken
    /// nothing for so long of what was ready for it, if others can be had; the batch that is being filled is filled. Only with
    /// `partitioner.adaptive.partitioning.enable` (KIP-794).
    pub partitioner_availability_timeout: Duration,
    /// `metadata.max.idle.ms`: 5 min, after which a topic that nothing was sent to is forgotten.
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

#[doc(hidden)] // applications have the methods of `property_methods!`
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
    /// Whether what is sent again is written once: `enable.idempotence`, or what the other properties leave of its default.
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

    /// As given, or what follows from the others: raised for a `linger.ms` or `request.timeout.ms` that would not fit.
    pub(crate) fn total_timeout(&self) -> Duration {
        if self.is_given("delivery.timeout.ms") {
            self.delivery_timeout
        } else {
            self.delivery_timeout.max(self.linger.saturating_add(self.client.request_timeout))
        }
    }
}

/// The part of it that every client has.
impl From<Config> for ClientConfig {
    fn from(config: Config) -> Self {
        config.client
    }
}
