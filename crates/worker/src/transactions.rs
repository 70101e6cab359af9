//! [`Transactions`]: results and offsets that are seen together or not at all.

use offtake_producer::Builder as ProducerBuilder;

use crate::producing::{ProducerChange, ProducerOptions};

/// By whom a worker's transactions are made: its `transactional.id`, and what else is said of the producer. An id alone does:
/// [`Worker::transactional`](crate::Worker::transactional) has what it means.
#[derive(Clone, Debug)]
pub struct Transactions {
    pub(crate) id: String,
    pub(crate) options: ProducerOptions,
}

impl Transactions {
    /// Made by this `transactional.id`. Each instance of a service has its own, the same after a restart.
    pub fn by(id: impl Into<String>) -> Self {
        Self { id: id.into(), options: ProducerOptions::default() }
    }

    /// Sets a property of the producer, by its Java name. The connection's properties (`bootstrap.servers`, `security.protocol`, …) are the
    /// consumer's unless they are set here.
    ///
    /// A transaction has no more than `buffer.memory` (32 MiB) holds; what is left over goes into the next one.
    ///
    /// The defaults are a producer's, but for `max.block.ms` and `delivery.timeout.ms` (40 s each) and `transaction.timeout.ms` (120 s; set it where the brokers'
    /// `transaction.max.timeout.ms` is less): so a topic without a leader is waited for in one transaction after the other, and one that is missing for 40 s stops the partitions whose results it is to have. A transaction that
    /// lasts longer than its timeout, as when its own coordinator cannot be reached for so long, is aborted by the brokers; where the cluster's
    /// `transaction.version` is below 2 that ends the worker with [`Fenced`](offtake::ErrorKind::Fenced) (KIP-890).
    #[must_use]
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value);
        self
    }

    /// Changes the builder of the producer as properties cannot: how brokers are reached ([`dial`](ProducerBuilder::dial)), which runtime
    /// it runs on.
    #[must_use]
    pub fn producer(
        mut self,
        change: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.options.change = Some(ProducerChange::new(change));
        self
    }
}

impl From<&str> for Transactions {
    fn from(id: &str) -> Self {
        Self::by(id)
    }
}

impl From<String> for Transactions {
    fn from(id: String) -> Self {
        Self::by(id)
    }
}
