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
//!
//! # Ways to read
//!
//! A reader looks for contents in its caches ([`cache`](super::cache)) first, and adds to them. Its copies have the same
//! indexes and caches, and use them otherwise: [`for_scan`](Reader::for_scan) where each content is read once,
//! [`from_storage`](Reader::from_storage) where the storage itself is to be proved.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::ContentError;
use super::cache::decoded::Decoded;
use super::cache::flights::Flights;
use super::cache::stored::Stored;
use super::cache::{CacheOptions, CacheStats, DiskCache};
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

#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    way: Way,
}

/// Which caches contents go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Memory,
    Disk,
    Storage,
}

#[derive(Debug)]
struct Shared {
    storage: Arc<dyn Storage>,
    crypto: Arc<Crypto>,
    loader: Loader,
    /// None: nothing is kept on disk.
    stored: Option<Stored>,
    decoded: Decoded,
    flights: Flights,
    current: ArcSwap<View>,
    runtime: Handle,
    /// Held while a new view is loaded, so that it is loaded once for all who want it.
    refreshing: tokio::sync::Mutex<()>,
}

impl Reader {
    /// Loads the indexes. Without a cache on disk they are held in memory.
    pub async fn open(
        storage: Arc<dyn Storage>,
        crypto: Arc<Crypto>,
        epochs: EpochParameters,
        cache: &CacheOptions,
    ) -> Result<Self, ContentError> {
        let disk = cache.disk.as_ref().map(|options| (DiskCache::open(options), options));
        let stored = disk.as_ref().and_then(|(disk, options)| Stored::new(disk.contents(), options, &*storage));
        let shelf = disk.as_ref().and_then(|(disk, _)| disk.shelf().cloned());
        let loader = Loader { storage: Arc::clone(&storage), crypto: Arc::clone(&crypto), epochs, shelf };
        let current = ArcSwap::from_pointee(loader.load(&[]).await?);
        let shared = Shared {
            storage,
            crypto,
            loader,
            stored,
            decoded: Decoded::new(cache.memory),
            flights: Flights::default(),
            current,
            runtime: Handle::current(),
            refreshing: tokio::sync::Mutex::new(()),
        };
        Ok(Self { shared: Arc::new(shared), way: Way::Memory })
    }

