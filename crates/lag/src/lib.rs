//! The lag of consumer groups: in records, in seconds, in bytes, and until retention deletes unread records.
//!
//! A [`Collector`] queries the brokers and returns a [`Report`], one round per call:
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
//! The numbers are computed by a [`Lag`], which uses neither socket nor clock: it takes samples and returns a report.
//!
//! # Seconds
//!
//! `lag_seconds` is how long the first unread record has been in its log. The samples of the log's end show between which two
//! samples the record was appended. If that does not determine the age to 1 s or 5 %, whichever is greater, its timestamp is
//! read, for a limited number of partitions per round, and used as far as it is consistent with the samples. `lag_seconds_error`
//! is the remaining maximum error. Timestamps are compared with this machine's clock, whose own error is not included. There is no
//! error where a timestamp lies more than 10 s in the future and nothing else says when the record arrived: it is at least that old.
//!
//! # Bytes
//!
//! `lag_bytes` is the size of the unread records on the leader's disk, compressed as they are. The growth of the log between
//! samples is known exactly; for older data, each record is assumed to have the mean size. `lag_bytes_error` is the resulting
//! maximum error.
//!
//! # Status
//!
//! [`Status`] follows Burrow's rules over a sliding window of samples. Burrow reads every commit, and can therefore distinguish a
//! group that commits the same offset again (a stall) from one that does not commit (a stop). Samples cannot: here it is a stall
//! if a member owns the partition, and a stop if none does.
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

/// The README's examples, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
