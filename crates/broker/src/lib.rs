//! A Kafka cluster in a box, for tests.
//!
//! [`Cluster`] is the entry point: brokers, topics, logs, group and transaction coordinators in this process, on
//! loopback or in memory, started in a millisecond and gone when it is dropped. Any Kafka client can connect to it. It
//! implements the protocol of Kafka 4.3 and is strict: it rejects what Kafka rejects, with the same error code.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use offtake_broker::Cluster;
//!
//! let cluster = Cluster::builder().brokers(3).topic("orders", 4).start().await?;
//! let servers = cluster.bootstrap(); // 127.0.0.1:40417,127.0.0.1:36283,127.0.0.1:41945
//! // … the service under test, with bootstrap.servers = servers …
//! # assert_eq!(servers.split(',').count(), 3);
//! cluster.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Faults
//!
//! Faults are injected by rules. A [`FaultRule`] selects requests and the fault that happens to them: they are dropped,
//! delayed, held, cut off, answered with an error, damaged, throttled, or answered wrongly ([`Fault`], [`Rewrite`]).
//! Brokers crash, pause, return, change their addresses or behave like older releases (the methods of [`Model`], some
//! of them also of [`Cluster`]).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use offtake_broker::{ApiKey, Cluster, Corrupt, Fault, Rewrite, FaultRule, KafkaVersion};
//!
//! let cluster = Cluster::builder().brokers(2).topic("orders", 1).in_memory().start().await?;
//!
//! // The second commit of one group takes effect, but its answer is lost.
//! let lost = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::ApplyThenLose).group("billing").nth(2));
//! // One heartbeat in ten is answered with REBALANCE_IN_PROGRESS, and every Fetch is a little late.
//! cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(27)).probably(0.1));
//! cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Delay(Duration::from_millis(30))).client("billing-"));
//! // Records of `orders` are damaged once; ListOffsets on it always fails.
//! cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Corrupt(Corrupt::Records)).topic("orders").once());
//! cluster.inject(FaultRule::on(ApiKey::ListOffsets, Rewrite::partitions_fail(6)).topic("orders"));
//!
//! cluster.with(|model, _| model.set_kafka_version(2, KafkaVersion::V2_8));
//! cluster.crash(1);
//! assert!(cluster.connect_to(1).is_err());
//! assert_eq!(cluster.hits(lost), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # In memory, and on paused time
//!
//! [`Builder::in_memory`] needs no sockets: [`Cluster::connect`] returns the client's end of a connection to a port,
//! which is enough for a client whose dialling can be replaced. A cluster's clock is tokio's, so that with
//! `start_paused` hours of timeouts pass in no time.
//!
//! An `offtake` consumer runs on the same clock if its engine is on the test's own runtime (`spawn_on`) and its
//! connections do not leave the process (`dial::InMemory`):
//!
//! ```ignore
//! #[tokio::test(start_paused = true)]
//! async fn a_service_survives_a_broker_that_is_gone_for_an_hour() {
//!     let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await.unwrap();
//!     let mut consumer = offtake::Consumer::builder(cluster.bootstrap())
//!         .group("billing")
//!         .auto_offset_reset(offtake::AutoOffsetReset::Earliest)
//!         .dial(offtake::dial::InMemory::new(cluster.connector()))
//!         .spawn_on(tokio::runtime::Handle::current()) // by default the engine has a thread, and the real clock
//!         .build()
//!         .await
//!         .unwrap();
//!     consumer.subscribe("orders").await.unwrap();
//!     cluster.crash(1);
//!     consumer.poll(Duration::from_secs(3600)).await.unwrap(); // takes no time
//!     cluster.restart(1);
//!     // …
//! }
//! ```
//!
//! It is not compiled here, as this crate does not depend on the client; `offtake`'s example `faults` is a complete
//! one. A cluster on loopback needs real time: with the clock paused, timeouts would expire before its sockets are
//! read.
//!
//! # TLS and SASL
//!
//! [`Builder::sasl_user`] makes the brokers require SASL (PLAIN, SCRAM, OAUTHBEARER with unsecured tokens) before any
//! other request; [`Builder::session_lifetime`] limits sessions, so that clients have to authenticate anew (KIP-368).
//! With the feature `tls`, `Builder::tls` encrypts, with an authority that is generated at the start or with
//! certificates of your own. Both work in memory, too. Users may be added, removed and given new passwords at any time:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use offtake_broker::{Cluster, SaslMechanism};
//!
//! let cluster = Cluster::builder()
//!     .sasl_user(SaslMechanism::ScramSha512, "alice", "first")
//!     .session_lifetime(Duration::from_secs(3))
//!     .start()
//!     .await?;
//! // … the service under test reads, with security.protocol=SASL_PLAINTEXT …
//! cluster.set_sasl_user(SaslMechanism::ScramSha512, "alice", "second");
//! # cluster.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Rules do not apply to the SASL requests on such a listener; the model never sees them.
//!
//! # Without a runtime
//!
//! [`Model`] is the cluster without sockets and clock. Frames and time go in, frames come out. With the same seed
//! ([`Config::seed`]) and the same calls it behaves the same, which suits simulations.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use offtake_broker::{Config, Model, Output};
//!
//! let start = Instant::now();
//! let mut model = Model::new(start, Config::default());
//! let connection = model.connect(start, 1, "127.0.0.1").ok_or("refused")?;
//! // ApiVersions, version 0, correlation id 7, no client id.
//! model.receive(start + Duration::from_millis(1), connection, vec![0, 18, 0, 0, 0, 0, 0, 7, 255, 255].into());
//! let Some(Output::Send { bytes, .. }) = model.poll_output() else { return Err("no answer") };
//! assert_eq!(bytes[4..8], [0, 0, 0, 7]);
//! # Ok::<(), &str>(())
//! ```
//!
//! Only the features `zstd` (on by default) and `tls` need a C compiler. Without `zstd`, a Produce with a batch in zstd
//! is refused, and so are the records that a test appends to a topic with `compression.type=zstd`.
//!
//! Not implemented: records on disk, replication as such (a replica has its leader's log), quotas other than
//! [`Fault::Throttle`]; client certificates, ACLs, delegation tokens, reassignments, share groups, message formats 0
//! and 1. `__consumer_offsets` and `__transaction_state` are listed and read as empty. Settings of groups, metrics and
//! loggers are accepted and change nothing. OffsetCommit and OffsetFetch end at version 9 and ListOffsets at 10, as in
//! `kafka-protocol`. Requests are trusted: a malicious client can make the process allocate as much as it claims, so
//! listen on loopback. Idempotent producers are not forgotten with age, and KIP-848 groups are assigned at once (in
//! Kafka 4.3 a second later, by `group.consumer.assignment.interval.ms`; [`Config::consumer_assignment_interval`] sets
//! it).

mod api;
mod config;
mod connection;
mod faults;
mod fetch;
mod groups;
mod kafka;
mod log;
mod model;
mod nodes;
mod observe;
mod random;
mod request;
mod runtime;
mod topics;
mod transactions;

pub use config::Config;
pub use connection::{ConnectionId, Output};
pub use faults::{Corrupt, Fault, FaultRule, KafkaVersion, Often, Rewrite, RuleId};
pub use kafka::{ApiKey, KafkaError};
pub use log::NewRecord;
pub use model::Model;
pub use observe::Observed;
#[cfg(feature = "tls")]
pub use runtime::Tls;
pub use runtime::{Builder, Cluster, SaslMechanism};

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
