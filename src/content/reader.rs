//! Finding and opening contents.
//!
//! A [`Reader`] holds the current [`IndexSet`] behind one pointer: lookups take it, a refresh exchanges it, neither
//! waits for the other. Lookups are quick and do not block; only fetching does I/O.
//!
//! A local copy of indexes is checked where it is used. When damage comes up, the copies that have any are made anew
//! ([`Reader::heal`]), and nobody notices but by the time it takes.
//!
//! Several contents that lie close together in one pack are fetched in one read, because a request costs more than
//! the bytes between them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::StreamExt;
use larder_cache::Shelf;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::ContentError;
use super::epoch::plan::Epochs;
use super::id::{ContentId, Prefix};
use super::index::set::{IndexSet, Layer};
use super::index::{IndexEntry, IndexError, runs};
use super::load::{Loader, View};
use crate::blob::{BlobError, BlobId, BlobRange, Storage};
use crate::bytes::Bytes;
use crate::format::{CompressionAlgorithm, Crypto, EpochParameters, Length, decompress};

/// Bytes between two contents that are rather read than skipped.
const LARGEST_GAP: u64 = 64 << 10;
/// Bytes of one read of several contents; a single larger content is read whole.
const LARGEST_READ: u64 = 4 << 20;
/// Reads under way for one call.
const PARALLEL_READS: usize = 8;

#[derive(Debug)]
pub struct Reader {
    storage: Arc<dyn Storage>,
    crypto: Arc<Crypto>,
    loader: Loader,
    current: ArcSwap<View>,
    runtime: Handle,
    /// Held while a new view is loaded, so that it is loaded once for all who want it.
    refreshing: tokio::sync::Mutex<()>,
}

impl Reader {
    /// Loads the indexes. `shelf` keeps them for the next time; without it they are held in memory.
    pub async fn open(
        storage: Arc<dyn Storage>,
        crypto: Arc<Crypto>,
        epochs: EpochParameters,
        shelf: Option<Shelf>,
    ) -> Result<Self, ContentError> {
        let loader = Loader { storage: Arc::clone(&storage), crypto: Arc::clone(&crypto), epochs, shelf };
        let current = ArcSwap::from_pointee(loader.load(&[]).await?);
        let refreshing = tokio::sync::Mutex::new(());
        Ok(Self { storage, crypto, loader, current, runtime: Handle::current(), refreshing })
    }

    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(super) fn crypto(&self) -> &Arc<Crypto> {
        &self.crypto
    }

    pub(super) fn epoch_parameters(&self) -> &EpochParameters {
        &self.loader.epochs
    }

    /// The indexes as they were when last loaded.
    pub fn indexes(&self) -> Arc<IndexSet> {
        Arc::clone(&self.current.load().set)
    }

    /// The epochs as they were when last loaded; None in a repository without.
    pub fn epochs(&self) -> Option<Epochs> {
        self.current.load().epochs.clone()
    }

    /// Where a content is; a deleted one is still somewhere.
    pub fn entry(&self, id: &ContentId) -> Result<IndexEntry, ContentError> {
        let mut view = self.current.load_full();
        let mut found = view.set.find(id);
        if found == Err(IndexError::DamagedCopy) {
            view = self.heal_here(&view)?;
            found = view.set.find(id);
        }
        let damaged = || view.set.damaged.iter().map(|d| d.blob.clone()).collect();
        match found {
            Ok(Some(entry)) => Ok(entry),
            Ok(None) => Err(ContentError::NotFound { id: *id, damaged: damaged() }),
            Err(why) => Err(ContentError::CorruptEntry { id: *id, why }),
        }
    }

    /// The ids of all contents with a prefix that are not deleted, in order, and what is wrong with entries that cannot
    /// be used.
    pub async fn ids_of(&self, prefix: Prefix) -> Result<(Vec<ContentId>, Vec<IndexError>), ContentError> {
        let list = |view: &View| {
            let (mut ids, mut unusable) = (Vec::new(), Vec::new());
            for entry in view.set.entries(prefix..=prefix) {
                match entry {
                    Ok(entry) if entry.deleted => {}
                    Ok(entry) => ids.push(entry.id),
                    Err(e) => unusable.push(e),
                }
            }
            (ids, unusable)
        };
        let view = self.current.load_full();
        let found = list(&view);
        if found.1.contains(&IndexError::DamagedCopy) {
            return Ok(list(&*self.heal(&view).await?));
        }
        Ok(found)
    }

