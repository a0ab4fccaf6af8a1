//! One entry of an index: where a content is (format page 06).

use std::cmp::Ordering;

use crate::blob::BlobId;
use crate::content::id::ContentId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub id: ContentId,
    /// Unix seconds.
    pub timestamp: u64,
    /// Set when the content is to be forgotten; until then it can still be read.
    pub deleted: bool,
    pub pack: BlobId,
    /// Where the stored bytes begin in the pack.
    pub pack_offset: u32,
    /// Stored bytes, encryption included.
    pub packed_length: u32,
    /// Plain bytes.
    pub original_length: u32,
    /// Header id of the compressor (format page 04 §4.2); 0: not compressed.
    pub compression: u32,
    /// Version of the repository format that wrote it.
    pub format_version: u8,
    /// Reserved by the format; only 0 can be read.
    pub encryption_key: u8,
}

impl IndexEntry {
    /// Which of two entries for one content counts: the greater one (format page 06 §6.3).
    pub fn precedence(&self, other: &Self) -> Ordering {
        let key = |e: &Self| (e.timestamp, !e.deleted);
        key(self).cmp(&key(other)).then_with(|| self.pack.cmp(&other.pack))
    }

    /// Puts `self` in `best`'s place when it counts more.
    pub(crate) fn win(self, best: &mut Option<Self>) {
        if best.as_ref().is_none_or(|b| self.precedence(b).is_gt()) {
            *best = Some(self);
        }
    }
}
