//! [`Buffers`]: the memory that large frames are read into, used again when the last view of a frame is gone.
//!
//! A buffer is used for a frame of a quarter of its size or more, so that a small frame that is kept for long does not keep
//! the memory of a large one.
//!
//! Memory that is given back to the system and asked for again is cleared page by page each time, which costs as much as
//! checking the records in it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;

/// What is smaller the allocator keeps by itself.
pub(crate) const LARGE: usize = 128 * 1024;
/// So many wait to be used again: while one frame is being worked on the next is read.
const KEPT: usize = 2;
/// A buffer may be so many times as large as the frame that is read into it.
const SLACK: usize = 4;
/// Frames of about the same size find room in each other's buffers.
const GRAIN: usize = 256 * 1024;

/// Buffers that nobody looks at any more, of all connections together.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// In the order in which they came back.
    free: Mutex<VecDeque<Vec<u8>>>,
}

impl Buffers {
    /// An empty one with room for `size` bytes and not for much more, if there is one.
    pub(crate) fn take(&self, size: usize) -> Option<Vec<u8>> {
        let fits = size..=size.saturating_mul(SLACK);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = free.iter().map(Vec::capacity).enumerate();
        let (at, _) = sizes.filter(|(_, size)| fits.contains(size)).min_by_key(|(_, size)| *size)?;
        free.remove(at)
    }

    /// The frame that was read into `bytes`; if it is large, the memory comes back here.
    pub(crate) fn lend(self: &Arc<Self>, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() < LARGE {
            return Bytes::from(bytes);
        }
        Bytes::from_owner(Lent { bytes, home: Arc::downgrade(self) })
    }

    /// Nothing large has come for a while.
    pub(crate) fn rest(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push_back(buffer);
        if free.len() > KEPT {
            free.pop_front(); // not of the size that is read by now
        }
    }
}

/// How much to set aside for a frame of `size` bytes that is believed.
pub(crate) fn room_for(size: usize) -> usize {
    if size < LARGE { size } else { size.checked_next_multiple_of(GRAIN).unwrap_or(size) }
}

struct Lent {
    bytes: Vec<u8>,
    home: Weak<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(size: usize) -> Vec<u8> {
        vec![7; size]
    }

    #[test]
    fn memory_comes_back_when_the_last_view_is_gone_and_not_before() {
        let buffers = Arc::new(Buffers::default());
        let frame = buffers.lend(large(LARGE));
        let at = frame.as_ptr();
        let view = frame.slice(5..10);
        drop(frame);
        assert!(buffers.take(LARGE).is_none());
        drop(view);
        let again = buffers.take(LARGE).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    #[test]
    fn no_more_are_kept_than_are_of_use_and_those_of_the_size_that_comes() {
        let buffers = Arc::new(Buffers::default());
        let frames: Vec<_> = [3, 1, 4, 2].map(|times| buffers.lend(large(times * LARGE))).into();
        drop(frames);
        assert!(buffers.take(5 * LARGE).is_none());
        assert_eq!(buffers.take(LARGE).unwrap().capacity(), 2 * LARGE);
        assert_eq!(buffers.take(LARGE).unwrap().capacity(), 4 * LARGE);
        assert!(buffers.take(LARGE).is_none());
    }

    #[test]
    fn p1_a_small_frame_does_not_keep_the_memory_of_a_large_one() {
        let buffers = Arc::new(Buffers::default());
        drop(buffers.lend(large(16 * LARGE)));
        assert!(buffers.take(4 * LARGE - 1).is_none());
        assert_eq!(buffers.take(4 * LARGE).unwrap().capacity(), 16 * LARGE);
    }

    #[test]
    fn nothing_is_kept_at_rest_nor_behind_the_connections_end() {
        let buffers = Arc::new(Buffers::default());
        drop(buffers.lend(large(LARGE)));
        buffers.rest();
        assert!(buffers.take(LARGE).is_none());
        let frame = buffers.lend(large(LARGE));
        drop(buffers);
        assert_eq!(frame.len(), LARGE);
    }
}
