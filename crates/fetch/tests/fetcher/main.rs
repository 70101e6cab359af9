//! Tests of the fetch machine with literal responses, and with a strict broker that injects faults.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod budget;
mod crowd;
mod history;
mod leaders;
mod memory;
mod model;
mod positions;
mod records;
mod rig;
mod sessions;
mod suspects;
