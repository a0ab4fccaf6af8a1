//! Counts the memory that a thread has asked for.

#![allow(unsafe_code, reason = "an allocator is unsafe by nature; this one only passes on and counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub(crate) struct Counting;

thread_local! {
    /// Bytes asked for and not given back; negative when another thread's were given back here.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn taken(bytes: usize) {
    NOW.set(NOW.get() + bytes.cast_signed());
    PEAK.set(PEAK.get().max(NOW.get()));
}

fn given_back(bytes: usize) {
    NOW.set(NOW.get() - bytes.cast_signed());
}

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as for the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new may be there at once.
        taken(new_size);
        given_back(layout.size());
        // SAFETY: as for the caller.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// What a function gives, and the most bytes that it had at one time beyond what was there before.
pub(crate) fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = run();
    (result, (PEAK.get() - before).unsigned_abs())
}

#[test]
fn what_is_given_back_still_counts_for_the_peak() {
    let (kept, peak) = peak_of(|| {
        drop(Vec::<u8>::with_capacity(100_000));
        vec![0_u8; 1000]
    });
    assert!((100_000..100_100).contains(&peak), "{peak} for {}", kept.len());
    let (_, peak) = peak_of(|| {
        let mut grown = vec![0_u8; 100_000];
        grown.reserve_exact(100_000);
        grown
    });
    assert!((300_000..300_100).contains(&peak), "{peak}");
}
