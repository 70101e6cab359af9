//! The memory that the handle is done with, on its way to the engine's account.
//!
//! Usually the engine has no use for it before it next runs anyway, so it is not woken for it: a consumer that reads a record now and
//! then would wake it twice for each. Only while fetching waits for memory does the handle say that there is some.

use std::sync::{Mutex, MutexGuard, PoisonError};

use offtake_fetch::Charge;
use offtake_machine::TopicPartition;

/// A chunk that was read or dropped.
pub(crate) type FreedChunk = (TopicPartition, Charge);

/// Shared by the handle and the engine.
#[derive(Debug, Default)]
pub(crate) struct FreedMemory(Mutex<Freed>);

#[derive(Debug, Default)]
struct Freed {
    chunks: Vec<FreedChunk>,
    /// Whether the engine waits for them.
    is_awaited: bool,
}

impl FreedMemory {
    fn lock(&self) -> MutexGuard<'_, Freed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds chunks. Returns whether the engine waits for them and has to be woken, which it has to be once.
    pub(crate) fn add(&self, chunks: impl IntoIterator<Item = FreedChunk>) -> bool {
        let mut freed = self.lock();
        freed.chunks.extend(chunks);
        std::mem::take(&mut freed.is_awaited)
    }

    /// Takes what was added since the last call.
    pub(crate) fn take(&self) -> Vec<FreedChunk> {
        std::mem::take(&mut self.lock().chunks)
    }

    /// The same. If there is nothing and `awaits` is set, the next [`add`](Self::add) says so.
    pub(crate) fn take_or_await(&self, awaits: bool) -> Vec<FreedChunk> {
        let mut freed = self.lock();
        freed.is_awaited = awaits && freed.chunks.is_empty();
        std::mem::take(&mut freed.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> FreedChunk {
        (TopicPartition::new("orders", 0), Charge::unaccounted(1))
    }

    #[test]
    fn i12_the_engine_is_woken_once_and_only_if_it_waits_for_memory() {
        let freed = FreedMemory::default();
        assert!(!freed.add([chunk()]), "it has not asked");
        assert_eq!(freed.take_or_await(true).len(), 1, "it goes on with this");
        assert!(!freed.add([chunk()]), "it did not have to wait");
        assert_eq!(freed.take().len(), 1);
        assert!(freed.take_or_await(true).is_empty());
        assert!(freed.add([chunk(), chunk()]));
        assert!(!freed.add([chunk()]), "it is already woken");
        assert_eq!(freed.take().len(), 3);
        assert!(freed.take_or_await(true).is_empty() && freed.take_or_await(false).is_empty());
        assert!(!freed.add([chunk()]), "it does not wait any more");
    }
}
