//! The monitor as its clients see it, on loopback, with reports that are made up.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod answers;
mod hostile;
mod secured;
mod support;
mod webhooks;
