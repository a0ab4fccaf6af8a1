//! Contents on disk, as they came from the storage.
//!
//! A content is found under its id and its place: a content that was rewritten elsewhere, maybe compressed otherwise,
//! has other bytes. It is put there once it has been opened, so that what a storage gave wrongly is not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_cache::{Cache, Class, Key, Stats};

use super::DiskCacheOptions;
use crate::blob::{BlobId, Storage};
use crate::bytes::Bytes;
use crate::content::index::IndexEntry;

/// Bytes of a pack's name, hashed, in a key.
const PACK_HASH: usize = 16;

#[derive(Clone, Debug)]
pub(in crate::content) struct Stored {
    cache: Cache,
    data: bool,
    /// Contents that could not be opened.
    rejected: Arc<AtomicU64>,
}

impl Stored {
    /// None when contents of this storage are not to be kept.
    pub(in crate::content) fn new(cache: &Cache, options: &DiskCacheOptions, storage: &dyn Storage) -> Option<Self> {
        let wanted = options.even_of_local || !storage.is_local();
        wanted.then(|| Self { cache: cache.clone(), data: options.data, rejected: Arc::default() })
    }

    /// None for a content that is not kept.
    fn key(&self, entry: &IndexEntry) -> Option<Key> {
        if entry.id.prefix().is_none() && !self.data {
            return None;
        }
        let mut key = Vec::with_capacity(entry.id.key_length() + PACK_HASH + 8);
        entry.id.write_key(&mut key);
        key.extend_from_slice(&pack_hash(&entry.pack));
        key.extend_from_slice(&entry.pack_offset.to_be_bytes());
        key.extend_from_slice(&entry.packed_length.to_be_bytes());
        Key::new(&key)
    }

    /// Whether such a content would be kept, and is not there yet.
    pub(in crate::content) fn lacks(&self, entry: &IndexEntry) -> bool {
        self.key(entry).is_some_and(|key| !self.cache.contains(&key))
    }

    /// The stored bytes of those that are there, in the order of `entries`.
    pub(in crate::content) async fn get(&self, entries: &[IndexEntry]) -> Vec<Option<Bytes>> {
        let keys: Vec<Option<Key>> = entries.iter().map(|entry| self.key(entry)).collect();
        if keys.iter().all(Option::is_none) {
            return vec![None; keys.len()];
        }
        let cache = self.cache.clone();
        let read = move || keys.iter().map(|key| cache.get(key.as_ref()?).map(Bytes::from)).collect();
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| vec![None; entries.len()])
    }

    /// Keeps a content that could be opened. Never waits.
    pub(in crate::content) fn put(&self, entry: &IndexEntry, stored: &Bytes) {
        let class = if entry.id.prefix().is_none() { Class::Data } else { Class::Metadata };
        if let Some(key) = self.key(entry) {
            self.cache.put(key, class, stored.clone());
        }
    }

    /// Forgets a content that could not be opened, if it is there.
    pub(in crate::content) fn reject(&self, entry: &IndexEntry) {
        if let Some(key) = self.key(entry).filter(|key| self.cache.contains(key)) {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            self.cache.remove(&key);
        }
    }

    /// Waits until everything that was put is written, or dropped.
    pub(in crate::content) async fn flush(&self) {
        let cache = self.cache.clone();
        // There is nothing to be done when it failed: the cache lacks something.
        let _ = tokio::task::spawn_blocking(move || cache.flush()).await;
    }

    /// Why nothing was kept the last time, if that is so.
    pub(in crate::content) fn problem(&self) -> Option<String> {
        self.cache.problem()
    }

    /// What this process has done, and how many contents could not be opened.
    pub(in crate::content) fn stats(&self) -> (Stats, u64) {
        (self.cache.stats(), self.rejected.load(Ordering::Relaxed))
    }
}

fn pack_hash(pack: &BlobId) -> [u8; PACK_HASH] {
    let mut hash = [0; PACK_HASH];
    blake3::Hasher::new().update(pack.as_bytes()).finalize_xof().fill(&mut hash);
    hash
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::content::cache::DiskCache;
    use crate::content::id::{ContentId, Prefix};
    use crate::content::index::tests::some_entries;

    /// As an index has them with the longest hash there is.
    fn entry(prefix: Prefix) -> IndexEntry {
        let id = ContentId::from_hash(prefix, &[9; 32]).unwrap();
        IndexEntry { id, packed_length: 3, ..some_entries(1).remove(0) }
    }

    #[tokio::test]
    async fn every_place_of_a_content_has_a_key_of_its_own() {
        let directory = TempDir::new().unwrap();
        let options = DiskCacheOptions::new(directory.path(), 10 << 20);
        let disk = DiskCache::open(&options);
        let storage = crate::blob::mem::MemoryStorage::new(Arc::new(crate::clock::SystemClock));
        let stored = Stored::new(disk.contents(), &options, &storage).unwrap();
        let here = entry(Prefix::NONE);
        let others = [
            IndexEntry { pack: BlobId::new("p-elsewhere").unwrap(), ..here.clone() },
            IndexEntry { pack_offset: here.pack_offset + 1, ..here.clone() },
            IndexEntry { packed_length: 4, ..here.clone() },
            entry(Prefix::DIRECTORY),
        ];
        assert!(stored.lacks(&here));
        stored.put(&here, &Bytes::from_static(b"abc"));
        stored.flush().await;
        assert!(!stored.lacks(&here));
        let found = stored.get(&[others.to_vec(), vec![here.clone()]].concat()).await;
        assert_eq!(found, [None, None, None, None, Some(Bytes::from_static(b"abc"))]);

        stored.reject(&others[0]);
        stored.reject(&here);
        stored.reject(&here);
        assert_eq!((stored.get(std::slice::from_ref(&here)).await, stored.stats().1), (vec![None], 1));

        let only_metadata = Stored { data: false, ..stored };
        only_metadata.put(&here, &Bytes::from_static(b"abc"));
        only_metadata.put(&others[3], &Bytes::from_static(b"abc"));
        only_metadata.flush().await;
        let found = only_metadata.get(&[here, others[3].clone()]).await;
        assert_eq!(found, [None, Some(Bytes::from_static(b"abc"))]);
    }

    #[test]
    fn contents_of_a_local_storage_are_kept_only_when_asked_for() {
        let (directory, repository) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let config = crate::blob::fs::FilesystemConfig::new(repository.path());
        let local = crate::blob::fs::FilesystemStorage::create(&config).unwrap();
        let asked = DiskCacheOptions::new(directory.path(), 10 << 20);
        let disk = DiskCache::open(&asked);
        assert!(Stored::new(disk.contents(), &asked, &local).is_some());
        let not_asked = DiskCacheOptions { even_of_local: false, ..asked };
        assert!(Stored::new(disk.contents(), &not_asked, &local).is_none());
    }
}
