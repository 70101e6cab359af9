//! Fetching: which partitions flow, what to ask of which broker next, and the records that are ready.
//!
//! [`Fetcher`] is the machine; [`Chunk`] is what it hands out, [`Event`] what it tells the engine.

mod answer;
mod ask;
mod chunk;
mod config;
mod event;
mod fetcher;
mod memory;
mod node;
mod partition;
mod place;
mod read;
mod session;
mod suspects;

pub use chunk::{Chunk, ReadBatches, VisibleBatches};
pub use config::Config;
pub use event::{BrokerError, Event, PartitionError};
pub use fetcher::{Fetcher, Start};
pub use memory::{Charge, READER_OVERHEAD};
pub use partition::Watermarks;
