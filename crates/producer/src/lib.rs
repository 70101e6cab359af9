//! A Kafka producer in pure Rust: idempotent and ordered by default, and bounded in everything that it keeps.
//!
//! ```no_run
//! # async fn run() -> Result<(), offtake_producer::Error> {
//! use offtake_producer::{Producer, ProducerRecord};
//!
//! let producer = Producer::builder("localhost:9092").build().await?;
//! let mut deliveries = Vec::new();
//! for n in 0..1000 {
//!     deliveries.push(producer.send(ProducerRecord::to("orders").key(&format!("customer-{}", n % 7)).value("paid")));
//! }
//! for delivery in deliveries {
//!     delivery.await?;
//! }
//! producer.close(std::time::Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Producer`] sends records from any task. A [`Delivery`] returns where its record was written, or why it was not.
//! - [`ProducerRecord`] is a record to be sent. A custom [`Partitioner`] may choose its partition.
//! - [`config`] has all properties of a producer, under Java's names.
//!
//! With idempotence (KIP-98), the default, a record is written once and in order however often it has to be sent. If no broker
//! confirmed whether it was written, it fails with [`ErrorKind::OutcomeUnknown`].

mod accumulator;
mod builder;
pub mod config;
mod delivery;
mod engine;
mod identity;
mod partitioner;
mod producer;
mod record;
mod sender;
mod transaction;

pub use builder::Builder;
pub use config::Config;
pub use delivery::{Delivery, RecordMetadata};
pub use offtake_client::{
    BootstrapServers, CommitReport, Dial, Error, ErrorKind, Result, engine::EngineFuture,
};
pub use offtake_machine::{
    GroupMetadata, GroupOffsets, InvalidTopic, OffsetAndMetadata, ParseTopicPartitionError, Position, Topic,
    TopicPartition,
};
/// Kafka's error codes, as returned by [`Error::code`].
pub use offtake_wire::ErrorCode;
pub use partitioner::Partitioner;
pub use producer::Producer;
pub use record::ProducerRecord;
pub use transaction::{Transaction, TransactionDelivery, TransactionalProducer};

/// Custom connections to brokers, where plain TCP will not do: the types that [`Builder::dial`] takes.
pub mod dial {
    pub use offtake_client::dial::{ByteStream, Dial, DialFuture, InMemory, Tcp};
}
/// Custom security of connections, where properties will not do.
pub mod security {
    pub use offtake_client::security::*;
}

/// The README's examples, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
