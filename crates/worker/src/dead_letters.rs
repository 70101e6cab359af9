//! [`DeadLetters`]: the topic for records that cannot be handled, and the headers that are added.

mod headers;
mod origin;
mod time;

use offtake_producer::Builder as ProducerBuilder;

use crate::producing::{ProducerChange, ProducerOptions};

pub(crate) use self::time::parse_rfc3339;
pub use self::{headers::DeadLetterHeaders, origin::Origin, time::rfc3339};

/// The destination of records that are poison or out of attempts.
///
/// A dead letter has the record's key, value and headers byte for byte, and additional headers with the record's origin and the
/// reason ([`DeadLetterHeaders`]). An idempotent producer writes it with `acks=all`, compressed by zstd if that feature is
/// enabled. The record is finished when its dead letter is acknowledged. A dead letter that cannot be written because its topic
/// does not exist, or because of the brokers, is written again until it is, after pauses of up to a minute, and
/// [events](crate::Event::Error) report that. Meanwhile the records ordered after its record wait; and once a partition has used
/// up its share of the queue with such records, it is paused, while others go on. If a dead letter is refused, because it is too
/// large or this client may not write it, the record's partition [stops](crate::StopReason::DeadLetterFailed).
///
/// The timestamp of a dead letter is the time of writing, because the topic's retention counts from it (`original_timestamp` has
/// the record's). The dead-letter topic must accept larger records than the source topic, by the size of the headers. A worker
/// that would read its own dead-letter topic is refused when it starts.
///
/// In a [transactional](crate::Worker::transactional) worker, the transaction's producer writes the dead letter in the
/// transaction that commits its record. Otherwise a dead letter may be written more than once: if the process died, the partition
/// was lost or the worker's time ended between acknowledgement and commit, or if no broker confirmed whether it was written.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    pub(crate) topic: String,
    pub(crate) headers: DeadLetterHeaders,
    pub(crate) options: ProducerOptions,
}

impl DeadLetters {
    /// Writes dead letters to this topic. It should exist. If brokers create topics automatically, it is created with their
    /// defaults. If they do not, and it is missing, [events](crate::Event::Error) report that, and its letters wait for it.
    pub fn to(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            headers: DeadLetterHeaders::default(),
            options: ProducerOptions::default(),
        }
    }

    /// Sets the naming scheme of the headers. Default: Offtake's.
    #[must_use]
    pub fn headers(self, headers: DeadLetterHeaders) -> Self {
        Self { headers, ..self }
    }

    /// Sets a property of the producer, by its Java name. The connection's properties (`bootstrap.servers`, `security.protocol`,
    /// …) are the consumer's unless they are set here. Properties that weaken the producer (`acks`, `enable.idempotence`) are
    /// refused when the worker starts. Dead letters that do not fit into `buffer.memory` wait.
    ///
    /// With `bootstrap.servers` of which none is the consumer's, the topic is taken to be in another cluster: then the worker
    /// does not check whether it reads that topic itself.
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
