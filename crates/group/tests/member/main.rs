//! Tests of one member, and of several with a model of their coordinator: transcripts, scenarios, random
//! histories; and of the assignors' results.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says where")]

mod assignors;
mod by_hand;
mod classic;
mod consumer;
mod follow_up;
mod histories;
mod java_assignments;
mod modern_by_hand;
mod sim;
