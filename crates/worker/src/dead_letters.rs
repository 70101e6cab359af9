//! [`DeadLetters`]: where records go that cannot be handled, and what is written into them.

mod headers;
mod origin;
mod time;

use offtake_producer::Builder as ProducerBuilder;

use crate::producing::{ProducerChange, ProducerOptions};

pub(crate) use self::time::parse_rfc3339;
pub use self::{headers::DeadLetterHeaders, origin::Origin, time::rfc3339};

/// Where records go that are poison or out of attempts.
///
/// A dead letter has the record's key, value and headers byte for byte, and headers that say where it comes from and why
/// ([`DeadLetterHeaders`]). It is written by an idempotent producer with `acks=all`, compressed by zstd where that feature is on. The record is
/// finished when its dead letter is acknowledged. Where it cannot be written, its partition [stops](crate::StopReason::DeadLetterFailed).
///
/// Its timestamp is the time at which it is written, for a topic's retention counts by that (`original_timestamp` has the record's). The topic has to take
/// larger records than the topic read, by what these headers need. A worker that reads its own dead-letter topic is refused, or stops those partitions.
///
/// In a [transactional](crate::Worker::transactional) worker it is a part of the transaction that passes its record, and the transaction's producer
/// writes it. Otherwise one may be there twice: where the process died, its partition was taken away or the worker's time was over between its acknowledgement and the
/// commit, or where nobody said whether it was written.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    pub(crate) topic: String,
    pub(crate) headers: DeadLetterHeaders,
    pub(crate) options: ProducerOptions,
}

impl DeadLetters {
    /// To this topic. It should exist: where brokers create topics by themselves, it is made with their defaults; where they do not, and it is
    /// missing at the start, an [event](crate::Event::Error) says so.
    pub fn to(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            headers: DeadLetterHeaders::default(),
            options: ProducerOptions::default(),
        }
    }

    /// Whose names the headers have. Default: our own.
    #[must_use]
    pub fn headers(self, headers: DeadLetterHeaders) -> Self {
        Self { headers, ..self }
    }

    /// Sets a property of the producer, by its Java name. The connection's properties (`bootstrap.servers`, `security.protocol`, …) are the
    /// consumer's unless they are set here. What weakens it (`acks`, `enable.idempotence`) is refused when the worker starts. What `buffer.memory` has no room
    /// for waits.
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
