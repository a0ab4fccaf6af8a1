//! All indexes that count, as one table that never changes.
//!
//! An [`IndexSet`] is a list of layers, each an [`Index`] that holds the entries of some index blobs. Which entry
//! of several counts is decided at every lookup, and an entry whose deletion is older than the watermark is hidden
//! (format page 06 §6.3). A newer view of the repository is another set that shares most layers with this one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Index, IndexEntry, IndexError};
use crate::blob::BlobId;
use crate::content::id::{ContentId, Prefix};

/// An index and the index blobs it was made of.
#[derive(Clone, Debug)]
pub struct Layer {
    pub covers: Arc<[BlobId]>,
    pub index: Arc<Index>,
}

/// An index blob that should count but cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedIndex {
    pub blob: BlobId,
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub struct IndexSet {
    pub layers: Vec<Layer>,
    /// Entries deleted at or before this time (unix seconds) do not exist.
    pub watermark: u64,
    pub damaged: Vec<DamagedIndex>,
}

impl IndexSet {
    /// The entry that counts. A deleted one is found too: its content can still be read.
    pub fn find(&self, id: &ContentId) -> Result<Option<IndexEntry>, IndexError> {
        let (mut best, mut unusable) = (None, None);
        for layer in &self.layers {
            match layer.index.find(id) {
                Ok(found) => {
                    if let Some(entry) = found {
                        entry.win(&mut best);
                    }
                }
                Err(e) => unusable = Some(e),
            }
        }
        match (best, unusable) {
            (Some(entry), _) => Ok(Some(entry).filter(|e| self.is_visible(e))),
            (None, Some(e)) => Err(e),
            (None, None) => Ok(None),
        }
    }

    fn is_visible(&self, entry: &IndexEntry) -> bool {
        !entry.deleted || entry.timestamp > self.watermark
    }

    /// Every index blob that some layer covers.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.layers.iter().flat_map(|layer| layer.covers.iter())
    }

    /// The entries that count, in order of their ids, deleted ones included. An entry that cannot be decoded comes
    /// as an error, and the iteration goes on.
    pub fn entries(&self, prefixes: RangeInclusive<Prefix>) -> impl Iterator<Item = Result<IndexEntry, IndexError>> {
        merged(&self.layers, prefixes).filter(|entry| entry.as_ref().map_or(true, |e| self.is_visible(e)))
    }
}

/// The winning entries of several layers, in order, whatever the watermark.
pub(super) fn merged(layers: &[Layer], prefixes: RangeInclusive<Prefix>) -> Merged<'_> {
    let mut merged = Merged { layers, last: *prefixes.end(), heap: BinaryHeap::new(), failed: None };
    for (number, layer) in layers.iter().enumerate() {
        match layer.index.first_at_or_after(prefixes.start().key_byte(), &[]) {
            Ok(position) => merged.push(number, position),
            Err(e) => merged.failed = Some(e),
        }
    }
    merged
}

pub(super) struct Merged<'a> {
    layers: &'a [Layer],
    last: Prefix,
    /// Next id, layer and position in it, of every layer that is not at its end.
    heap: BinaryHeap<Reverse<(ContentId, usize, usize)>>,
    failed: Option<IndexError>,
}

impl Merged<'_> {
    fn push(&mut self, number: usize, position: usize) {
        let Some(layer) = self.layers.get(number).filter(|layer| position < layer.index.len()) else { return };
        match layer.index.id(position) {
            Ok(id) if id.prefix() <= self.last => self.heap.push(Reverse((id, number, position))),
            Ok(_) => {}
            Err(e) => self.failed = Some(e),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<IndexEntry, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(e) = self.failed.take() {
            return Some(Err(e));
        }
        let mut best = None;
        let mut unusable = None;
        let Reverse((id, ..)) = *self.heap.peek()?;
        while let Some(Reverse((next, number, position))) = self.heap.peek().copied().filter(|Reverse(n)| n.0 == id) {
            debug_assert_eq!(next, id);
            self.heap.pop();
            self.push(number, position + 1);
            match self.layers.get(number).map(|layer| layer.index.entry(position)) {
                Some(Ok(entry)) => entry.win(&mut best),
                Some(Err(e)) => unusable = Some(e),
                None => {}
            }
        }
        best.map(Ok).or_else(|| unusable.map(Err))
    }
}

#[cfg(test)]
mod tests;
