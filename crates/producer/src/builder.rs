//! The builder: it checks the configuration and starts a [`Producer`].

use std::{sync::Arc, time::Duration};

use offtake_client::{
    Dial, Error, ErrorKind, Result, clock, config,
    engine::{self as driver, Carrier, Outputs, Spawn, Transport},
};
use tokio::sync::mpsc;
use tracing::Instrument;

use crate::{
    Partitioner, Producer, TransactionalProducer,
    accumulator::{Accumulator, Shared},
    config::{Acks, Compression, Config, ConfigError},
    engine::Engine,
};

/// Configures and builds a producer. Created by [`Producer::builder`].
pub struct Builder {
    config: Config,
    /// The errors in the properties set so far.
    mistakes: Vec<ConfigError>,
    partitioner: Option<Arc<dyn Partitioner>>,
    spawn: Option<Spawn>,
    dial: Option<Arc<dyn Dial>>,
    carrier: Option<Box<dyn Carrier>>,
    replay: Option<(u64, i64)>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("mistakes", &self.mistakes)
            .finish_non_exhaustive()
    }
}

offtake_client::builder_methods!(Builder, Config);

impl Builder {
    /// Begins with this configuration.
    pub fn from_config(config: Config) -> Self {
        Self {
            config,
            mistakes: Vec::new(),
            partitioner: None,
            spawn: None,
            dial: None,
            carrier: None,
            replay: None,
        }
    }

    /// `client.id`: the name of this client in the brokers' logs and quotas. Default: empty; `offtake` is sent then.
    pub fn client_id(self, id: impl Into<String>) -> Self {
        self.property("client.id", id.into())
    }

    /// `acks`: which acknowledgement makes a record count as written. Default: all.
    pub fn acks(self, acks: Acks) -> Self {
        self.property("acks", acks)
    }

    /// `compression.type`: how batches are compressed. Default: none.
    pub fn compression(self, codec: Compression) -> Self {
        self.property("compression.type", codec)
    }

    /// `linger.ms`: how long a batch that is not full waits for more records. Default: 5 ms.
    pub fn linger(self, linger: Duration) -> Self {
        self.property("linger.ms", linger.as_millis())
    }

    /// `batch.size`: the bytes of one partition in one batch. Default: 16 KiB.
    pub fn batch_size(self, bytes: usize) -> Self {
        self.property("batch.size", bytes)
    }

    /// `delivery.timeout.ms`: how long a record may take to be written, retries included. Default: 2 min.
    pub fn delivery_timeout(self, timeout: Duration) -> Self {
        self.property("delivery.timeout.ms", timeout.as_millis())
    }

    /// `transactional.id`: the identity under which transactions are made ([`build_transactional`](Self::build_transactional)).
    /// Default: none.
    pub fn transactional_id(self, id: impl Into<String>) -> Self {
        self.property("transactional.id", id.into())
    }

    /// Sets the partitioner for records that name no partition. It takes precedence over the record's key.
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Runs the engine on this runtime rather than on a thread of its own. The runtime needs its time and I/O drivers.
    pub fn spawn_on(self, runtime: tokio::runtime::Handle) -> Self {
        self.spawn_with(move |engine| drop(runtime.spawn(engine)))
    }

    /// For tests: all randomness comes from `seed`, and the wall clock starts at `wall_ms` milliseconds since 1970.
    pub fn replay(mut self, seed: u64, wall_ms: i64) -> Self {
        self.replay = Some((seed, wall_ms));
        self
    }

    /// Checks the configuration and starts the engine, which requests a producer id. Whether a broker answers shows only with the
    /// first record.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), which lists every invalid property and the values that it may have.
    pub async fn build(self) -> Result<Producer> {
        if self.config.transactional_id.is_some() {
            let text = "`transactional.id` makes a producer of transactions: build it by `build_transactional`, or leave the id out";
            return Err(Error::new(ErrorKind::Config, text));
        }
        self.start()
    }

    /// Checks the configuration, starts the engine, and waits until the coordinator of `transactional.id` has registered the
    /// producer. That fences an earlier producer with this id, and aborts the transaction it left open.
    ///
    /// # Errors
    /// - [`ErrorKind::Config`]: the configuration is invalid, or `transactional.id` is missing, or the broker does not accept a
    ///   `transaction.timeout.ms` of that length.
    /// - `Timeout`: no coordinator answered within `max.block.ms`.
    /// - `Authorization`: the ACLs do not allow the id (WRITE and DESCRIBE). `Authentication`, `NotKafka`, `Unsupported`.
    pub async fn build_transactional(self) -> Result<TransactionalProducer> {
        if self.config.transactional_id.is_none() {
            config::validate(&self.config, self.mistakes)?;
            let text = "a producer of transactions needs a `transactional.id`, the same after a restart";
            return Err(Error::new(ErrorKind::Config, text));
        }
        TransactionalProducer::start(self.start()?).await
    }

    fn start(mut self) -> Result<Producer> {
        config::validate(&self.config, std::mem::take(&mut self.mistakes))?;
        self.config.client.log_ignored();
        let now = clock::now();
        let seed = self.replay.map_or_else(clock::seed, |(seed, _)| seed);
        let wall = self.replay.map(|(_, wall_ms)| (wall_ms, now));
        let accumulator = Accumulator::new(&self.config, self.partitioner.take(), seed);
        let shared = Arc::new(Shared::new(accumulator));
        let engine = Engine::new(now, &self.config, shared.clone(), seed);
        let client = &self.config.client;
        let transport = match self.carrier.take() {
            Some(carrier) => Transport::carrier(carrier),
            None => {
                let largest = client.receive_message_max_bytes as usize;
                Transport::connections(client, largest, seed, self.dial.take())?
            }
        };
        let (commands, commanded) = mpsc::unbounded_channel();
        let span = tracing::info_span!("producer", client_id = client.sent_client_id());
        let engine = driver::run(engine, transport, commanded, Nothing).instrument(span);
        driver::start(self.spawn.take(), "offtake-producer", engine)?;
        Ok(Producer::new(shared, commands, wall))
    }
}

/// The outputs of an engine that sends nothing to its handle.
struct Nothing;

impl Outputs<()> for Nothing {
    fn push(&mut self, (): ()) {}
    fn flush(&mut self) {}
}
