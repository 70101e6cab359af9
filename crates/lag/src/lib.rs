//! How far consumer groups are behind: in records, in seconds, and until retention deletes what they have not read.
//!
//! A [`Collector`] asks the brokers and makes a [`Report`], one round a call:
//!
//! ```no_run
//! # async fn run() -> Result<(), offtake_admin::Error> {
//! use std::time::Duration;
//! use offtake_admin::{Admin, ClientConfig};
//! use offtake_lag::{Collector, Config};
//!
//! let admin = Admin::new(ClientConfig::from_properties([("bootstrap.servers", "localhost:9092")])?)?;
//! let mut collector = Collector::new(admin, Config::default());
//! loop {
//!     for group in collector.round().await?.groups {
//!         println!("{}: {} records behind, {:?} s, {:?}", group.group, group.lag, group.lag_seconds, group.severity);
//!     }
//!     tokio::time::sleep(Duration::from_secs(10)).await;
//! }
//! # }
//! ```
//!
//! What the numbers are made of is decided by a [`Lag`], which touches neither socket nor clock: samples in, a report out.
//!
//! # Seconds
//!
//! `lag_seconds` is how long the first unread record has been in its log. The samples of the log's end say between which two of them it came.
//! Where that does not tell it to 1 s or 5 %, whichever is greater, its timestamp is read, of so many partitions a round as may be; it is believed
//! as far as the samples allow. `lag_seconds_error` says what it may be off by then. Timestamps are compared with this machine's clock: what that
//! is off by is not in the error.
//!
//! # Bytes
//!
//! `lag_bytes` is what the unread records take on the leader's disk, compressed as they are. What the log was seen to grow by is known; of what was there
//! before, each record is taken to be as large as the mean. `lag_bytes_error` says what it may be off by then.
//!
//! # Status
//!
//! [`Status`] follows Burrow's rules over a sliding window of samples. Burrow reads every commit, and so tells a group that commits the same offset again
//! (a stall) from one that does not commit (a stop). Samples do not: here it is a stall if a member owns the partition, and a stop if none does.
#![forbid(unsafe_code)]

mod collector;
mod config;
mod machine;
mod offsets_topic;
mod report;
pub mod sample;
mod severity;

pub use collector::Collector;
pub use config::{Config, GroupSelection};
pub use machine::Lag;
pub use offsets_topic::{OffsetsTopic, OffsetsTopicConfig, Shard};
pub use report::{
    Finding, FindingKind, GroupReport, MemberReport, PartitionReport, PartitionRow, Report, Status,
    TopicPartitionReport,
};
pub use severity::{Severity, Thresholds};

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