    /// The same for reading many contents once: what is read is not kept in memory.
    pub fn for_scan(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), way: Way::Disk }
    }

    /// The same without caches: what is read comes from the storage, and is not kept.
    pub fn from_storage(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), way: Way::Storage }
    }

    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.shared.storage
    }

    pub(super) fn crypto(&self) -> &Arc<Crypto> {
        &self.shared.crypto
    }

    pub(super) fn epoch_parameters(&self) -> &EpochParameters {
        &self.shared.loader.epochs
    }

    /// What this process has found in the caches of contents. Waits until all that is to be kept is written.
    pub async fn cache_stats(&self) -> CacheStats {
        let (memory_hits, memory_misses) = self.shared.decoded.counts();
        let in_memory = CacheStats { memory_hits, memory_misses, ..CacheStats::default() };
        let Some(stored) = &self.shared.stored else { return in_memory };
        stored.flush().await;
        let (disk, rejected) = stored.stats();
        CacheStats { disk: Some(disk), rejected, problem: stored.problem(), ..in_memory }
    }

    /// The contents on disk, where this reader uses them.
    pub(super) fn stored(&self) -> Option<&Stored> {
        self.shared.stored.as_ref().filter(|_| self.way != Way::Storage)
    }

    /// The indexes as they were when last loaded.
    pub fn indexes(&self) -> Arc<IndexSet> {
        Arc::clone(&self.shared.current.load().set)
    }

    /// The epochs as they were when last loaded; None in a repository without.
    pub fn epochs(&self) -> Option<Epochs> {
        self.shared.current.load().epochs.clone()
    }

    /// Where a content is; a deleted one is still somewhere.
    pub fn entry(&self, id: &ContentId) -> Result<IndexEntry, ContentError> {
        let mut view = self.shared.current.load_full();
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
        let view = self.shared.current.load_full();
        let found = list(&view);
        if found.1.contains(&IndexError::DamagedCopy) {
            return Ok(list(&*self.heal(&view).await?));
        }
        Ok(found)
    }

    /// Loads again what a view has from damaged local copies.
    async fn heal(&self, seen: &Arc<View>) -> Result<Arc<View>, ContentError> {
        let _one = self.shared.refreshing.lock().await;
        let current = self.shared.current.load_full();
        if !Arc::ptr_eq(seen, &current) {
            return Ok(current);
        }
        let whole = runs::discard_damaged(self.shared.loader.shelf.as_ref(), &current.set.layers);
        let view = Arc::new(self.shared.loader.load(&whole).await?);
        self.shared.current.store(Arc::clone(&view));
        Ok(view)
    }

    /// The same for a caller that does not wait; it happens so rarely that it may for once.
    fn heal_here(&self, seen: &Arc<View>) -> Result<Arc<View>, ContentError> {
        match Handle::try_current() {
            Ok(_) => tokio::task::block_in_place(|| self.shared.runtime.block_on(self.heal(seen))),
            Err(_) => self.shared.runtime.block_on(self.heal(seen)),
        }
    }

    /// Whether a content is there and not deleted, as far as the indexes know.
    pub fn has(&self, id: &ContentId) -> bool {
        // An entry that cannot be used is as good as none.
        self.entry(id).is_ok_and(|entry| !entry.deleted)
    }

    /// Loads a new view, unless somebody else just did.
    pub async fn refresh(&self) -> Result<(), ContentError> {
        let seen = self.shared.current.load_full();
        let _one = self.shared.refreshing.lock().await;
        if Arc::ptr_eq(&seen, &self.shared.current.load()) {
            self.load(Vec::new()).await?;
        }
        Ok(())
    }

    /// Loads a new view that has these layers, as far as they count.
    pub(super) async fn refresh_with(&self, layers: Vec<Layer>) -> Result<Arc<View>, ContentError> {
        let _one = self.shared.refreshing.lock().await;
        self.load(self.shared.loader.keep(layers)).await
    }

    async fn load(&self, more: Vec<Layer>) -> Result<Arc<View>, ContentError> {
        let known = [self.shared.current.load().set.layers.clone(), more].concat();
        let view = Arc::new(self.shared.loader.load(&known).await?);
        self.shared.current.store(Arc::clone(&view));
        Ok(view)
    }

    /// The epochs as they are in the storage now.
    pub(super) async fn current_epochs(&self) -> Result<Epochs, ContentError> {
        self.shared.loader.list_epochs().await
    }

    /// The current view if it is valid for a while yet, else a new one.
    pub(super) async fn valid_view(&self) -> Result<Arc<View>, ContentError> {
        let view = self.shared.current.load_full();
        // Three quarters of the time must be left for what is based on it (format page 07 §7.1).
        let enough = self.shared.loader.validity().mul_f32(0.75);
        if view.valid_until.saturating_duration_since(Instant::now()) >= enough {
            return Ok(view);
        }
        self.refresh_with(Vec::new()).await
    }

    /// A content's plain bytes. Those who ask for the same at one time share one request.
    pub async fn get(&self, id: &ContentId) -> Result<Bytes, ContentError> {
        let entry = self.entry(id)?;
        match self.obtain(&entry).await {
            Err(lost @ Lost::Gone { .. }) => {
                // The pack may have been rewritten after the indexes were loaded.
                self.refresh().await?;
                let newer = self.entry(id)?;
                if newer == entry {
                    return Err(lost.into());
                }
                Ok(self.obtain(&newer).await?)
            }
            obtained => Ok(obtained?),
        }
    }

    /// A content that lies here, from wherever it is had most quickly.
    async fn obtain(&self, entry: &IndexEntry) -> Result<Bytes, Lost> {
        if self.way == Way::Storage {
            return self.open_stored(entry, &self.fetch_one(entry).await?);
        }
        if let Some(content) = self.shared.decoded.get(&entry.id).filter(|_| self.way == Way::Memory) {
            return Ok(content);
        }
        self.shared.flights.join(entry, self.obtain_anew(entry)).await
    }

    async fn obtain_anew(&self, entry: &IndexEntry) -> Result<Bytes, Lost> {
        let found = match self.stored() {
            Some(stored) => stored.get(std::slice::from_ref(entry)).await.pop().flatten(),
            None => None,
        };
        // What is damaged there is as good as nothing.
        let content = match found.and_then(|found| self.open_stored(entry, &found).ok()) {
            Some(content) => content,
            None => self.open_stored(entry, &self.fetch_one(entry).await?)?,
        };
        if self.way == Way::Memory {
            self.shared.decoded.put(entry.id, &content);
        }
        Ok(content)
    }

    async fn fetch_one(&self, entry: &IndexEntry) -> Result<Bytes, Lost> {
        let range = BlobRange::Part { offset: entry.pack_offset.into(), length: entry.packed_length.into() };
        self.shared.storage.get(&entry.pack, range).await.map_err(|e| lost(entry, &Arc::new(e)))
    }

    /// The stored bytes of several contents, in the order of `entries`. When some [do not decode](Self::decode),
    /// [`get`](Self::get) has another try at them.
    pub async fn fetch(&self, entries: &[IndexEntry]) -> Vec<Result<Bytes, ContentError>> {
        let mut found: Vec<Option<Result<Bytes, Lost>>> = match self.stored() {
            Some(stored) => stored.get(entries).await.into_iter().map(|found| found.map(Ok)).collect(),
            None => entries.iter().map(|_| None).collect(),
        };
        let missing: Vec<(usize, &IndexEntry)> =
            entries.iter().enumerate().filter(|(number, _)| matches!(found.get(*number), Some(None))).collect();
        let mut reads = futures::stream::iter(plan_reads(missing))
            .map(|read| async move { (self.read(&read, entries).await, read) })
            .buffer_unordered(PARALLEL_READS);
        while let Some((results, read)) = reads.next().await {
            for (number, result) in read.entries.into_iter().zip(results) {
                if let Some(place) = found.get_mut(number) {
                    *place = Some(result);
                }
            }
        }
        let not_found = |entry: &IndexEntry| ContentError::NotFound { id: entry.id, damaged: Vec::new() };
        let in_order = entries.iter().zip(found);
        in_order.map(|(entry, found)| Ok(found.ok_or_else(|| not_found(entry))??)).collect()
    }

    async fn read(&self, read: &Read, entries: &[IndexEntry]) -> Vec<Result<Bytes, Lost>> {
        let wanted = || read.entries.iter().filter_map(|number| entries.get(*number));
        let range = BlobRange::Part { offset: read.start, length: read.end - read.start };
        match self.shared.storage.get(&read.pack, range).await {
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
    pub fn decode(&self, entry: &IndexEntry, stored: &Bytes) -> Result<Bytes, ContentError> {
        Ok(self.open_stored(entry, stored)?)
    }

    /// Opens stored bytes. The cache on disk keeps those that can be opened, and no others.
    fn open_stored(&self, entry: &IndexEntry, stored: &Bytes) -> Result<Bytes, Lost> {
        let opened = open(&self.shared.crypto, entry, stored);
        if let Some(cache) = self.stored() {
            match &opened {
                Ok(_) => cache.put(entry, stored),
                Err(_) => cache.reject(entry),
            }
        }
        opened
    }
}

fn open(crypto: &Crypto, entry: &IndexEntry, stored: &[u8]) -> Result<Bytes, Lost> {
    let corrupt = |why: String| Lost::Damaged { id: entry.id, pack: entry.pack.clone(), why };
    if entry.encryption_key != 0 {
        return Err(corrupt(format!("it uses encryption key {}, which is not known", entry.encryption_key)));
    }
    let iv = entry.id.iv().ok_or_else(|| corrupt("its id is too short".to_owned()))?;
    let plaintext = crypto
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

/// Why a content whose place is known cannot be had.
#[derive(Clone, Debug)]
pub(super) enum Lost {
    /// Its bytes are not where they should be, but may be elsewhere by now.
    Gone {
        id: ContentId,
        pack: BlobId,
        why: &'static str,
    },
    /// Its bytes cannot be opened.
    Damaged {
        id: ContentId,
        pack: BlobId,
        why: String,
    },
    Fetch {
        id: ContentId,
        source: Arc<BlobError>,
    },
}

impl From<Lost> for ContentError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Gone { id, pack, why } => Self::Corrupt { id, pack, why: why.to_owned() },
            Lost::Damaged { id, pack, why } => Self::Corrupt { id, pack, why },
            Lost::Fetch { id, source } => Self::Fetch { id, source },
        }
    }
}

fn lost(entry: &IndexEntry, e: &Arc<BlobError>) -> Lost {
    let why = match **e {
        BlobError::NotFound { .. } => "the pack does not exist",
        BlobError::InvalidRange { .. } => "the pack is cut off",
        BlobError::Damaged { .. } => "the pack is damaged: its medium cannot be read at this place",
        _ => return Lost::Fetch { id: entry.id, source: Arc::clone(e) },
    };
    Lost::Gone { id: entry.id, pack: entry.pack.clone(), why }
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

/// Puts together what lies close together, of numbered entries.
fn plan_reads(mut order: Vec<(usize, &IndexEntry)>) -> Vec<Read> {
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
        assert_eq!(plan_reads(entries.iter().enumerate().collect()), expected);
        assert_eq!(plan_reads(Vec::new()), []);
    }
}