    /// Loads again what a view has from damaged local copies.
    async fn heal(&self, seen: &Arc<View>) -> Result<Arc<View>, ContentError> {
        let _one = self.refreshing.lock().await;
        let current = self.current.load_full();
        if !Arc::ptr_eq(seen, &current) {
            return Ok(current);
        }
        let whole = runs::discard_damaged(self.loader.shelf.as_ref(), &current.set.layers);
        let view = Arc::new(self.loader.load(&whole).await?);
        self.current.store(Arc::clone(&view));
        Ok(view)
    }

    /// The same for a caller that does not wait; it happens so rarely that it may for once.
    fn heal_here(&self, seen: &Arc<View>) -> Result<Arc<View>, ContentError> {
        match Handle::try_current() {
            Ok(_) => tokio::task::block_in_place(|| self.runtime.block_on(self.heal(seen))),
            Err(_) => self.runtime.block_on(self.heal(seen)),
        }
    }

    /// Whether a content is there and not deleted, as far as the indexes know.
    pub fn has(&self, id: &ContentId) -> bool {
        // An entry that cannot be used is as good as none.
        self.entry(id).is_ok_and(|entry| !entry.deleted)
    }

    /// Loads a new view, unless somebody else just did.
    pub async fn refresh(&self) -> Result<(), ContentError> {
        let seen = self.current.load_full();
        let _one = self.refreshing.lock().await;
        if Arc::ptr_eq(&seen, &self.current.load()) {
            self.load(Vec::new()).await?;
        }
        Ok(())
    }

    /// Loads a new view that has these layers, as far as they count.
    pub(super) async fn refresh_with(&self, layers: Vec<Layer>) -> Result<Arc<View>, ContentError> {
        let _one = self.refreshing.lock().await;
        self.load(self.loader.keep(layers)).await
    }

    async fn load(&self, more: Vec<Layer>) -> Result<Arc<View>, ContentError> {
        let known = [self.current.load().set.layers.clone(), more].concat();
        let view = Arc::new(self.loader.load(&known).await?);
        self.current.store(Arc::clone(&view));
        Ok(view)
    }

    /// The epochs as they are in the storage now.
    pub(super) async fn current_epochs(&self) -> Result<Epochs, ContentError> {
        self.loader.list_epochs().await
    }

    /// The current view if it is valid for a while yet, else a new one.
    pub(super) async fn valid_view(&self) -> Result<Arc<View>, ContentError> {
        let view = self.current.load_full();
        // Three quarters of the time must be left for what is based on it (format page 07 §7.1).
        let enough = self.loader.validity().mul_f32(0.75);
        if view.valid_until.saturating_duration_since(Instant::now()) >= enough {
            return Ok(view);
        }
        self.refresh_with(Vec::new()).await
    }

    /// A content's plain bytes.
    pub async fn get(&self, id: &ContentId) -> Result<Bytes, ContentError> {
        let entry = self.entry(id)?;
        match self.fetch_one(&entry).await {
            Ok(stored) => self.decode(&entry, &stored),
            Err(lost @ ContentError::Corrupt { .. }) => {
                // The pack may have been rewritten after the indexes were loaded.
                self.refresh().await?;
                let newer = self.entry(id)?;
                if newer == entry {
                    return Err(lost);
                }
                self.decode(&newer, &self.fetch_one(&newer).await?)
            }
            Err(e) => Err(e),
        }
    }

    async fn fetch_one(&self, entry: &IndexEntry) -> Result<Bytes, ContentError> {
        let range = BlobRange::Part { offset: entry.pack_offset.into(), length: entry.packed_length.into() };
        self.storage.get(&entry.pack, range).await.map_err(|e| lost(entry, &Arc::new(e)))
    }

    /// The stored bytes of several contents, in the order of `entries`.
    pub async fn fetch(&self, entries: &[IndexEntry]) -> Vec<Result<Bytes, ContentError>> {
        let mut found: Vec<_> =
            entries.iter().map(|e| Err(ContentError::NotFound { id: e.id, damaged: Vec::new() })).collect();
        let mut reads = futures::stream::iter(plan_reads(entries))
            .map(|read| async move { (self.read(&read, entries).await, read) })
            .buffer_unordered(PARALLEL_READS);
        while let Some((results, read)) = reads.next().await {
            for (number, result) in read.entries.into_iter().zip(results) {
                if let Some(place) = found.get_mut(number) {
                    *place = result;
                }
            }
        }
        found
    }

    async fn read(&self, read: &Read, entries: &[IndexEntry]) -> Vec<Result<Bytes, ContentError>> {
        let wanted = || read.entries.iter().filter_map(|number| entries.get(*number));
        let range = BlobRange::Part { offset: read.start, length: read.end - read.start };
        match self.storage.get(&read.pack, range).await {
            Ok(bytes) => wanted()
                .map(|e| {
                    let start = (u64::from(e.pack_offset) - read.start) as usize;
                    Ok(bytes.slice(start..start + e.packed_length as usize))
                })
                .collect(),
            // One by one, so that a pack cut short, or a bad sector, spoils only what lies there.
            Err(BlobError::InvalidRange { .. } | BlobError::Damaged { .. }) => {
                futures::stream::iter(wanted()).then(|entry| self.fetch_one(entry)).collect().await
            }
            Err(e) => {
                let e = Arc::new(e);
                wanted().map(|entry| Err(lost(entry, &e))).collect()
            }
        }
    }

