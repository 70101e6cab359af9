//! Connections to brokers.
//!
//! [`Net`] sends a machine's [`Transmit`](offtake_machine::Transmit) to a broker and returns exactly one [`Completion`] for each. It
//! belongs to one task, the engine's. Each connection is a task of its own, which owns the socket and the table of its
//! outstanding calls, and answers each of them before it ends.
//!
//! Always true:
//! - each call is answered exactly once, whatever happens to its connection;
//! - there is one connection per broker and [`Lane`]; after a failure an address is left alone for the reconnect backoff, which
//!   all lanes share, and then dialled once by each of them that has calls waiting: what fails together counts once;
//! - a call that was withdrawn is not written afterwards; and nothing stands behind one of [`Lane::Join`] that was written before;
//! - bytes that arrive after a call was given up reach nobody, for its connection is closed with it;
//! - memory for a frame grows with the bytes received, never with the length claimed;
//! - while nothing happens, nothing runs.
//!
//! [`Security`] says how connections are secured: by TLS, which checks who the broker is, and by SASL, which tells it who we are. By
//! default they are in clear.
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

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
