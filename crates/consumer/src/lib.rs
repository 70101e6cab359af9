//! A Kafka consumer in pure Rust.
//!
//! ```no_run
//! # async fn handle(_: Option<&[u8]>, _: Option<&[u8]>) {}
//! # fn stopping() -> bool { true }
//! # async fn run() -> Result<(), offtake::Error> {
//! use std::time::Duration;
//! use offtake::{AutoOffsetReset, Consumer};
//!
//! let mut consumer = Consumer::builder("localhost:9092")
//!     .group("orders")
//!     .auto_offset_reset(AutoOffsetReset::Earliest) // where a group without commits starts
//!     .build()
//!     .await?;
//! consumer.subscribe("orders").await?;
//! while !stopping() {
//!     let records = consumer.poll(Duration::from_millis(500)).await?;
//!     for record in &records {
//!         handle(record.key(), record.value()).await; // borrowed from the response: no copy
//!     }
//!     consumer.commit(&records).await?; // exactly these are finished
//! }
//! consumer.close(Duration::from_secs(10)).await?; // leaves the group, and returns how that went
//! # Ok(())
//! # }
//! ```
//!
//! The shortest code is the safe one: nothing is committed that was not handed out and finished, and errors
//! that the client can recover from (a moved leader, a restarted broker, a lost connection) never reach this
//! loop. A consumer that is dropped instead of closed commits what was finished before the last `poll` and
//! leaves the group, both in the background.
//!
//! # Ownership changes
//!
//! There are two styles. A [`Listener`] is called inside `poll`, with time to commit:
//!
//! ```no_run
//! # async fn write(_: Vec<offtake::OwnedRecord>) {}
//! # async fn run() -> Result<(), offtake::Error> {
//! # use std::{collections::BTreeMap, sync::{Arc, Mutex}};
//! use offtake::{Consumer, Listener, ListenerFuture, OwnedRecord, Rebalance, TopicPartition};
//!
//! /// Records not written yet: the polling loop adds to it.
//! type Unwritten = Arc<Mutex<BTreeMap<TopicPartition, Vec<OwnedRecord>>>>;
//!
//! struct Flush(Unwritten);
//!
//! impl Listener for Flush {
//!     fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
//!         let unwritten = Arc::clone(&self.0); // the future owns what it uses
//!         Box::pin(async move {
//!             for partition in &rebalance.partitions {
//!                 let records = unwritten.lock().unwrap().remove(partition).unwrap_or_default();
//!                 write(records).await; // the partition is still ours, until this future ends
//!             }
//!             Ok(())
//!         })
//!     }
//! }
//!
//! let unwritten = Unwritten::default();
//! let flush = Flush(Arc::clone(&unwritten));
//! let builder = Consumer::builder("localhost:9092").group("orders").listener(flush);
//! # Ok(())
//! # }
//! ```
//!
//! Alternatively changes are returned as values, in order with the records:
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
//! - [`Consumer`] reads topics as a member of a group ([`subscribe`](Consumer::subscribe)) or manually
//!   assigned partitions ([`assign`](Consumer::assign)); its futures may be dropped at any await.
//! - [`config::Config`] accepts Java's property names and librdkafka's.
//! - [`Listener`] is called inside `poll` when partitions are assigned or revoked; [`Consumer::next`] returns
//!   the same as values.
//! - [`Event`]s report everything other than records: for example a position that was reset, or that the
//!   application does not poll, and why ([`Stall`]).
//! - [`Handle`] has the calls that other tasks may make; [`Handle::health`] is for readiness and liveness probes.
//! - [`dial`] has other ways to reach a cluster than plain TCP: a test's cluster can be in its own process.
//! - For users of another client, its calls and properties and the differences are described in [from
//!   Java](https://github.com/offtake/offtake/blob/main/docs/from-java.md) and [from
//!   rust-rdkafka](https://github.com/offtake/offtake/blob/main/docs/from-rust-rdkafka.md).
//! - The folder `examples` has a service that ends with SIGTERM, a web service, a flush on revoke, a topic read to its end,
//!   many threads, and a test with faults.
//! - A consumer logs through `tracing`, within a span `consumer{id, group, client_id}`: a line (INFO) for
//!   each join, assignment and revocation, one (WARN) for a loss and when failures begin, one (INFO) when
//!   they end, and one (ERROR) when the consumer cannot continue without you.
//!
//! # Finished records
//!
//! Offsets that you [`commit`](Consumer::commit) are committed. Otherwise only finished records are,
//! periodically (`enable.auto.commit`), by [`commit_finished`](Consumer::commit_finished) or when partitions
//! are given up. How records are finished is chosen once, for the whole consumer:
//!
//! | | finishes | use it if |
//! |---|---|---|
//! | the next [`poll`](Consumer::poll), or [`close`](Consumer::close) (default) | everything that was handed out | one loop processes records before it polls again |
//! | [`store`](Consumer::store) (`enable.auto.offset.store=false`) | everything **up to** this record | records are processed in order, but not within one turn of the loop |
//! | [`Record::finish`] ([`Builder::finish_each`]) | **this** record | records are processed by many tasks, and end in any order |
//!
//! ```no_run
//! # async fn handle(_: offtake::OwnedRecord) {}
//! # async fn run() -> Result<(), offtake::Error> {
//! # use std::{sync::Arc, time::Duration};
//! # use offtake::Consumer;
//! # use tokio::sync::Semaphore;
//! let mut consumer = Consumer::builder("localhost:9092").group("orders").finish_each().build().await?;
//! consumer.subscribe("orders").await?;
//! let permits = Arc::new(Semaphore::new(100)); // the most records handled at a time
//! loop {
//!     for record in &consumer.poll(Duration::from_millis(500)).await? {
//!         let (ticket, record) = (record.ticket()?, record.detach());
//!         let permit = Arc::clone(&permits).acquire_owned().await; // heartbeats continue meanwhile
//!         tokio::spawn(async move {
//!             handle(record).await;
//!             let _ = ticket.finish(); // fails if the partition was reassigned: its new owner gets the record
//!             drop(permit);
//!         });
//!     }
//! }
//! # }
//! ```
//!
//! # On many threads
//!
//! Most of the cost of reading is to verify and decompress batches. While the application is away between two
//! polls, a thread of the consumer does that for the next records (not with [`spawn_on`](Builder::spawn_on));
//! with [`decompression.threads`](config::Config::decompression_threads) several threads do it all the time.
//! [`poll_batches`](Consumer::poll_batches) hands out whole batches instead. A [`RecordBatch`] is independent
//! of the consumer, and any thread can open it. If the order within a partition matters, give all its batches
//! to the same thread.
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
//!                 let _ = batch.finish(); // fails if the partition was reassigned
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
//!             return Ok(()); // the thread has ended: it could not open a batch
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! The futures here need a tokio runtime with its timer; the engine has its own unless
//! [`spawn_on`](Builder::spawn_on) is used.
//!
//! # Features
//!
//! | | default | purpose |
//! |---|---|---|
//! | `gzip`, `snappy`, `lz4`, `zstd` | yes | reading batches in that codec; without it their partition stops with [`ErrorKind::MissingCodec`] |
//! | `tls` | yes | `security.protocol=SSL` and `SASL_SSL`, by rustls with the cryptography of `ring` |
//! | `aws-lc-rs`, `fips` | no | the same with the cryptography of AWS-LC, or of its FIPS module |
//! | `oidc`, `msk-iam` | no | tokens for OAUTHBEARER from an OpenID Connect provider; keys for AWS_MSK_IAM from containers, instances and roles |
//! | `gssapi` | no | SASL GSSAPI: Kerberos 5 with a keytab or a ticket cache, in Rust |
//! | `serde` | no | `Serialize` and `Deserialize` for [`TopicPartition`], [`OffsetAndMetadata`], [`GroupMetadata`], … |
//!
//! Only `zstd` and the features with TLS (`tls`, `aws-lc-rs`, `fips`, `oidc`, `msk-iam`) need a C compiler:
//! `default-features = false, features = ["gzip", "snappy", "lz4"]` builds without one.
//!
//! The crate `offtake-producer` is for producing, and for transactions; `offtake-exactly-once` is a loop of both.

