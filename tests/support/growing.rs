//! A list that another thread adds to: lines of a process, events of a member.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

/// Cheap to clone; all clones see the same list.
#[derive(Debug)]
pub struct Growing<T> {
    inner: Arc<(Mutex<State<T>>, Condvar)>,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    came: Vec<SystemTime>,
    closed: bool,
}

impl<T> Clone for Growing<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Self {
            inner: Arc::new((
                Mutex::new(State { items: Vec::new(), came: Vec::new(), closed: false }),
                Condvar::new(),
            )),
        }
    }
}

impl<T: Clone> Growing<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.inner.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        state.items.push(item);
        state.came.push(SystemTime::now());
        drop(state);
        self.inner.1.notify_all();
    }

    /// No more items follow: waiting callers return at once.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.inner.1.notify_all();
    }

    /// All items so far.
    pub fn all(&self) -> Vec<T> {
        self.lock().items.clone()
    }

    /// When each of them arrived, by the machine's clock.
    pub fn came(&self) -> Vec<SystemTime> {
        self.lock().came.clone()
    }

    /// The number of items so far.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether there are no items yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first item that `wanted` accepts, waiting for it until `patience` or the source ends.
    pub fn wait_for(&self, patience: Duration, mut wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let mut seen = 0;
        let mut found = None;
        self.wait_until(patience, |items| {
            found = items.iter().skip(seen).find(|item| wanted(item)).cloned();
            seen = items.len();
            found.is_some()
        });
        found
    }

    /// Waits until the whole list satisfies `enough`; false if `patience` or the source ended first. The list is locked
    /// during `enough`, which must not access it in another way.
    pub fn wait_until(&self, patience: Duration, mut enough: impl FnMut(&[T]) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if enough(&state.items) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return false;
            }
            state = self.inner.1.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}
