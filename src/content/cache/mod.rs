//! What is kept of contents and indexes that were fetched, so that they need not be fetched again.
//!
//! ```text
//! larder/chunks   contents as they came from the storage, encrypted ([`stored`])      under one limit,
//! larder/index    indexes, decrypted and merged                                       shared by processes
//! memory          contents decoded ([`decoded`]), and those on their way ([`flights`])     this process
//! ```
//!
//! Nothing here is ever an error. A directory that is full, read-only or gone, and damage of what lies in it, cost time
//! only: what is not there, or does not decrypt, is fetched.
//!
//! # What is kept
//!
//! A storage that is [local](crate::blob::Storage::is_local) gives a content as quickly as its copy on another disk, or
//! on the same, so nothing of it is kept on disk unless asked for; its indexes are, because they are merged there.

pub(super) mod decoded;
pub(super) mod flights;
pub(super) mod stored;

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_cache::{Cache, Options, Shelf};
pub use larder_cache::{Stats, Sum, Usage};

/// Bytes of decoded contents in memory, unless asked for more.
const DEFAULT_MEMORY: u64 = 16 << 20;
/// Of a file system, so much is left free: a twentieth, but no more than this many bytes.
const MOST_FREE: u64 = 1 << 30;

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// None: nothing on disk.
    pub disk: Option<DiskCacheOptions>,
    /// Bytes of decoded contents in memory; 0: none.
    pub memory: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { disk: None, memory: DEFAULT_MEMORY }
    }
}

/// A cache on disk, which all processes with the same directory share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCacheOptions {
    /// larder's own: everything in it is counted.
    pub directory: PathBuf,
    /// Bytes that everything under the directory takes at most.
    pub limit: u64,
    /// Whether contents with data are kept, not only those with metadata.
    pub data: bool,
    /// Whether contents are kept although the storage is local.
    pub even_of_local: bool,
}

impl DiskCacheOptions {
    /// Everything of any storage, up to so many bytes.
    pub fn new(directory: impl Into<PathBuf>, limit: u64) -> Self {
        Self { directory: directory.into(), limit, data: true, even_of_local: true }
    }
}

/// The directory of a cache, whether a repository is open or not.
#[derive(Clone, Debug)]
pub struct DiskCache {
    cache: Cache,
    /// None when the directory cannot be used.
    shelf: Option<Shelf>,
}

/// What a process has found in its caches of contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Decoded contents that were found in memory, and those that were not.
    pub memory_hits: u64,
    pub memory_misses: u64,
    /// None: no contents are kept on disk.
    pub disk: Option<Stats>,
    /// Contents from the disk that could not be opened.
    pub rejected: u64,
    /// Why nothing was kept the last time, if that is so.
    pub problem: Option<String>,
}

/// What the files of indexes take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexFiles {
    pub files: u64,
    pub bytes: u64,
}

/// What reading everything in a cache has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifiedCache {
    /// Contents and index files that are as they were written, and their bytes.
    pub whole: u64,
    pub bytes: u64,
    /// Those that were not, and are gone now.
    pub damaged: u64,
}

impl DiskCache {
    /// Opens the cache, or makes it. Where that is not possible nothing is ever found in it.
    pub fn open(options: &DiskCacheOptions) -> Self {
        let directory = &options.directory;
        let free_floor = free_floor(directory);
        let cache = Cache::open(directory, Options { limit: options.limit, free_floor });
        let shelf = Shelf::open(directory.join("index"))
            .inspect_err(|e| tracing::warn!("cannot use the cache directory {}: {e}", directory.display()))
            .ok()
            .map(|shelf| shelf.within(cache.clone()));
        let opened = Self { cache, shelf };
        opened.keep_limit();
        opened
    }

    /// Indexes are not evicted with the contents. Where the limit was lowered below what they take, they go.
    fn keep_limit(&self) {
        let is_over = || {
            let usage = self.cache.usage();
            usage.committed > usage.limit
        };
        if is_over() {
            self.cache.make_room(0);
            if is_over() {
                self.remove_indexes(|_| true);
            }
        }
    }

    pub(super) fn contents(&self) -> &Cache {
        &self.cache
    }

    pub(super) fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    /// What there is, whoever put it.
    pub fn usage(&self) -> Usage {
        self.cache.usage()
    }

