//! Decoded contents in memory, within one budget.
//!
//! Which of them stay is decided by how often they are asked for: contents that are read once, however many, do not
//! drive out those that are read again and again.

use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use crate::bytes::Bytes;
use crate::content::id::ContentId;

/// What an entry takes beside its bytes.
const OVERHEAD: usize = 256;

#[derive(Debug)]
pub(in crate::content) struct Decoded {
    /// None: nothing is kept.
    cache: Option<Cache<ContentId, Bytes>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Decoded {
    /// `budget` in bytes; 0: nothing is kept.
    pub(in crate::content) fn new(budget: u64) -> Self {
        let weigh = |_: &ContentId, bytes: &Bytes| u32::try_from(bytes.len() + OVERHEAD).unwrap_or(u32::MAX);
        let cache = (budget > 0).then(|| Cache::builder().max_capacity(budget).weigher(weigh).build());
        Self { cache, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub(in crate::content) fn get(&self, id: &ContentId) -> Option<Bytes> {
        let found = self.cache.as_ref()?.get(id);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(in crate::content) fn put(&self, id: ContentId, content: &Bytes) {
        if let Some(cache) = &self.cache {
            cache.insert(id, content.clone());
        }
    }

    /// How often something was found, and how often not.
    pub(in crate::content) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::id::Prefix;

    fn id(number: u64) -> ContentId {
        ContentId::from_hash(Prefix::NONE, &number.to_be_bytes()).unwrap()
    }

    #[test]
    fn the_budget_holds_and_a_scan_does_not_drive_out_what_is_in_use() {
        let decoded = Decoded::new(1 << 20);
        let content = Bytes::from(vec![1; 10_000]);
        let settle = || decoded.cache.iter().for_each(Cache::run_pending_tasks);
        // How often something is asked for counts from when half of the budget is taken.
        (100..170).for_each(|number| decoded.put(id(number), &content));
        settle();
        for _ in 0..20 {
            for number in 0..10 {
                if decoded.get(&id(number)).is_none() {
                    decoded.put(id(number), &content);
                }
            }
            settle();
        }
        for number in 1000..3000 {
            assert!(decoded.get(&id(number)).is_none());
            decoded.put(id(number), &content);
        }
        settle();
        assert!(decoded.cache.iter().all(|cache| cache.weighted_size() <= 1 << 20));
        assert_eq!((0..10).filter(|number| decoded.get(&id(*number)).is_some()).count(), 10);
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        let decoded = Decoded::new(0);
        decoded.put(id(1), &Bytes::from_static(b"x"));
        assert!(decoded.get(&id(1)).is_none());
    }
}