/// Partition assignors for classic groups: Kafka's built-in ones and the trait for your own
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
mod freed;
mod gauges;
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
mod poll_waker;
mod progress;
mod rebalance;
pub mod records;
pub mod security;
mod shared;
mod ticket;
mod unreadable;
mod view;

use offtake_client::{clock, one_or_many};

pub use assignor::Assignor;
pub use batches::{Batches, RecordBatch};
pub use builder::{BootstrapServers, Builder};
pub use committing::Committing;
pub use config::{AutoOffsetReset, Config, GroupProtocol, IsolationLevel};
pub use consumer::{
    CloseOptions, Consumer, ConsumerStream, GroupMembership, RecordStream, SubscriptionPattern,
};
pub use event::{Event, OwnershipChange, RebalanceCall, ResetReason, Stall};
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
    BrokerId, GroupMetadata, GroupOffsets, InvalidTopic, ParseTopicPartitionError, PartitionInfo, Position,
    Topic, TopicPartition,
};
/// Kafka's error codes, as in [`Error::code`].
pub use offtake_wire::ErrorCode;
pub use rebalance::Handover;
pub use records::{Header, Headers, OwnedRecord, PartitionRecords, Record, Records, TimestampType};
pub use ticket::Ticket;

/// Compiles the examples of the README and the guides.
#[cfg(doctest)]
mod shown {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/from-java.md")]
    struct FromJava;
    #[doc = include_str!("../../../docs/from-rust-rdkafka.md")]
    struct FromRdkafka;
}
