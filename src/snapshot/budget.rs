//! A limit on the bytes that all tasks together have in memory.

use std::sync::{Condvar, Mutex, PoisonError};

pub(super) struct Budget {
    total: u64,
    taken: Mutex<u64>,
    changed: Condvar,
}

/// Bytes taken from the budget, given back when dropped.
pub(super) struct Taken<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// For contents that are fetched: enough to keep all threads busy, however many there are.
    pub(super) fn for_contents() -> Self {
        Self::new(32 << 20)
    }

    fn new(total: u64) -> Self {
        Self { total, taken: Mutex::new(0), changed: Condvar::new() }
    }

    /// Waits until there is room. More than the whole budget is had alone.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.total);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            self.changed.wait_while(taken, |taken| *taken + bytes > self.total).unwrap_or_else(PoisonError::into_inner);
        *taken += bytes;
        Taken { budget: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.budget.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.changed.notify_all();
    }
}
