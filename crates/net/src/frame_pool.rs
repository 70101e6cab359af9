//! [`FramePool`]: buffers for large frames, reused when the last slice of a frame is dropped.
//!
//! A buffer is used only for frames of at least a quarter of its size, so that a small frame kept for long does not hold the
//! memory of a large one.
//!
//! Without the pool the system would clear the memory of each frame page by page, which costs as much as checking its records.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;

/// Frames of this size or more are pooled; the allocator already reuses memory for smaller ones.
pub(crate) const LARGE: usize = 128 * 1024;
/// The number of free buffers kept: one frame is processed while the next is read.
const MAX_FREE: usize = 2;
/// A buffer is at most this many times as large as the frame that is read into it.
const MAX_OVERSIZE: usize = 4;
/// Capacities are multiples of this, so that frames of about the same size fit into each other's buffers.
const SIZE_STEP: usize = 256 * 1024;

/// Free buffers, shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct FramePool {
    /// The oldest first.
    free: Mutex<VecDeque<Vec<u8>>>,
}

impl FramePool {
    /// Takes a free buffer with room for `size` bytes and not much more.
    pub(crate) fn take(&self, size: usize) -> Option<Vec<u8>> {
        let fits = size..=size.saturating_mul(MAX_OVERSIZE);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = free.iter().map(Vec::capacity).enumerate();
        let (at, _) = sizes.filter(|(_, size)| fits.contains(size)).min_by_key(|(_, size)| *size)?;
        free.remove(at)
    }

    /// Makes a frame of `bytes`. The memory of a large one returns to the pool when the frame is dropped.
    pub(crate) fn wrap(self: &Arc<Self>, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() < LARGE {
            return Bytes::from(bytes);
        }
        Bytes::from_owner(PooledBuffer { bytes, pool: Arc::downgrade(self) })
    }

    /// Frees all buffers, after no large frame has arrived for a while.
    pub(crate) fn clear(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn recycle(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push_back(buffer);
        if free.len() > MAX_FREE {
            free.pop_front(); // its size no longer fits the frames that arrive
        }
    }
}

/// The capacity to allocate for a frame of `size` bytes.
pub(crate) fn capacity_for(size: usize) -> usize {
    if size < LARGE { size } else { size.checked_next_multiple_of(SIZE_STEP).unwrap_or(size) }
}

struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Weak<FramePool>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.recycle(std::mem::take(&mut self.bytes));
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
        let frame_pool = Arc::new(FramePool::default());
        let frame = frame_pool.wrap(large(LARGE));
        let at = frame.as_ptr();
        let view = frame.slice(5..10);
        drop(frame);
        assert!(frame_pool.take(LARGE).is_none());
        drop(view);
        let again = frame_pool.take(LARGE).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    #[test]
    fn no_more_are_kept_than_are_of_use_and_those_of_the_size_that_comes() {
        let frame_pool = Arc::new(FramePool::default());
        let frames: Vec<_> = [3, 1, 4, 2].map(|times| frame_pool.wrap(large(times * LARGE))).into();
        drop(frames);
        assert!(frame_pool.take(5 * LARGE).is_none());
        assert_eq!(frame_pool.take(LARGE).unwrap().capacity(), 2 * LARGE);
        assert_eq!(frame_pool.take(LARGE).unwrap().capacity(), 4 * LARGE);
        assert!(frame_pool.take(LARGE).is_none());
    }

    #[test]
    fn p1_a_small_frame_does_not_keep_the_memory_of_a_large_one() {
        let frame_pool = Arc::new(FramePool::default());
        drop(frame_pool.wrap(large(16 * LARGE)));
        assert!(frame_pool.take(4 * LARGE - 1).is_none());
        assert_eq!(frame_pool.take(4 * LARGE).unwrap().capacity(), 16 * LARGE);
    }

    #[test]
    fn nothing_is_kept_at_rest_nor_behind_the_connections_end() {
        let frame_pool = Arc::new(FramePool::default());
        drop(frame_pool.wrap(large(LARGE)));
        frame_pool.clear();
        assert!(frame_pool.take(LARGE).is_none());
        let frame = frame_pool.wrap(large(LARGE));
        drop(frame_pool);
        assert_eq!(frame.len(), LARGE);
    }
}
