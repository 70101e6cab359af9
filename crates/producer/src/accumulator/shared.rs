//! The accumulator behind its lock.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use offtake_client::Result;

use super::Accumulator;
use crate::delivery::{BatchPosition, PendingAppend};

/// The accumulator, as the senders and the engine share it.
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

/// The accumulator while it is locked. Records that have got their places meanwhile are told when it no longer is: to tell one wakes a
/// task, and an executor may run that in place, which may send the next record.
pub(crate) struct Locked<'a> {
    accumulator: MutexGuard<'a, Accumulator>,
    /// What is told, in the order in which these fields are dropped: after the lock.
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

/// The places that were found, or the reasons why there are none. The records are told when this is dropped.
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
