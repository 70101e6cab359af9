//! A Kafka consumer in pure Rust.
//!
//! ```no_run
//! # async fn handle(_: Option<&[u8]>, _: Option<&[u8]>) {}
//! # fn stopping() -> bool { true }
//! # async fn run() -> Result<(), offtake::Error> {
//! use std::time::Duration;
//! use offtake::Consumer;
//!
//! let mut consumer = Consumer::builder("localhost:9092").group("orders").build().await?;
//! consumer.subscribe("orders").await?;
//! while !stopping() {
//!     let records = consumer.poll(Duration::from_millis(500)).await?;
//!     for record in &records {
//!         handle(record.key(), record.value()).await; // borrowed from the response: no copy
//!     }
//!     consumer.commit(&records).await?; // exactly these are finished
//! }
//! consumer.close(Duration::from_secs(10)).await?; // leaves the group, and says how that went
//! # Ok(())
//! # }
//! ```
//!
//! The shortest code is the safe one: nothing is committed that was not handed out and finished, and what the client can
//! mend (a moved leader, a restarted broker, a lost connection) never reaches this loop.
//!
//! # Changes of ownership
//!
//! Two styles, the same machinery. A [`Listener`] is called inside `poll`, with time to commit:
//!
//! ```no_run
//! # async fn flush(_: &[offtake::TopicPartition]) {}
//! # async fn run() -> Result<(), offtake::Error> {
//! use offtake::{Consumer, Listener, ListenerFuture, Rebalance};
//!
//! struct Flushing;
//!
//! impl Listener for Flushing {
//!     fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
//!         Box::pin(async move {
//!             flush(&rebalance.partitions).await; // still ours, until this future ends
//!             Ok(())
//!         })
//!     }
//! }
//!
//! let builder = Consumer::builder("localhost:9092").group("orders").listener(Flushing);
//! # Ok(())
//! # }
//! ```
//!
//! Or they come as values, in order with the records:
//!
//! ```no_run
//! # async fn handle(_: &offtake::Records) {}
//! # async fn flush(_: &[offtake::TopicPartition]) {}
//! # async fn run(mut consumer: offtake::Consumer) -> Result<(), offtake::Error> {
//! use offtake::{Event, Next};
//!
//! loop {
//!     match consumer.next().await? {
//!         Next::Records(records) => {
//!             handle(&records).await;
//!             consumer.commit(&records).await?;
//!         }
//!         Next::Assigned(change) => println!("also reading {:?}", change.partitions),
//!         Next::Revoking(revoking) => {
//!             flush(&revoking.partitions).await; // still ours, until `revoking` is dropped
//!         }
//!         Next::Lost(lost) => println!("no longer reading {:?}", lost.partitions),
//!         Next::Event(Event::Reset { partition, to, .. }) => println!("{partition} goes on at {to}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Consumer`] reads topics as a member of a group ([`subscribe`](Consumer::subscribe)) or partitions by hand
//!   ([`assign`](Consumer::assign)); its futures may be dropped at any await.
//! - [`config::Config`] knows Java's property names and librdkafka's.
//! - [`Listener`] is told of rebalances, inside `poll`, or [`Consumer::next`] hands them out; [`Event`]s tell of everything
//!   that is no record, also of an application that does not poll, and why ([`Stall`]).
//! - [`Handle`] speaks to a consumer from other tasks; [`Handle::health`] is for readiness and liveness probes.
//! - [`dial`] reaches clusters in other ways than by plain TCP, one in the test's own process for one.
//! - Those who come from another client find its calls and properties, and what is different, in
//!   [from Java](https://github.com/offtake/offtake/blob/main/docs/from-java.md) and
//!   [from rust-rdkafka](https://github.com/offtake/offtake/blob/main/docs/from-rust-rdkafka.md).
//! - The folder `examples` has a service that ends with SIGTERM, a web service, a flush on revoke, a topic read to its end,
//!   many threads, and a test with faults.
//! - What it does is logged through `tracing`, within a span `consumer{id, group, client_id}`: a line (INFO) for each join,
//!   assignment and revocation, one (WARN) for a loss and when trouble begins, one (INFO) when that ends, and one (ERROR) when
//!   nothing goes on without you.
//!
//! # What is finished
//!
//! What you [`commit`](Consumer::commit) is committed. Otherwise only what is finished is, by interval (`enable.auto.commit`), by
//! [`commit_finished`](Consumer::commit_finished) or when partitions are given up. Who says what is finished is chosen
//! once, for the whole consumer:
//!
//! | | says that | of use |
//! |---|---|---|
//! | the next [`poll`](Consumer::poll), or [`close`](Consumer::close) (default) | all that was handed out is finished | one loop that processes before it polls again |
//! | [`store`](Consumer::store) (`enable.auto.offset.store=false`) | all **up to** this record is finished | records are processed in order, but outlive the loop's turn |
//! | [`Record::finish`] ([`Builder::finish_each`]) | **this** record is finished | records are processed by many tasks, and end in any order |
//!
//! ```no_run
//! # async fn handle(_: offtake::OwnedRecord) {}
//! # async fn run() -> Result<(), offtake::Error> {
//! # use std::time::Duration;
//! # use offtake::Consumer;
//! let mut consumer = Consumer::builder("localhost:9092").group("orders").finish_each().build().await?;
//! consumer.subscribe("orders").await?;
//! loop {
//!     for record in &consumer.poll(Duration::from_millis(500)).await? {
//!         let (ticket, record) = (record.ticket()?, record.detach());
//!         tokio::spawn(async move {
//!             handle(record).await;
//!             let _ = ticket.finish(); // refused if the partition has changed hands: the record comes again elsewhere
//!         });
//!     }
//! }
//! # }
//! ```
//!
//! # On many threads
//!
//! Unpacking is most of what reading costs. Whoever takes its time between two polls finds its next records unpacked by a
//! thread of the consumer's own (not with [`spawn_on`](Builder::spawn_on)), which begins when the application proves slow.
//! [`poll_batches`](Consumer::poll_batches) leaves it to whoever has the time: a
//! [`RecordBatch`] knows nothing of the consumer and is opened on any thread. Batches of one partition go to the same thread
//! where its order matters.
//!
//! ```no_run
//! # fn handle(_: offtake::Record<'_>) {}
//! # async fn run() -> Result<(), offtake::Error> {
//! # use std::{sync::mpsc, time::Duration};
//! use offtake::{Consumer, Error, RecordBatch, batches::Decompressor};
//!
//! let threads: Vec<_> = (0..4)
//!     .map(|_| {
//!         let (batches, waiting) = mpsc::sync_channel::<RecordBatch>(16);
//!         std::thread::spawn(move || {
//!             let mut decompressor = Decompressor::new();
//!             for batch in waiting {
//!                 batch.open(&mut decompressor)?.iter().for_each(handle);
//!                 let _ = batch.finish(); // refused if the partition has changed hands
//!             }
//!             Ok::<_, Error>(())
//!         });
//!         batches
//!     })
//!     .collect();
//!
//! let mut consumer = Consumer::builder("localhost:9092").group("orders").finish_each().build().await?;
//! consumer.subscribe("orders").await?;
//! loop {
//!     for batch in consumer.poll_batches(Duration::from_millis(500)).await? {
//!         let thread = batch.partition() as usize % threads.len();
//!         if threads[thread].send(batch).is_err() {
//!             return Ok(()); // it could not open one, and has ended
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! The futures here need a tokio runtime with its timer; the engine brings its own unless
//! [`spawn_on`](Builder::spawn_on) says otherwise.
//!
//! # Features
//!
//! | | default | what it is for |
//! |---|---|---|
//! | `gzip`, `snappy`, `lz4`, `zstd` | yes | reading batches in that codec; without it their partition stops with [`ErrorKind::MissingCodec`] |
//! | `serde` | no | `Serialize` and `Deserialize` for [`TopicPartition`], [`OffsetAndMetadata`], [`GroupMetadata`], … |
//!
//! Only `zstd` needs a C compiler: `default-features = false, features = ["gzip", "snappy", "lz4"]` builds without one.
//!
//! Not yet here: TLS and SASL (`security.protocol` other than `PLAINTEXT` is refused), producing, transactions.

