//! Index blobs: sorted tables from content ids to places in packs (format page 06).
//!
//! An [`Index`] reads such a table where it lies, in memory or in a mapped file, without decoding it as a whole:
//! opening one looks at its header only, a lookup is a binary search. [`encode`] writes one.
//!
//! Damage is found where it matters: a header that does not fit the length refuses the index, an entry whose
//! numbers point outside makes that one entry unusable. [`Index::check`] looks at all of it, once, when the index
//! arrives from storage.

mod entry;
pub(crate) mod runs;
pub mod set;
mod v1;
mod v2;

use std::cmp::Ordering;

pub use entry::IndexEntry;
use larder_cache::ShelfFile;

use super::id::ContentId;
use crate::blob::BlobId;
use crate::bytes::Bytes;

/// Entries that one index blob holds at most (format page 06 §6.4).
pub const SHARD_LIMIT: usize = 16_000_000;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IndexError {
    #[error("malformed index: {0}")]
    Malformed(&'static str),
    #[error("index version {0} is not known")]
    UnknownVersion(u8),
    #[error("the local copy of the index is damaged")]
    DamagedCopy,
    #[error("the entry of content {0} does not fit the index format")]
    Unwritable(ContentId),
}

/// Where an index's bytes are.
#[derive(Debug)]
pub enum IndexData {
    Memory(Bytes),
    /// From a position in a file to its end.
    File {
        file: ShelfFile,
        start: usize,
    },
}

impl IndexData {
    fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File { file, start } => file.len().saturating_sub(*start),
        }
    }

    fn get(&self, at: usize, length: usize) -> Result<&[u8], IndexError> {
        let outside = IndexError::Malformed("an offset runs past the end");
        let Some(end) = at.checked_add(length).filter(|end| *end <= self.len()) else { return Err(outside) };
        match self {
            Self::Memory(bytes) => bytes.get(at..end).ok_or(outside),
            Self::File { file, start } => file.bytes(start + at..start + end).map_err(|_| IndexError::DamagedCopy),
        }
    }
}

/// Where things are in an index.
#[derive(Debug, Default)]
struct Layout {
    key_size: usize,
    value_size: usize,
    count: usize,
    entries_at: usize,
    packs: usize,
    formats: usize,
    base_time: u64,
}

impl Layout {
    fn entries_end(&self) -> Option<usize> {
        self.count.checked_mul(self.key_size + self.value_size)?.checked_add(self.entries_at)
    }
}

#[derive(Debug)]
pub struct Index {
    version: u8,
    layout: Layout,
    data: IndexData,
}

impl Index {
    /// Bytes after the end of the table are ignored: some writers put random ones there.
    pub fn open(data: IndexData) -> Result<Self, IndexError> {
        let version = int(data.get(0, 1)?, 0, 1)? as u8;
        let layout = match version {
            1 => v1::layout(data.get(0, v1::HEADER)?, data.len())?,
            2 => v2::layout(data.get(0, v2::HEADER)?, data.len())?,
            _ => return Err(IndexError::UnknownVersion(version)),
        };
        if layout.count > 0 && layout.key_size < 2 {
            return Err(IndexError::Malformed("key size is less than 2"));
        }
        Ok(Self { version, layout, data })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.layout.count
    }

    pub fn is_empty(&self) -> bool {
        self.layout.count == 0
    }

    /// Checks that every key is valid and greater than the one before.
    pub fn check(&self) -> Result<(), IndexError> {
        let mut last: &[u8] = &[];
        for i in 0..self.layout.count {
            let key = self.key(i)?;
            if key <= last {
                return Err(IndexError::Malformed("entries are not in ascending order"));
            }
            ContentId::from_key(key).ok_or(IndexError::Malformed("a key is not a content id"))?;
            last = key;
        }
        Ok(())
    }

