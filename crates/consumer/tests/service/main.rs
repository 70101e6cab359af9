//! What the people who run a service see of it: its log, and what its probes are told. On the embedded broker, in memory and in
//! virtual time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod health;
mod log;
mod support;
mod tickets;
