//! What a cache counts and tells about itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::view::locked;

/// What this process has done with a cache since it opened it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    /// Of the values that were found.
    pub hit_bytes: u64,
    /// Records that were written.
    pub admitted: u64,
    pub admitted_bytes: u64,
    /// Values that were not written, for whatever reason.
    pub dropped: u64,
    /// Records that this process evicted.
    pub evicted: u64,
    pub evicted_bytes: u64,
    /// Records that eviction wrote again, because somebody had read them.
    pub rescued: u64,
    /// Records that did not hold what was written.
    pub damaged: u64,
}

/// What a cache takes, whoever wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub limit: u64,
    /// Of everything under the directory, and what is promised to segments that are not full.
    pub committed: u64,
    /// All files under the directory.
    pub files: u64,
    pub data: Sum,
    pub metadata: Sum,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of the segments, so with headers and with records that nothing leads to any more.
    pub bytes: u64,
    /// Records that can be found.
    pub records: u64,
}

/// What reading everything has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub records: u64,
    pub bytes: u64,
    /// Records that were dropped.
    pub damaged: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) hit_bytes: AtomicU64,
    pub(crate) admitted: AtomicU64,
    pub(crate) admitted_bytes: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
    pub(crate) rescued: AtomicU64,
    pub(crate) damaged: AtomicU64,
    problem: Mutex<Option<String>>,
}

pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: value(&self.hits),
            misses: value(&self.misses),
            hit_bytes: value(&self.hit_bytes),
            admitted: value(&self.admitted),
            admitted_bytes: value(&self.admitted_bytes),
            dropped: value(&self.dropped),
            evicted: value(&self.evicted),
            evicted_bytes: value(&self.evicted_bytes),
            rescued: value(&self.rescued),
            damaged: value(&self.damaged),
        }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        locked(&self.problem).clone()
    }

    pub(crate) fn set_problem(&self, problem: Option<String>) {
        *locked(&self.problem) = problem;
    }
}