    /// What of that are indexes.
    pub fn index_files(&self) -> IndexFiles {
        let mut found = IndexFiles::default();
        let Some(shelf) = &self.shelf else { return found };
        for name in shelf.names() {
            if let Ok(metadata) = shelf.directory().join(name).metadata() {
                found.files += 1;
                found.bytes += metadata.len();
            }
        }
        found
    }

    /// Removes everything, also what other processes have put; says whether that was possible.
    pub fn clear(&self) -> bool {
        let cleared = self.clear_contents();
        self.clear_indexes() && cleared
    }

    /// Removes all contents; says whether that was possible.
    pub fn clear_contents(&self) -> bool {
        self.cache.clear()
    }

    /// Removes all indexes; says whether that was possible.
    pub fn clear_indexes(&self) -> bool {
        self.remove_indexes(|_| true)
    }

    /// Reads everything, and drops what is damaged.
    pub fn verify(&self) -> VerifiedCache {
        let contents = self.cache.verify();
        let mut verified = VerifiedCache { whole: contents.records, bytes: contents.bytes, damaged: contents.damaged };
        let Some(shelf) = &self.shelf else { return verified };
        for name in shelf.names() {
            match shelf.get(&name) {
                Some(file) if file.check_all().is_ok() => {
                    verified.whole += 1;
                    verified.bytes += file.len() as u64;
                }
                _ => {
                    verified.damaged += 1;
                    self.remove_indexes(|damaged| damaged == name);
                }
            }
        }
        verified
    }

    /// Why nothing is kept, if that is so.
    pub fn problem(&self) -> Option<String> {
        self.cache.problem()
    }

    fn remove_indexes(&self, unwanted: impl Fn(&str) -> bool) -> bool {
        self.shelf.as_ref().is_none_or(|shelf| shelf.sweep(Duration::ZERO, |name| !unwanted(name)).is_ok())
    }
}

/// Bytes to leave free in the file system that a directory is, or will be, in.
pub fn free_floor(directory: &Path) -> u64 {
    let found = directory.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
    found.map_or(0, |found| floor_of(found.f_blocks.saturating_mul(found.f_frsize)))
}

/// A volume that is there for the cache alone may be small and is to be used; a large one is shared with others, who
/// are not helped by more than this.
fn floor_of(total: u64) -> u64 {
    (total / 20).min(MOST_FREE)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn with_an_index(limit: u64) -> (TempDir, DiskCache) {
        let directory = TempDir::new().unwrap();
        let cache = DiskCache::open(&DiskCacheOptions::new(directory.path(), limit));
        cache.shelf().unwrap().put("run-a", |out| out.write_all(&vec![7; 100_000])).unwrap();
        (directory, cache)
    }

    #[test]
    fn small_volumes_are_used_and_large_ones_not_filled() {
        assert_eq!(floor_of(1 << 30), (1 << 30) / 20);
        assert_eq!(floor_of(10 << 40), 1 << 30);
        assert!(free_floor(Path::new("/nowhere/at/all")) > 0);
    }

    #[test]
    fn damaged_indexes_are_found_and_go() {
        let (directory, cache) = with_an_index(10 << 20);
        assert_eq!(cache.index_files().files, 1);
        assert_eq!(cache.verify(), VerifiedCache { whole: 1, bytes: 100_000, damaged: 0 });
        let path = directory.path().join("index/run-a");
        let mut bytes = fs::read(&path).unwrap();
        bytes[70_000] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.verify(), VerifiedCache { whole: 0, bytes: 0, damaged: 1 });
        assert_eq!(cache.index_files(), IndexFiles::default());
    }

    #[test]
    fn indexes_go_when_the_limit_is_lowered_below_them() {
        let (directory, cache) = with_an_index(10 << 20);
        drop(cache);
        let cache = DiskCache::open(&DiskCacheOptions::new(directory.path(), 1 << 20));
        assert_eq!(cache.index_files().files, 1);
        drop(cache);
        let cache = DiskCache::open(&DiskCacheOptions::new(directory.path(), 50_000));
        assert_eq!(cache.index_files().files, 0);
        assert!(cache.usage().committed <= 50_000, "{:?}", cache.usage());
    }

    #[test]
    fn a_clear_takes_indexes_too() {
        let (_directory, cache) = with_an_index(10 << 20);
        assert!(cache.clear());
        assert_eq!((cache.index_files().files, cache.verify().whole), (0, 0));
    }
}
