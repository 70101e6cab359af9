//! Connections to brokers.
//!
//! [`Net`] sends a machine's [`Transmit`](offtake_machine::Transmit) to a broker and returns exactly one [`Completion`] for each.
//! It belongs to one task, that of the engine. Each connection is a task of its own, which owns the socket and the table of its
//! outstanding calls, and completes each of them before it ends.
//!
//! Always true:
//! - each call completes exactly once, whatever happens to its connection;
//! - there is one connection per broker and [`Lane`]; after a failure, all lanes share the reconnect backoff of the address, and
//!   then each lane with waiting calls dials once: failures at the same time count once;
//! - a withdrawn call is not written afterwards; withdrawing a written call of [`Lane::Join`] ends its connection, so that no
//!   later call waits behind it;
//! - bytes that arrive after a call was given up are never delivered, because its connection is closed with it;
//! - memory for a frame grows with the bytes received, never with the length claimed;
//! - while nothing happens, nothing runs.
//!
//! [`Security`] secures connections: TLS encrypts them and checks the identity of the broker, and SASL authenticates this client.
//! By default connections are in clear.
//!
//! Needs a tokio runtime with I/O and time; a current-thread one is enough.

mod address;
mod address_state;
mod authenticate;
mod calendar;
mod call;
mod carrier;
mod clock;
mod config;
mod connection;
mod dial;
mod establish;
mod frame_pool;
mod frames;
mod handshake;
#[cfg(feature = "_http")]
#[doc(hidden)] // for our own crates
pub mod http;
mod inbox;
mod net;
mod outgoing;
mod phase;
pub mod probe;
mod renewal;
mod route;
pub mod sasl;
mod secret;
mod security;
mod shared;
mod shutdown;
mod throttle;
#[cfg(feature = "_tls")]
pub mod tls;

pub use call::{Completion, Lane, NetEvent};
pub use carrier::Carrier;
pub use config::Config;
pub use dial::{ByteStream, Dial, DialFuture, Tcp};
pub use net::Net;
pub use secret::Secret;
pub use security::Security;
pub use shared::Stats;

/// The README's examples, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
