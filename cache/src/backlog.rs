//! Values on their way to the disk. Whoever puts one never waits: when there are too many it is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::record::Key;
use crate::view::locked;

/// Whether a value is data, or metadata, which is kept longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Metadata,
    Data,
}

/// Bytes of all values together. One that alone is longer is taken when there is no other.
const MOST: usize = 16 << 20;
/// What a value takes in memory beside its bytes.
const OVERHEAD: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Backlog {
    state: Mutex<State>,
    /// There is something to do.
    offered: Condvar,
    /// Something was done.
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Key>,
    /// Of those that wait, and of the one that is being written.
    values: HashMap<Key, (Class, Bytes)>,
    bytes: usize,
    offered: u64,
    finished: u64,
    /// Those who wait until more is finished. To wake nobody costs a system call, too.
    flushing: usize,
    closed: bool,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    Write(Key, Class, Bytes),
    /// There was nothing for a while.
    Idle,
    Closed,
}

impl State {
    fn remove(&mut self, key: &Key) {
        if let Some((_, value)) = self.values.remove(key) {
            self.bytes -= value.len() + OVERHEAD;
        }
        self.finished += 1;
    }
}

impl Backlog {
    /// Says whether the value will be written, as far as this is known.
    pub(crate) fn offer(&self, key: Key, class: Class, value: Bytes) -> bool {
        let mut state = locked(&self.state);
        if state.values.contains_key(&key) {
            return true;
        }
        let bytes = state.bytes + value.len() + OVERHEAD;
        if state.closed || (bytes > MOST && !state.values.is_empty()) {
            return false;
        }
        state.bytes = bytes;
        state.offered += 1;
        state.values.insert(key, (class, value));
        state.waiting.push_back(key);
        if state.waiting.len() == 1 {
            self.offered.notify_one();
        }
        true
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Bytes> {
        locked(&self.state).values.get(key).map(|(_, value)| value.clone())
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        locked(&self.state).values.contains_key(key)
    }

    /// Waits for something to do: for ever, or for so long.
    pub(crate) fn next(&self, patience: Option<Duration>) -> Next {
        let mut state = locked(&self.state);
        loop {
            if let Some(key) = state.waiting.pop_front() {
                if let Some((class, value)) = state.values.get(&key) {
                    return Next::Write(key, *class, value.clone());
                }
            } else if state.closed {
                return Next::Closed;
            } else if let Some(patience) = patience {
                let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
                let waited = self.offered.wait_timeout_while(state, patience, idle);
                let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() {
                    return Next::Idle;
                }
                state = guard;
            } else {
                state = self.offered.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The value was written, or will not be.
    pub(crate) fn finish(&self, key: &Key) {
        let mut state = locked(&self.state);
        state.remove(key);
        if state.flushing > 0 {
            self.finished.notify_all();
        }
    }

    /// Waits until all that was offered before is finished.
    pub(crate) fn flush(&self) {
        self.wait_until_finished(locked(&self.state));
    }

    /// Forgets what was not begun, and waits for what was.
    pub(crate) fn clear(&self) {
        let mut state = locked(&self.state);
        while let Some(key) = state.waiting.pop_front() {
            state.remove(&key);
        }
        self.wait_until_finished(state);
    }

    fn wait_until_finished(&self, mut state: MutexGuard<'_, State>) {
        let offered = state.offered;
        state.flushing += 1;
        let waited = self.finished.wait_while(state, |state| state.finished < offered);
        waited.unwrap_or_else(PoisonError::into_inner).flushing -= 1;
    }

    /// What waits is still written, nothing more is taken.
    pub(crate) fn close(&self) {
        locked(&self.state).closed = true;
        self.offered.notify_all();
    }

    /// Nobody writes any more.
    pub(crate) fn end(&self) {
        let mut state = locked(&self.state);
        let (offered, flushing) = (state.offered, state.flushing);
        *state = State { closed: true, offered, finished: offered, flushing, ..State::default() };
        self.finished.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::new(&number.to_le_bytes()).unwrap()
    }

    #[test]
    fn too_much_is_refused() {
        let backlog = Backlog::default();
        assert!(backlog.offer(key(0), Class::Data, vec![0; 2 * MOST].into()));
        assert!(backlog.offer(key(0), Class::Data, vec![0; 2 * MOST].into()));
        assert!(!backlog.offer(key(1), Class::Data, Bytes::new()));
        assert!(backlog.contains(&key(0)) && !backlog.contains(&key(1)));
        assert!(matches!(backlog.next(None), Next::Write(k, Class::Data, _) if k == key(0)));
        assert_eq!(backlog.get(&key(0)).unwrap().len(), 2 * MOST);
        backlog.finish(&key(0));
        assert!(backlog.get(&key(0)).is_none());
        for number in 0..4 {
            assert!(backlog.offer(key(number), Class::Data, vec![0; MOST / 4 - OVERHEAD].into()));
        }
        assert!(!backlog.offer(key(4), Class::Data, Bytes::new()));
        backlog.clear();
        assert!(matches!(backlog.next(Some(Duration::ZERO)), Next::Idle));
        backlog.flush();
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let backlog = Backlog::default();
        assert!(backlog.offer(key(0), Class::Data, Bytes::new()));
        backlog.close();
        assert!(!backlog.offer(key(1), Class::Data, Bytes::new()));
        assert!(matches!(backlog.next(None), Next::Write(..)));
        assert!(matches!(backlog.next(None), Next::Closed));
        backlog.end();
        backlog.flush();
    }
}