    /// Whether a local copy is as it was written.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.data {
            IndexData::Memory(_) => true,
            IndexData::File { file, .. } => file.check_all().is_ok(),
        }
    }

    pub fn find(&self, id: &ContentId) -> Result<Option<IndexEntry>, IndexError> {
        if id.key_length() != self.layout.key_size {
            return Ok(None);
        }
        let position = self.first_at_or_after(id.prefix().key_byte(), id.hash())?;
        if position >= self.layout.count || compare(self.key(position)?, id.prefix().key_byte(), id.hash()).is_ne() {
            return Ok(None);
        }
        self.entry(position).map(Some)
    }

    /// Position of the first entry whose key is not less than prefix byte and hash.
    ///
    /// Hashes are spread evenly, so where one lies between two others can be guessed well: a few guesses do the work
    /// of many halvings, each of which may cost a page read from disk. Where guessing does not help, it is halved.
    pub fn first_at_or_after(&self, prefix: u8, hash: &[u8]) -> Result<usize, IndexError> {
        let (mut low, mut high) = (0, self.layout.count);
        let wanted = leading(hash);
        // Leading bytes of the hashes just outside of `low..high`, once they are known to have the prefix.
        let (mut below, mut above) = (None, None);
        let mut guesses = 0;
        while low < high {
            let middle = match (below, above) {
                (Some(below), Some(above)) if guesses < MOST_GUESSES => {
                    guesses += 1;
                    guess(low, high, below, wanted, above)
                }
                _ => low + (high - low) / 2,
            };
            let key = self.key(middle)?;
            let same_prefix = key.first() == Some(&prefix);
            let leading = same_prefix.then(|| leading(key.get(1..).unwrap_or_default()));
            if compare(key, prefix, hash).is_lt() {
                (low, below) = (middle + 1, leading);
            } else {
                (high, above) = (middle, leading);
            }
        }
        Ok(low)
    }

    /// The entry at a position below [`len`](Self::len).
    pub fn entry(&self, position: usize) -> Result<IndexEntry, IndexError> {
        let id = self.id(position)?;
        let size = self.layout.key_size + self.layout.value_size;
        let at = self.layout.entries_at + position * size + self.layout.key_size;
        let value = self.data.get(at, self.layout.value_size)?;
        let whole = |at, length| self.data.get(at, length);
        match self.version {
            1 => v1::entry(id, value, whole),
            _ => v2::entry(&self.layout, id, value, whole),
        }
    }

    pub fn id(&self, position: usize) -> Result<ContentId, IndexError> {
        ContentId::from_key(self.key(position)?).ok_or(IndexError::Malformed("a key is not a content id"))
    }

    fn key(&self, position: usize) -> Result<&[u8], IndexError> {
        let size = self.layout.key_size + self.layout.value_size;
        self.data.get(self.layout.entries_at + position * size, self.layout.key_size)
    }
}

/// Guesses after which a search goes on by halving.
const MOST_GUESSES: u32 = 6;

/// The first eight bytes as a number, zeros for those that are missing.
fn leading(hash: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(bytes)
}

/// Where `wanted` should be in `low..high`, when hashes are spread evenly from `below` to `above`.
fn guess(low: usize, high: usize, below: u64, wanted: u64, above: u64) -> usize {
    let span = u128::from(above.saturating_sub(below)) + 1;
    let offset = u128::from(wanted.saturating_sub(below)) * (high - low) as u128 / span;
    (low + offset as usize).min(high - 1)
}

fn compare(key: &[u8], prefix: u8, hash: &[u8]) -> Ordering {
    match key.split_first() {
        Some((first, rest)) => first.cmp(&prefix).then_with(|| rest.cmp(hash)),
        None => Ordering::Less,
    }
}

/// Encodes entries into an index; they must be sorted by id and have each id once.
pub fn encode(entries: &[IndexEntry], version: u8) -> Result<Vec<u8>, IndexError> {
    match version {
        1 => v1::encode(entries),
        2 => v2::encode(entries),
        _ => Err(IndexError::UnknownVersion(version)),
    }
}

/// Sorts entries by id, and of those of one id keeps the one that counts.
pub fn merge(mut entries: Vec<IndexEntry>) -> Vec<IndexEntry> {
    entries.sort_unstable_by(|a, b| a.id.cmp(&b.id).then_with(|| b.precedence(a)));
    entries.dedup_by(|later, first| later.id == first.id);
    entries
}

/// Splits what is too much for one index blob: by FNV-1a-32 of the id's text (format page 06 §6.4).
pub fn shard(entries: Vec<IndexEntry>, limit: usize) -> Vec<Vec<IndexEntry>> {
    let count = entries.len().div_ceil(limit.max(1));
    if count <= 1 {
        return if entries.is_empty() { Vec::new() } else { vec![entries] };
    }
    let mut shards: Vec<Vec<IndexEntry>> = std::iter::repeat_with(Vec::new).take(count).collect();
    let mut text = Vec::new();
    for entry in entries {
        text.clear();
        entry.id.write_text(&mut text);
        let number = fnv1a32(&text) as usize % count;
        if let Some(shard) = shards.get_mut(number) {
            shard.push(entry);
        }
    }
    shards.retain(|shard| !shard.is_empty());
    shards
}

/// Fowler–Noll–Vo hash, 32 bits, variant 1a.
fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The big-endian integer of `length` bytes at `at`.
fn int(bytes: &[u8], at: usize, length: usize) -> Result<u64, IndexError> {
    let field = bytes.get(at..at + length).ok_or(IndexError::Malformed("cut off"))?;
    Ok(field.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// The last `N` bytes of a big-endian integer that has no more.
fn bytes<const N: usize>(value: u64) -> Result<[u8; N], IndexError> {
    let all = value.to_be_bytes();
    match all.split_at(8 - N) {
        (zeros, rest) if zeros.iter().all(|byte| *byte == 0) => {
            rest.try_into().map_err(|_| IndexError::Malformed("integer size"))
        }
        _ => Err(IndexError::Malformed("a number is too large for its field")),
    }
}

fn pack_name(name: &[u8]) -> Result<BlobId, IndexError> {
    let text = std::str::from_utf8(name).map_err(|_| IndexError::Malformed("a pack's name is not text"))?;
    BlobId::new(text).map_err(|_| IndexError::Malformed("a pack's name is not a blob id"))
}

#[cfg(test)]
pub(super) mod tests;
