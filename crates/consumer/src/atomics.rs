//! Where the state that two threads share takes its atomics from: `tests/handover.rs` puts a model checker's in their
//! place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
