//! Tests of what the operators of a service see: its log, and the results of its probes. They use the
//! embedded broker, in memory and in virtual time.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "the application under test waits, in virtual time, and has tasks of its own"
)]

mod chances;
mod clocks;
mod closing;
mod errors;
mod handing_over;
mod health;
mod jumps;
mod log;
mod losing;
mod starting;
mod support;
mod tickets;
