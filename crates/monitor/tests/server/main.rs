//! The monitor as seen by its clients, on loopback, with made-up reports.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(clippy::disallowed_methods, reason = "tests play slow clients, in tokio's paused time")]

mod answers;
mod hostile;
mod secured;
mod support;
mod webhooks;
