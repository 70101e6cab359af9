//! [`Transactions`]: results and offsets that become visible together or not at all.

use offtake_producer::Builder as ProducerBuilder;

use crate::producing::{ProducerChange, ProducerOptions};

/// The identity of a worker's transactions: a `transactional.id`, and further settings of the producer. An id alone is enough;
/// see [`Worker::transactional`](crate::Worker::transactional).
#[derive(Clone, Debug)]
pub struct Transactions {
    pub(crate) id: String,
    pub(crate) options: ProducerOptions,
}

impl Transactions {
    /// Uses this `transactional.id`. Each instance of a service needs its own, and the same one after a restart.
    pub fn by(id: impl Into<String>) -> Self {
        Self { id: id.into(), options: ProducerOptions::default() }
    }

    /// Sets a property of the producer, by its Java name. The connection's properties (`bootstrap.servers`, `security.protocol`, …) are the
    /// consumer's unless they are set here.
    ///
    /// A transaction contains at most what fits into `buffer.memory` (32 MiB); the rest goes into the next one.
    ///
    /// The defaults are the producer's, except `max.block.ms` and `delivery.timeout.ms` (40 s each) and `transaction.timeout.ms`
    /// (120 s; set it if the brokers' `transaction.max.timeout.ms` is less). With these, the worker waits for a topic without a
    /// leader in one transaction after the other, and a topic missing for 40 s stops the partitions whose results go there. The
    /// brokers abort a transaction that lasts longer than its timeout, for example because its coordinator cannot be reached for
    /// that long. If the cluster's `transaction.version` is below 2, that ends the worker with
    /// [`Fenced`](offtake::ErrorKind::Fenced) (KIP-890).
    #[must_use]
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value);
        self
    }

    /// Changes the producer's builder in ways that properties cannot: how brokers are reached ([`dial`](ProducerBuilder::dial)),
    /// or which runtime the producer runs on.
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
