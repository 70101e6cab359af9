//! A Kafka producer in pure Rust: idempotent and ordered by default, with a bound on everything it keeps.
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
//! - [`Producer`] sends, from any task; [`Delivery`] tells of each record where it was written, or why not.
//! - [`ProducerRecord`] is what is sent; a [`Partitioner`] of one's own may choose where to.
//! - [`config`] has everything a producer can be told, under Java's names.
//!
//! With idempotence (KIP-98), the default, a record is written once and in order however often it has to be sent. One whose outcome nobody told
//! fails with [`ErrorKind::OutcomeUnknown`]: it may be written.

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
/// Kafka's error codes, which [`Error::code`] has.
pub use offtake_wire::ErrorCode;
pub use partitioner::Partitioner;
pub use producer::Producer;
pub use record::ProducerRecord;
pub use transaction::{Transaction, TransactionDelivery, TransactionalProducer};

/// How brokers are reached, where plain TCP will not do: what [`Builder::dial`] takes.
pub mod dial {
    pub use offtake_client::dial::{ByteStream, Dial, DialFuture, InMemory, Tcp};
}
/// How connections are secured, where properties will not do.
pub mod security {
    pub use offtake_client::security::*;
}

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
