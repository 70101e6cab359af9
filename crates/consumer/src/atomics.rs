//! The source of the atomics and the lock for state shared between threads. `tests/handover.rs` replaces them
//! with those of a model checker.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
