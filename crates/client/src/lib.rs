//! What the clients of Offtake share: the consumer, the administration client, and a producer.
//!
//! Applications depend on a client (`offtake`, `offtake-admin`), which re-exports what they need of this.
//!
//! - [`config`]: configuration by Java's names; [`ClientConfig`] has what every client has.
//! - [`Error`]: what a call fails with.
//! - [`dial`]: how brokers are reached.
//! - [`engine`]: the loop that drives a client's engine. Engines decide, without socket and clock; the loop has both.
//! - [`clock`]: the only place that reads a clock.

pub mod bootstrap;
mod builder;
pub mod clock;
mod commit_report;
pub mod config;
pub mod dial;
pub mod engine;
pub mod error;
pub mod one_or_many;
pub mod security;

pub use bootstrap::BootstrapServers;
pub use commit_report::CommitReport;
pub use config::{ClientConfig, ConfigError};
pub use dial::Dial;
pub use error::{Error, ErrorKind, Result};
pub use one_or_many::OneOrMany;

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
