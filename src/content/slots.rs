//! How many packs a writer has in memory: each needs a slot from its first content until it is in the storage.
//!
//! That bounds the memory, and makes those who put contents wait for a storage that is slower than they are.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Freed when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(count), freed: Condvar::new() })
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Slot(Arc::clone(self)))
    }

    /// Blocks until there is a free slot, which another thread may take first.
    pub(super) fn wait(&self) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn there_are_only_so_many() {
        let slots = Slots::new(2);
        let (one, two) = (slots.try_take().unwrap(), slots.try_take().unwrap());
        assert!(slots.try_take().is_none());
        let waiting = thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.wait()
        });
        drop(one);
        waiting.join().unwrap();
        assert!(slots.try_take().is_some());
        drop(two);
    }
}
