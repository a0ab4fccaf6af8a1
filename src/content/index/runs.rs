//! Local copies of the indexes, merged into a few files.
//!
//! Looking a content up in hundreds of index blobs would take hundreds of searches, and loading them anew for every
//! command longer still. So what was loaded is kept on a [`Shelf`] as *runs*: a run holds the merged entries of
//! some index blobs and says which.
//!
//! ```text
//! number of blobs u32 be │ for each: length of its name u8, name │ an index (format page 06)
//! ```
//!
//! A run is used when every blob it covers still counts; else its blobs are loaded again. There are never more than
//! [`MOST_RUNS`]: the smallest are merged, as in a log-structured merge tree. Runs are plain text, and mapped, so
//! they take no memory of the process. Losing one costs time only.

use std::collections::HashSet;
use std::io::Write;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use larder_cache::{Shelf, ShelfDraft, ShelfFile};

use super::set::{Layer, merged};
use super::{Index, IndexData, IndexError, v2};
use crate::blob::BlobId;
use crate::content::id::Prefix;

/// Files on the shelf, at most, once a load is through.
const MOST_RUNS: usize = 8;
/// As many are left when they get too many.
const RUNS_AFTER_MERGE: usize = 4;
/// Beginning of the files' names.
const NAME: &str = "run-";

pub(crate) const ALL_PREFIXES: RangeInclusive<Prefix> = Prefix::NONE..=Prefix::LAST;

/// The layers that can be had from the shelf for these index blobs.
pub(crate) fn load(shelf: &Shelf, active: &HashSet<&BlobId>) -> Vec<Layer> {
    let mut found: Vec<Layer> = shelf
        .names()
        .into_iter()
        .filter(|name| name.starts_with(NAME))
        .filter_map(|name| open(shelf.get(&name)?))
        .filter(|layer| layer.covers.iter().all(|blob| active.contains(blob)))
        .collect();
    found.sort_by_key(|layer| std::cmp::Reverse(layer.covers.len()));
    let mut covered = HashSet::new();
    found.retain(|layer| {
        let new = layer.covers.iter().any(|blob| !covered.contains(blob));
        covered.extend(layer.covers.iter().cloned());
        new
    });
    found
}

/// Makes one run of layers: on the shelf, or in memory where there is none. The layers are as good as it, and stay so
/// when it cannot be made.
pub(crate) fn store(shelf: Option<&Shelf>, layers: &[Layer]) -> Result<Layer, StoreError> {
    let mut covers: Vec<BlobId> = layers.iter().flat_map(|layer| layer.covers.iter().cloned()).collect();
    covers.sort_unstable();
    covers.dedup();
    let mut tables = v2::Tables::default();
    for entry in merged(layers, ALL_PREFIXES) {
        tables.add(&entry?)?;
    }
    let Some(shelf) = shelf else {
        let mut bytes = Vec::new();
        write_index(&mut tables, layers, &mut bytes)?;
        let index = Index::open(IndexData::Memory(bytes.into()))?;
        return Ok(Layer { covers: covers.into(), index: Arc::new(index) });
    };
    let file = shelf.put(&name(&covers), |out| {
        out.write_all(&header(&covers))?;
        write_index(&mut tables, layers, out).map_err(std::io::Error::other)
    })?;
    open(file).ok_or(StoreError::Index(IndexError::DamagedCopy))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    File(#[from] std::io::Error),
}

fn write_index(tables: &mut v2::Tables, layers: &[Layer], out: &mut dyn Write) -> Result<(), StoreError> {
    out.write_all(&tables.header()?)?;
    for entry in merged(layers, ALL_PREFIXES) {
        out.write_all(&tables.encode(&entry?)?)?;
    }
    out.write_all(&tables.footer()?)?;
    Ok(())
}

/// Merges the smallest layers when there are too many.
pub(crate) fn compact(shelf: Option<&Shelf>, layers: &mut Vec<Layer>) {
    if layers.len() <= MOST_RUNS {
        return;
    }
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.index.len()));
    let small = layers.split_off(RUNS_AFTER_MERGE - 1);
    match store(shelf, &small) {
        Ok(run) => layers.push(run),
        Err(e) => {
            tracing::debug!("cannot merge indexes: {e}");
            layers.extend(small);
        }
    }
}

/// The layers that are as they were written; the files of the others are removed.
pub(crate) fn discard_damaged(shelf: Option<&Shelf>, layers: &[Layer]) -> Vec<Layer> {
    let (whole, damaged): (Vec<Layer>, Vec<Layer>) = layers.iter().cloned().partition(|layer| layer.index.is_whole());
    for layer in damaged {
        let name = name(&layer.covers);
        tracing::debug!("the local copy {name} of indexes is damaged, and made anew");
        if let Some(Err(e)) = shelf.map(|shelf| shelf.remove(&name)) {
            tracing::debug!("cannot remove {name}: {e}");
        }
    }
    whole
}

/// Whether a file of the shelf belongs to one of these layers.
pub(crate) fn is_of(name_on_shelf: &str, layers: &[Layer]) -> bool {
    layers.iter().any(|layer| name(&layer.covers) == name_on_shelf)
}

