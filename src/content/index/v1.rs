//! Index version 1 (format page 06 §6.1), all integers big-endian:
//!
//! ```text
//! 0   1  version = 1
//! 1   1  key size K
//! 2   2  entry size = 20
//! 4   4  number of entries N
//! 8      N × (key K, value 20), ascending by key
//!        names of packs, each once, in order of first use
//!
//! value: 0 6 time │ 6 1 format version │ 7 1 length of the pack's name │ 8 4 its offset in this index
//!        12 4 bit 31 deleted, bits 0..30 offset in the pack │ 16 4 packed length
//! ```
//!
//! The original length is not stored: it is the packed length less the encryption's overhead, as this version
//! knows no compression.

use std::collections::HashMap;

use super::{IndexEntry, IndexError, Layout, bytes, int, pack_name};
use crate::blob::BlobId;
use crate::content::id::ContentId;
use crate::format::OVERHEAD;

pub(super) const HEADER: usize = 8;
const VALUE: usize = 20;

pub(super) fn layout(header: &[u8], length: usize) -> Result<Layout, IndexError> {
    let key_size = int(header, 1, 1)? as usize;
    let value_size = int(header, 2, 2)? as usize;
    let count = int(header, 4, 4)? as usize;
    if count > 0 && value_size != VALUE {
        return Err(IndexError::Malformed("entry size is not 20"));
    }
    let layout = Layout { key_size, value_size: VALUE, count, entries_at: HEADER, ..Layout::default() };
    if layout.entries_end().is_none_or(|end| end > length) {
        return Err(IndexError::Malformed("entries run past the end"));
    }
    Ok(layout)
}

/// The entry with this value; `whole` reads any part of the index.
pub(super) fn entry<'a>(
    id: ContentId,
    value: &[u8],
    whole: impl Fn(usize, usize) -> Result<&'a [u8], IndexError>,
) -> Result<IndexEntry, IndexError> {
    let offset_and_flag = int(value, 12, 4)? as u32;
    let packed_length = int(value, 16, 4)? as u32;
    Ok(IndexEntry {
        id,
        timestamp: int(value, 0, 6)?,
        deleted: offset_and_flag >> 31 == 1,
        pack: pack_name(whole(int(value, 8, 4)? as usize, int(value, 7, 1)? as usize)?)?,
        pack_offset: offset_and_flag & 0x7fff_ffff,
        packed_length,
        original_length: packed_length.saturating_sub(OVERHEAD as u32),
        compression: 0,
        format_version: int(value, 6, 1)? as u8,
        encryption_key: 0,
    })
}

/// Encodes entries that are sorted, each id once.
pub(super) fn encode(entries: &[IndexEntry]) -> Result<Vec<u8>, IndexError> {
    let Some(first) = entries.first() else {
        // So does kopia: the key size of an index without entries means nothing.
        return Ok(vec![1, 255, 0, 20, 0, 0, 0, 0]);
    };
    let key_size = first.id.key_length();
    let names_at = HEADER + entries.len() * (key_size + VALUE);
    let mut out = Vec::with_capacity(names_at + 64);
    out.push(1);
    out.extend(bytes::<1>(key_size as u64)?);
    out.extend(bytes::<2>(VALUE as u64)?);
    out.extend(bytes::<4>(entries.len() as u64)?);
    let mut names = Vec::new();
    let mut known: HashMap<&BlobId, usize> = HashMap::new();
    for e in entries {
        if e.compression != 0 || e.pack_offset >> 31 != 0 || e.id.key_length() != key_size {
            return Err(IndexError::Unwritable(e.id));
        }
        let at = *known.entry(&e.pack).or_insert_with(|| {
            names.extend_from_slice(e.pack.as_bytes());
            names_at + names.len() - e.pack.len()
        });
        e.id.write_key(&mut out);
        out.extend(bytes::<6>(e.timestamp)?);
        out.push(e.format_version);
        out.extend(bytes::<1>(e.pack.len() as u64)?);
        out.extend(bytes::<4>(at as u64)?);
        out.extend((e.pack_offset | u32::from(e.deleted) << 31).to_be_bytes());
        out.extend(e.packed_length.to_be_bytes());
    }
    out.extend(names);
    Ok(out)
}
