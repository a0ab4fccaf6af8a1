//! Directories in memory, as many as a limit in bytes allows; each is fetched once for all who want it.

use std::collections::HashMap;
use std::sync::Arc;

use moka::future::Cache;

use crate::content::Reader;
use crate::object::ObjectId;
use crate::snapshot::SnapshotError;
use crate::snapshot::directory::Directory;
use crate::snapshot::entry::{Entry, Name};

/// Bytes of directories in memory, roughly.
const LIMIT: u64 = 48 << 20;
/// Bytes that an entry takes beyond its name, roughly.
const ENTRY_BYTES: usize = 320;

#[derive(Debug)]
pub(super) struct Directories {
    contents: Arc<Reader>,
    cache: Cache<ObjectId, Arc<Decoded>>,
}

/// A directory that is quick to look into.
#[derive(Debug)]
pub(super) struct Decoded {
    /// In stored order, each name once.
    pub(super) entries: Vec<Entry>,
    /// Only for larger directories: where an entry is.
    by_name: HashMap<Name, usize>,
}

/// From so many entries on names are looked up in a table.
const TABLE_FROM: usize = 16;

impl Decoded {
    fn new(directory: Directory) -> Self {
        let mut entries = directory.entries;
        // Of entries that kopia stored under one name, the last counts.
        let mut by_name: HashMap<Name, usize> = HashMap::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            by_name.insert(entry.name.clone(), at);
        }
        if by_name.len() < entries.len() {
            let mut at = 0;
            entries.retain(|entry| {
                at += 1;
                by_name.get(&entry.name) == Some(&(at - 1))
            });
            by_name = entries.iter().enumerate().map(|(at, entry)| (entry.name.clone(), at)).collect();
        }
        if entries.len() < TABLE_FROM {
            by_name = HashMap::new();
        }
        Self { entries, by_name }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Entry> {
        if self.by_name.is_empty() {
            return self.entries.iter().find(|entry| entry.name.as_bytes() == name);
        }
        self.entries.get(*self.by_name.get(&Name::from(name))?)
    }

    fn weight(&self) -> u32 {
        let bytes: usize = self.entries.iter().map(|entry| ENTRY_BYTES + 2 * entry.name.as_bytes().len()).sum();
        u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}

impl Directories {
    pub(super) fn new(contents: Arc<Reader>) -> Arc<Self> {
        let cache =
            Cache::builder().max_capacity(LIMIT).weigher(|_, directory: &Arc<Decoded>| directory.weight()).build();
        Arc::new(Self { contents, cache })
    }

    /// Errors are not remembered: who asks again has it fetched again.
    pub(super) async fn get(&self, id: ObjectId) -> Result<Arc<Decoded>, Arc<SnapshotError>> {
        let read = async { Directory::read(&self.contents, id).await.map(|d| Arc::new(Decoded::new(d))) };
        self.cache.try_get_with(id, read).await
    }

    /// Whether it need not be fetched.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        self.cache.contains_key(id)
    }
}
