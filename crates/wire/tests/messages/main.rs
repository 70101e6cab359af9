//! The messages: what is read is what was written, what a real broker says they are, and what a hostile one may send.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod consumer_protocol;
mod hostile;
mod offsets_topic;
mod round_trip;
mod sample;
mod schema;
