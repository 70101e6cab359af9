//! The messages: round trips, comparison with a real broker's definitions, and malicious input.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod consumer_protocol;
mod hostile;
mod offsets_topic;
mod round_trip;
mod sample;
mod schema;
