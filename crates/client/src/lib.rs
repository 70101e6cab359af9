//! The common parts of Offtake's clients: the consumer, the administration client, and the producer.
//!
//! Applications depend on a client (`offtake`, `offtake-admin`), which re-exports the parts of this crate
//! that they need.
//!
//! - [`config`]: configuration by Java's names; [`ClientConfig`] has what every client has.
//! - [`Error`]: the error of a call.
//! - [`dial`]: connecting to brokers.
//! - [`engine`]: the loop that drives a client's engine. Engines decide, without socket and clock; the loop
//!   has both.
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

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