/// Who of a classic group reads which partitions: Kafka's assignors, and what one of your own has to do with
/// ([`Builder::assignor`]).
pub mod assignor {
    pub use offtake_group::assignor::{
        Assignment, Assignor, AssignorFault, BuiltIn, MemberAssignment, MemberSubscription, Members,
        Partitions, Racks, RebalanceProtocol,
    };
}
mod atomics;
pub mod batches;
pub mod builder;
mod command;
mod committing;
pub mod config;
mod consumer;
mod delivery;
pub mod dial;
mod engine;
mod error;
mod event;
mod gauges;
mod group_metadata;
mod handle;
mod health;
mod inbox;
mod ledger;
mod ledgers;
mod listener;
mod next;
mod offsets;
mod partition_list;
mod passed;
mod progress;
mod rebalance;
pub mod records;
mod shared;
mod ticket;
mod unreadable;
mod view;
mod waking;

use offtake_client::{clock, one_or_many};

pub use assignor::Assignor;
pub use batches::{Batches, RecordBatch};
pub use builder::{BootstrapServers, Builder};
pub use committing::Committing;
pub use config::{AutoOffsetReset, Config};
pub use consumer::{
    CloseOptions, Consumer, ConsumerStream, GroupMembership, RecordStream, SubscriptionPattern,
};
pub use event::{Event, OwnershipChange, RebalanceCall, ResetReason, Stall};
pub use group_metadata::GroupMetadata;
pub use handle::Handle;
pub use health::{FailingBroker, Health, MembershipState, Unfinished};
pub use listener::{Listener, ListenerError, ListenerFuture, Rebalance};
pub use next::Next;
pub use offsets::{Assign, OffsetAndMetadata, OffsetAndTimestamp, OffsetToCommit, StartAt};
/// ```no_run
/// # async fn run(mut consumer: offtake::Consumer, topics: Vec<String>) -> Result<(), offtake::Error> {
/// consumer.subscribe("orders").await?;
/// consumer.subscribe(["orders", "returns"]).await?;
/// consumer.subscribe(&topics).await?;
/// consumer.pause(("orders", 0))?;
/// consumer.pause(consumer.assignment())?;
/// # Ok(())
/// # }
/// ```
pub use offtake_client::OneOrMany;
pub use offtake_client::{CommitReport, Dial, Error, ErrorKind, Result};
pub use offtake_machine::{
    BrokerId, InvalidTopic, ParseTopicPartitionError, PartitionInfo, Position, Topic, TopicPartition,
};
/// Kafka's error codes, which [`Error::code`] has.
pub use offtake_wire::ErrorCode;
pub use rebalance::Handover;
pub use records::{Header, Headers, OwnedRecord, PartitionRecords, Record, Records, TimestampType};
pub use ticket::Ticket;

/// What the README and the guides show compiles.
#[cfg(doctest)]
mod shown {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/from-java.md")]
    struct FromJava;
    #[doc = include_str!("../../../docs/from-rust-rdkafka.md")]
    struct FromRdkafka;
}
