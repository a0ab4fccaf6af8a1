//! What plain threads share: locks, limits on what all of them hold at one time, and things to take turns with.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Locks, also after a thread has panicked: what these locks guard is changed in single steps, so nothing is left half
/// done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A limit on what is held at one time: bytes of contents, or packs. Makes those who want more wait.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: u64,
    taken: Mutex<u64>,
    changed: Condvar,
}

/// Something of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    budget: Budget,
    amount: u64,
}

impl Budget {
    pub(crate) fn new(total: u64) -> Self {
        Self(Arc::new(Inner { total, taken: Mutex::new(0), changed: Condvar::new() }))
    }

    /// Waits until there is room. More than the whole budget is had alone.
    pub(crate) fn take(&self, amount: u64) -> Taken {
        let amount = amount.min(self.0.total);
        let mut taken = self.wait_for(amount);
        *taken += amount;
        Taken { budget: self.clone(), amount }
    }

    /// None when there is no room now.
    pub(crate) fn try_take(&self, amount: u64) -> Option<Taken> {
        let mut taken = lock(&self.0.taken);
        if *taken + amount > self.0.total {
            return None;
        }
        *taken += amount;
        Some(Taken { budget: self.clone(), amount })
    }

    /// Waits until there is room, which another thread may take first.
    pub(crate) fn wait(&self, amount: u64) {
        drop(self.wait_for(amount.min(self.0.total)));
    }

    fn wait_for(&self, amount: u64) -> MutexGuard<'_, u64> {
        let Inner { total, taken, changed } = &*self.0;
        changed.wait_while(lock(taken), |taken| *taken + amount > *total).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Inner { taken, changed, .. } = &*self.budget.0;
        *lock(taken) -= self.amount;
        changed.notify_all();
    }
}

/// A few things for more threads, made when they are first needed.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    free: Budget,
    made: Mutex<Vec<T>>,
}

impl<T: Default> Pool<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { free: Budget::new(most as u64), made: Mutex::default() }
    }

    /// Does something with one of them, when there is one that nobody uses. Must not be called again by `f`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let _turn = self.free.take(1);
        let mut one = lock(&self.made).pop().unwrap_or_default();
        let result = f(&mut one);
        lock(&self.made).push(one);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_is_held_than_the_total() {
        let budget = Budget::new(2);
        let (one, two) = (budget.try_take(1).unwrap(), budget.try_take(1).unwrap());
        assert!(budget.try_take(1).is_none());
        let waiting = thread::spawn({
            let budget = budget.clone();
            move || budget.wait(1)
        });
        drop(one);
        waiting.join().unwrap();
        assert!(budget.try_take(1).is_some());
        drop(two);
    }

    #[test]
    fn more_than_the_total_is_had_alone() {
        let budget = Budget::new(2);
        let all = budget.take(5);
        assert!(budget.try_take(1).is_none());
        drop(all);
        assert!(budget.try_take(2).is_some());
    }

    #[test]
    fn a_pool_has_no_more_than_its_most() {
        let pool = Pool::<u32>::new(2);
        let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    pool.with(|used| {
                        *used += 1;
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    });
                });
            }
        });
        assert!(most.into_inner() <= 2);
        let made = pool.made.into_inner().unwrap();
        assert!(made.len() <= 2 && made.iter().sum::<u32>() == 8);
    }
}
