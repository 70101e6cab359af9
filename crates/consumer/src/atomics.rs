//! Where the state that threads share takes its atomics and its lock from: `tests/handover.rs` puts a model checker's in
//! their place.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
