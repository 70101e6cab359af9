//! The public interface, against an embedded cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod examples;
mod guess;
mod handle;
mod memory;
mod support;