    /// Opens stored bytes. Takes the time that decryption and decompression take.
    pub fn decode(&self, entry: &IndexEntry, stored: &[u8]) -> Result<Bytes, ContentError> {
        let corrupt = |why: String| ContentError::Corrupt { id: entry.id, pack: entry.pack.clone(), why };
        if entry.encryption_key != 0 {
            return Err(corrupt(format!("it uses encryption key {}, which is not known", entry.encryption_key)));
        }
        let iv = entry.id.iv().ok_or_else(|| corrupt("its id is too short".to_owned()))?;
        let plaintext = self
            .crypto
            .cipher
            .open(iv, stored)
            .map_err(|_| corrupt("it does not decrypt: the pack is damaged at this place".to_owned()))?;
        if entry.compression == 0 {
            if plaintext.len() != entry.original_length as usize {
                return Err(corrupt(format!("it has {} bytes instead of {}", plaintext.len(), entry.original_length)));
            }
            return Ok(plaintext.into());
        }
        let length = Length::Exact(entry.original_length as usize);
        let data = CompressionAlgorithm::from_header_id(entry.compression)
            .and_then(|algorithm| decompress(&plaintext, Some(algorithm), length));
        data.map(Into::into).map_err(|e| corrupt(e.to_string()))
    }
}

fn lost(entry: &IndexEntry, e: &Arc<BlobError>) -> ContentError {
    let why = match **e {
        BlobError::NotFound { .. } => "the pack does not exist",
        BlobError::InvalidRange { .. } => "the pack is cut off",
        BlobError::Damaged { .. } => "the pack is damaged: its medium cannot be read at this place",
        _ => return ContentError::Fetch { id: entry.id, source: Arc::clone(e) },
    };
    ContentError::Corrupt { id: entry.id, pack: entry.pack.clone(), why: why.to_owned() }
}

/// A read of one or more contents of one pack.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    pack: BlobId,
    start: u64,
    end: u64,
    /// Numbers of the entries, by offset.
    entries: Vec<usize>,
}

/// Puts together what lies close together.
fn plan_reads(entries: &[IndexEntry]) -> Vec<Read> {
    let mut order: Vec<(usize, &IndexEntry)> = entries.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| (&a.pack, a.pack_offset).cmp(&(&b.pack, b.pack_offset)));
    let mut reads: Vec<Read> = Vec::new();
    for (number, entry) in order {
        let start = u64::from(entry.pack_offset);
        let end = start + u64::from(entry.packed_length);
        match reads.last_mut() {
            Some(last)
                if last.pack == entry.pack
                    && start <= last.end + LARGEST_GAP
                    && end.max(last.end) - last.start <= LARGEST_READ =>
            {
                last.end = last.end.max(end);
                last.entries.push(number);
            }
            _ => reads.push(Read { pack: entry.pack.clone(), start, end, entries: vec![number] }),
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::some_entries;
    use super::*;

    #[test]
    fn reads_join_neighbours_only() {
        let pack = |name: &str| BlobId::new(name).unwrap();
        let at = |name: &str, offset: u32, length: u32| IndexEntry {
            pack: pack(name),
            pack_offset: offset,
            packed_length: length,
            ..some_entries(1).remove(0)
        };
        let gap = LARGEST_GAP as u32;
        let big = LARGEST_READ as u32;
        let entries = [
            at("pa", 1000 + gap, 50),    // 0: after 1, as far as may be
            at("pa", 900, 100),          // 1
            at("pb", 0, big + 1),        // 2: too large to join
            at("pb", big + 1, 10),       // 3
            at("pa", 1051 + 2 * gap, 5), // 4: too far
            at("pa", 910, 20),           // 5: inside 1
        ];
        let read = |name, start, end, entries| Read { pack: pack(name), start, end, entries };
        let gap = u64::from(gap);
        let expected = [
            read("pa", 900, 1050 + gap, vec![1, 5, 0]),
            read("pa", 1051 + 2 * gap, 1056 + 2 * gap, vec![4]),
            read("pb", 0, u64::from(big) + 1, vec![2]),
            read("pb", u64::from(big) + 1, u64::from(big) + 11, vec![3]),
        ];
        assert_eq!(plan_reads(&entries), expected);
        assert_eq!(plan_reads(&[]), []);
    }
}
