//! A Kafka consumer in pure Rust.
//!
//! ```no_run
//! # async fn handle(_: Option<&[u8]>, _: Option<&[u8]>) {}
//! # async fn run() -> Result<(), offtake::Error> {
//! use std::time::Duration;
//! use offtake::Consumer;
//!
//! let mut consumer = Consumer::builder("localhost:9092").group("orders").build().await?;
//! consumer.subscribe(["orders"]).await?;
//! loop {
//!     let records = consumer.poll(Duration::from_millis(500)).await?;
//!     for record in &records {
//!         handle(record.key(), record.value()).await; // borrowed from the response: no copy
//!     }
//!     consumer.commit(&records).await?; // exactly these are finished
//! }
//! # }
//! ```
//!
//! The shortest code is the safe one: nothing is committed that was not handed out and finished, and what the client can
//! mend (a moved leader, a restarted broker, a lost connection) never reaches this loop.
//!
//! - [`Consumer`] reads topics as a member of a group ([`subscribe`](Consumer::subscribe)) or partitions by hand
//!   ([`assign`](Consumer::assign)); its futures may be dropped at any await.
//! - [`config::Config`] knows Java's property names and librdkafka's.
//! - [`Listener`] is told of rebalances, inside `poll`; [`Event`]s tell of everything that is no record.
//! - [`Handle`] speaks to a consumer from other tasks.
//!
//! The futures here need a tokio runtime with its timer; the engine brings its own unless
//! [`spawn_on`](Builder::spawn_on) says otherwise.
//!
//! Not yet here: TLS and SASL (`security.protocol` other than `PLAINTEXT` is refused), producing, transactions.

pub mod admin;
mod atomics;
mod builder;
mod clock;
pub mod config;
mod consumer;
mod delivery;
mod engine;
mod error;
mod event;
mod handle;
mod listener;
mod offsets;
mod progress;
mod rebalance;
mod records;
mod shared;

pub use builder::{Builder, EngineFuture};
pub use config::Config;
pub use consumer::{Assign, Consumer, RecordStream};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, OwnershipChange};
pub use handle::Handle;
pub use listener::{Listener, ListenerError, ListenerFuture, Rebalance};
pub use offsets::{OffsetAndMetadata, OffsetAndTimestamp, Place, StartAt};
pub use offtake_machine::{PartitionInfo, Position, Topic, TopicPartition};
pub use offtake_net::{Dial, DialFuture, Stream};
pub use records::{
    Delivered, Header, Headers, Iter, OwnedRecord, PartitionIter, PartitionRecords, Record, Records,
    TimestampType,
};
