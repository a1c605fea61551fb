//! How many bytes a run of a target holds at most, measured by the allocator of the driver.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator with two counters per thread: targets work in the thread that calls them.
pub struct Measuring;

/// The most bytes that `work` held at once, of what it allocated itself; 0 if [`Measuring`] is not the process's
/// allocator.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    NOW.set(0);
    PEAK.set(0);
    let result = work();
    (result, usize::try_from(PEAK.get()).unwrap_or(0))
}

fn count(change: isize) {
    // At the end of a thread its counters are gone before its last memory.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

fn bytes(layout: Layout) -> isize {
    layout.size() as isize
}

// SAFETY: every call goes on to `System` unchanged, which keeps the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(bytes(layout));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(bytes(layout));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both exist while one is copied to the other.
        count(new_size as isize);
        // SAFETY: as above; `pointer` came from `System`.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        count(-bytes(layout));
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-bytes(layout));
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Measuring = Measuring;

    #[test]
    fn the_largest_time_is_measured_and_not_the_sum() {
        let ((), peak) = peak_bytes(|| {
            for _ in 0..10 {
                drop(std::hint::black_box(vec![1u8; 1000]));
            }
        });
        assert_eq!(peak, 1000);
        let ((), peak) = peak_bytes(|| {
            let mut grows = vec![1u8; 1000];
            grows.reserve_exact(1000);
            drop(std::hint::black_box(grows));
        });
        assert_eq!(peak, 3000, "the old and the new place");
    }

    #[test]
    fn memory_that_is_asked_for_counts_also_if_nobody_writes_to_it() {
        let ((), peak) = peak_bytes(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(64 << 20))));
        assert_eq!(peak, 64 << 20);
    }
}
