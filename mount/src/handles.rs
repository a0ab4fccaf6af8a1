//! What the kernel holds open, by the number that it was given for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Open things of one sort. What is being used while it is closed lives until that use ends.
pub(crate) struct Handles<H> {
    open: Mutex<Open<H>>,
}

struct Open<H> {
    next: u64,
    held: HashMap<u64, Arc<H>>,
}

impl<H> Handles<H> {
    pub(crate) fn new() -> Self {
        Self { open: Mutex::new(Open { next: 1, held: HashMap::new() }) }
    }

    pub(crate) fn open(&self, handle: H) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.held.insert(number, Arc::new(handle));
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<H>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).held.get(&number).cloned()
    }

    /// What was open, so that the caller drops it outside of the lock.
    pub(crate) fn close(&self, number: u64) -> Option<Arc<H>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_used_twice() {
        let handles = Handles::new();
        let (one, other) = (handles.open("one"), handles.open("other"));
        assert_eq!(handles.get(one).as_deref(), Some(&"one"));
        assert_eq!(handles.close(one).as_deref(), Some(&"one"));
        assert_eq!((handles.get(one), handles.close(one)), (None, None));
        let third = handles.open("third");
        assert!(third != one && third != other);
    }
}
