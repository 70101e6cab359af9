//! A Kafka cluster in a box, for tests.
//!
//! [`Model`] is the cluster: brokers, topics, logs, group and transaction coordinators, without sockets or clocks. Frames
//! and time go in, frames come out. It is strict: what Kafka 4.3 rejects it rejects, with the same code. And it is armed:
//! a [`Rule`] makes it do harm to the nth request of a kind.
//!
//! [`Cluster`] runs a model on loopback, or in memory.

mod api;
mod armed;
mod config;
mod connection;
mod face;
mod fetch;
mod groups;
mod log;
mod model;
mod nodes;
mod observe;
mod random;
mod request;
mod topics;
mod transactions;

pub use config::Config;
pub use connection::{ConnectionId, Output};
pub use log::NewRecord;
pub use model::Model;
pub use observe::Observed;
