//! Counts the memory that a decoder takes: libFuzzer sees only the resident size of the whole process, once a second.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// No well-formed input of ours, a few kilobytes, leads to one allocation of this size.
const LARGEST: usize = 256 << 20;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

fn taken(size: usize) {
    let now = NOW.fetch_add(size, Relaxed).wrapping_add(size);
    PEAK.fetch_max(now, Relaxed);
}

fn given_back(size: usize) {
    NOW.fetch_sub(size, Relaxed);
}

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written without; this one only counts what the system's does"
)]
// SAFETY: every call goes to the system's allocator unchanged, or returns null, which the contract allows.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        taken(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        taken(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LARGEST {
            return std::ptr::null_mut();
        }
        taken(size);
        given_back(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The peak memory while `work` ran, beyond that before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    (done, PEAK.load(Relaxed).saturating_sub(before))
}

/// Asserts that [`peak`] is at most `limit`.
#[track_caller]
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let (done, peak) = peak(work);
    assert!(peak <= limit, "{peak} bytes of memory where {limit} were to be enough");
    done
}