/// Depends on the covered blobs only, so that two processes that make the same run put the same file.
fn name(covers: &[BlobId]) -> String {
    let mut hasher = blake3::Hasher::new();
    for blob in covers {
        hasher.update(blob.as_bytes()).update(b"\n");
    }
    format!("{NAME}{}", &hasher.finalize().to_hex()[..32])
}

fn header(covers: &[BlobId]) -> Vec<u8> {
    let mut header = (covers.len() as u32).to_be_bytes().to_vec();
    for blob in covers {
        header.push(blob.len().min(255) as u8);
        header.extend_from_slice(blob.as_bytes());
    }
    header
}

fn open(file: ShelfFile) -> Option<Layer> {
    let mut at = 0;
    let mut take = |length: usize| {
        let bytes = file.bytes(at..at + length).ok();
        at += length;
        bytes
    };
    let count = u32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut covers = Vec::new();
    for _ in 0..count {
        let length = usize::from(*take(1)?.first()?);
        covers.push(BlobId::new(std::str::from_utf8(take(length)?).ok()?).ok()?);
    }
    let index = Index::open(IndexData::File { file, start: at }).ok()?;
    Some(Layer { covers: covers.into(), index: Arc::new(index) })
}

/// A run of one large index blob, filled piece by piece.
pub(crate) struct Draft {
    draft: ShelfDraft,
    covers: [BlobId; 1],
    /// Where the blob's bytes begin.
    start: usize,
}

impl Draft {
    /// `length` is that of the stored blob.
    pub(crate) fn new(shelf: &Shelf, blob: &BlobId, length: usize) -> std::io::Result<Self> {
        let covers = [blob.clone()];
        let header = header(&covers);
        let mut draft = shelf.create(header.len() + length)?;
        if let Some(place) = draft.bytes_mut().get_mut(..header.len()) {
            place.copy_from_slice(&header);
        }
        Ok(Self { draft, covers, start: header.len() })
    }

    /// The stored blob.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.draft.bytes_mut().get_mut(self.start..).unwrap_or_default()
    }

    /// Puts a piece of the stored blob in its place.
    pub(crate) fn write(&mut self, offset: usize, piece: &[u8]) {
        if let Some(place) = self.bytes_mut().get_mut(offset..offset + piece.len()) {
            place.copy_from_slice(piece);
        }
    }

    /// Keeps the plain bytes, which lie in this range of the blob's bytes.
    pub(crate) fn finish(mut self, plaintext: Range<usize>) -> std::io::Result<Layer> {
        let length = plaintext.len();
        self.bytes_mut().copy_within(plaintext, 0);
        let file = self.draft.finish(&name(&self.covers), self.start + length)?;
        open(file).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::tests::some_entries;
    use super::super::{IndexEntry, encode, set::IndexSet};
    use super::*;

    fn layer(name: &str, entries: &[IndexEntry]) -> Layer {
        let data = IndexData::Memory(encode(entries, 2).unwrap().into());
        Layer { covers: [BlobId::new(name).unwrap()].into(), index: Arc::new(Index::open(data).unwrap()) }
    }

    fn entries(layers: Vec<Layer>) -> Vec<IndexEntry> {
        let set = IndexSet { layers, ..IndexSet::default() };
        set.entries(ALL_PREFIXES).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn runs_hold_what_their_layers_held() {
        let directory = TempDir::new().unwrap();
        let shelf = Shelf::open(directory.path()).unwrap();
        let all = some_entries(300);
        let names: Vec<BlobId> = (0..20).map(|i| BlobId::new(&format!("xn0_{i}")).unwrap()).collect();
        let mut layers: Vec<Layer> = all.chunks(15).zip(&names).map(|(chunk, name)| layer(name, chunk)).collect();
        assert_eq!(entries(layers.clone()), all);
        compact(Some(&shelf), &mut layers);
        assert_eq!(layers.len(), RUNS_AFTER_MERGE);
        assert_eq!(entries(layers.clone()), all);

        let active: HashSet<&BlobId> = names.iter().collect();
        let loaded = load(&shelf, &active);
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].covers.len(), 17);
        let covered = entries(loaded);
        assert_eq!(covered.len(), 17 * 15);
        // As soon as one of its blobs does not count any more, the run does not either.
        let fewer: HashSet<&BlobId> = names[..19].iter().collect();
        assert!(load(&shelf, &fewer).is_empty());
    }

    #[test]
    fn without_a_shelf_runs_are_in_memory() {
        let all = some_entries(300);
        let mut layers: Vec<Layer> =
            all.chunks(15).enumerate().map(|(i, chunk)| layer(&format!("xn0_{i}"), chunk)).collect();
        compact(None, &mut layers);
        assert_eq!(layers.len(), RUNS_AFTER_MERGE);
        assert_eq!(entries(layers), all);
    }

    #[test]
    fn damaged_runs_are_not_used() {
        let directory = TempDir::new().unwrap();
        let shelf = Shelf::open(directory.path()).unwrap();
        let run = store(Some(&shelf), &[layer("xn0_a", &some_entries(10))]).unwrap();
        let path = directory.path().join(name(&run.covers));
        let active_blob = BlobId::new("xn0_a").unwrap();
        let active = HashSet::from([&active_blob]);
        assert_eq!(load(&shelf, &active).len(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(load(&shelf, &active).is_empty());
    }
}
