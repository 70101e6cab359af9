//! Hostile brokers against a live consumer: each row of "Bad input" in `docs/failures.md` is sent to one, in
//! response to the requests that it fits. The tests use the embedded broker, in memory and in virtual time; a
//! peer between the two replaces responses.
//!
//! Always: nothing panics, nothing spins (requests, connections and wake-ups per second of virtual time are
//! counted), the log is not flooded, every error is one sentence, and once the broker responds correctly
//! again, everything is read, once and in order.
//!
//! One row is missing: INPUT12 is about the `kafka-protocol` crate, which the client does not use.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "the application under test waits, in virtual time; the peer has tasks of its own"
)]

mod frames;
mod groups;
mod messages;
mod peer;
mod records;
mod sasl;
mod scene;
mod script;
mod scripts;
