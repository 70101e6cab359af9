//! The accumulator behind its lock.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use offtake_client::Result;

use super::Accumulator;
use crate::delivery::{BatchPosition, PendingAppend};

/// The accumulator as the senders and the engine share it.
pub(crate) struct Shared(Mutex<Accumulator>);

impl Shared {
    pub(crate) fn new(accumulator: Accumulator) -> Self {
        Self(Mutex::new(accumulator))
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        let accumulator = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { accumulator, completed: CompletedAppends::default() }
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.0.try_lock().is_err()
    }
}

/// The locked accumulator. Waiting records that got their places meanwhile are completed after the lock is released: completing
/// one wakes a task, and an executor may run that task in place, where it may send the next record.
pub(crate) struct Locked<'a> {
    accumulator: MutexGuard<'a, Accumulator>,
    /// The completions to deliver. Fields are dropped in order, so that this happens after the lock is released.
    completed: CompletedAppends,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.completed = mem::take(&mut self.accumulator.completed);
    }
}

impl Deref for Locked<'_> {
    type Target = Accumulator;

    fn deref(&self) -> &Accumulator {
        &self.accumulator
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Accumulator {
        &mut self.accumulator
    }
}

/// The places that were found, or the reasons why there are none. Dropping this completes the records.
#[derive(Default)]
pub(super) struct CompletedAppends(Vec<(Arc<PendingAppend>, Result<BatchPosition>)>);

impl CompletedAppends {
    pub(super) fn add(&mut self, pending: Arc<PendingAppend>, position: Result<BatchPosition>) {
        self.0.push((pending, position));
    }
}

impl Drop for CompletedAppends {
    fn drop(&mut self) {
        for (pending, position) in self.0.drain(..) {
            pending.complete(position);
        }
    }
}
