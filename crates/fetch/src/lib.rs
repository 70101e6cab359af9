//! Fetching: the partitions that are fetched, the next request to each broker, and the chunks of records that are ready.
//!
//! [`Fetcher`] is the machine. It returns [`Chunk`]s, and reports [`Event`]s to the engine.

mod chunk;
mod config;
mod event;
mod fetcher;
mod memory;
mod node;
mod partition;
mod read;
mod session;

pub use chunk::{Chunk, ReadBatches, VisibleBatches};
pub use config::Config;
pub use event::{BrokerError, Event, PartitionError};
pub use fetcher::{Fetcher, Start};
pub use memory::{Charge, READER_OVERHEAD};
pub use partition::Watermarks;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
