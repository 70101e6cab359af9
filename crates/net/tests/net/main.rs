//! Connections against hand-written peers: over loopback sockets where the system's behaviour matters, over pipes in paused time
//! where the clock does.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests play the rest of the world"
)]

mod authentication;
mod chaos;
mod closing;
mod greeting;
mod peer;
mod pipes;
mod routing;
mod sockets;
mod time;
#[cfg(feature = "_tls")]
mod tls;
mod withdraw;
