//! Index version 2 (format page 06 §6.2), all integers big-endian:
//!
//! ```text
//! 0   1  version = 2
//! 1   1  key size K
//! 2   2  entry size E = 16..19
//! 4   4  number of entries N
//! 8   4  number of packs P
//! 12  1  number of formats F
//! 13  4  base time
//! 17     N × (key K, value E), ascending by key
//!        P × (length of the pack's name 1, its offset in this index 4)
//!        F × (compression 4, format version 1, encryption key 1)
//!        names of packs
//!
//! value: 0 4 time less base │ 4 4 bit 31 deleted, bits 0..29 offset in the pack
//!        8 3 original length, low 24 bits │ 11 3 packed length, low 24 bits │ 14 2 pack number, low 16 bits
//!        16 1 format number │ 17 1 pack number, high 8 bits
//!        18 1 bits 24..27 of the original length (high half) and of the packed length (low half)
//! ```
//!
//! Bytes that E cuts off are zero. Packs and formats are numbered by first use in the sorted entries.

use std::collections::HashMap;

use super::{IndexEntry, IndexError, Layout, bytes, int, pack_name};
use crate::blob::BlobId;
use crate::content::id::ContentId;

pub(super) const HEADER: usize = 17;
const SMALLEST_VALUE: usize = 16;
const LARGEST_VALUE: usize = 19;
const PACK_RECORD: usize = 5;
const FORMAT_RECORD: usize = 6;

/// Lengths and offsets that fit (format page 04 §4.3).
const LENGTH_LIMIT: u32 = 1 << 28;
const OFFSET_LIMIT: u32 = 1 << 30;

pub(super) fn layout(header: &[u8], length: usize) -> Result<Layout, IndexError> {
    let layout = Layout {
        key_size: int(header, 1, 1)? as usize,
        value_size: int(header, 2, 2)? as usize,
        count: int(header, 4, 4)? as usize,
        packs: int(header, 8, 4)? as usize,
        formats: int(header, 12, 1)? as usize,
        base_time: int(header, 13, 4)?,
        entries_at: HEADER,
    };
    if layout.count > 0 && !(SMALLEST_VALUE..=LARGEST_VALUE).contains(&layout.value_size) {
        return Err(IndexError::Malformed("entry size is not 16 to 19"));
    }
    let records = layout.packs * PACK_RECORD + layout.formats * FORMAT_RECORD;
    if layout.entries_end().and_then(|end| end.checked_add(records)).is_none_or(|end| end > length) {
        return Err(IndexError::Malformed("entries or tables run past the end"));
    }
    Ok(layout)
}

/// The entry with this value; `whole` reads any part of the index.
pub(super) fn entry<'a>(
    layout: &Layout,
    id: ContentId,
    value: &[u8],
    whole: impl Fn(usize, usize) -> Result<&'a [u8], IndexError>,
) -> Result<IndexEntry, IndexError> {
    let byte = |at: usize| value.get(at).map_or(0, |b| usize::from(*b));
    let (pack, format, high) = (int(value, 14, 2)? as usize | byte(17) << 16, byte(16), byte(18) as u32);
    if pack >= layout.packs || format >= layout.formats {
        return Err(IndexError::Malformed("pack or format number out of range"));
    }
    let packs_at = layout.entries_end().ok_or(IndexError::Malformed("entries run past the end"))?;
    let record = whole(packs_at + pack * PACK_RECORD, PACK_RECORD)?;
    let name = whole(int(record, 1, 4)? as usize, int(record, 0, 1)? as usize)?;
    let format = whole(packs_at + layout.packs * PACK_RECORD + format * FORMAT_RECORD, FORMAT_RECORD)?;
    let offset_and_flag = int(value, 4, 4)? as u32;
    Ok(IndexEntry {
        id,
        timestamp: layout.base_time + int(value, 0, 4)?,
        deleted: offset_and_flag >> 31 == 1,
        pack: pack_name(name)?,
        // Kopia's reader masks bit 31 only, so a foreign writer's bit 30 would mean the same to both.
        pack_offset: offset_and_flag & 0x7fff_ffff,
        packed_length: int(value, 11, 3)? as u32 | (high & 15) << 24,
        original_length: int(value, 8, 3)? as u32 | (high >> 4) << 24,
        compression: int(format, 0, 4)? as u32,
        format_version: int(format, 4, 1)? as u8,
        encryption_key: int(format, 5, 1)? as u8,
    })
}

/// Encodes entries that are sorted, each id once, at least one.
pub(super) fn encode(entries: &[IndexEntry]) -> Result<Vec<u8>, IndexError> {
    let mut tables = Tables::default();
    for entry in entries {
        tables.add(entry)?;
    }
    let mut out = Vec::with_capacity(tables.header()?.len() + entries.len() * 64);
    out.extend(tables.header()?);
    for entry in entries {
        out.extend(tables.encode(entry)?);
    }
    out.extend(tables.footer()?);
    Ok(out)
}

/// What must be known of all entries before the first can be written. Used in two passes: [`add`](Self::add) every
/// entry, then write [`header`](Self::header), [`encode`](Self::encode) of every entry in the same order, and
/// [`footer`](Self::footer).
#[derive(Default)]
pub(super) struct Tables {
    key_size: usize,
    count: usize,
    long: bool,
    packs: Numbers<BlobId>,
    formats: Numbers<(u32, u8, u8)>,
}

impl Tables {
    pub(super) fn add(&mut self, e: &IndexEntry) -> Result<(), IndexError> {
        if self.count == 0 {
            self.key_size = e.id.key_length();
        }
        let unwritable = e.packed_length >= LENGTH_LIMIT
            || e.original_length >= LENGTH_LIMIT
            || e.pack_offset >= OFFSET_LIMIT
            || e.timestamp > u64::from(u32::MAX)
            || e.id.key_length() != self.key_size;
        self.packs.number(&e.pack);
        self.formats.number(&format_of(e));
        if unwritable || self.packs.list.len() > 1 << 24 || self.formats.list.len() > 255 {
            return Err(IndexError::Unwritable(e.id));
        }
        self.count += 1;
        self.long |= (e.packed_length | e.original_length) >> 24 != 0;
        Ok(())
    }

    fn value_size(&self) -> usize {
        match () {
            () if self.long => LARGEST_VALUE,
            () if self.packs.list.len() > 1 << 16 => 18,
            () if self.formats.list.len() > 1 => 17,
            () => SMALLEST_VALUE,
        }
    }

    pub(super) fn header(&self) -> Result<Vec<u8>, IndexError> {
        if self.count == 0 {
            return Err(IndexError::Malformed("an index of version 2 cannot be empty"));
        }
        let mut out = vec![2];
        out.extend(bytes::<1>(self.key_size as u64)?);
        out.extend(bytes::<2>(self.value_size() as u64)?);
        out.extend(bytes::<4>(self.count as u64)?);
        out.extend(bytes::<4>(self.packs.list.len() as u64)?);
        out.extend(bytes::<1>(self.formats.list.len() as u64)?);
        out.extend([0; 4]);
        Ok(out)
    }

    pub(super) fn encode(&mut self, e: &IndexEntry) -> Result<Vec<u8>, IndexError> {
        let pack = self.packs.number(&e.pack);
        let format = self.formats.number(&format_of(e));
        let mut out = Vec::with_capacity(self.key_size + LARGEST_VALUE);
        e.id.write_key(&mut out);
        out.extend(bytes::<4>(e.timestamp)?);
        out.extend((e.pack_offset | u32::from(e.deleted) << 31).to_be_bytes());
        out.extend(bytes::<3>(u64::from(e.original_length & 0xff_ffff))?);
        out.extend(bytes::<3>(u64::from(e.packed_length & 0xff_ffff))?);
        out.extend(bytes::<2>((pack & 0xffff) as u64)?);
        out.extend(bytes::<1>(format as u64)?);
        out.extend(bytes::<1>((pack >> 16) as u64)?);
        out.extend(bytes::<1>(u64::from(e.original_length >> 24 << 4 | e.packed_length >> 24))?);
        out.truncate(self.key_size + self.value_size());
        Ok(out)
    }

    pub(super) fn footer(&self) -> Result<Vec<u8>, IndexError> {
        let records = self.packs.list.len() * PACK_RECORD + self.formats.list.len() * FORMAT_RECORD;
        let mut name_at = HEADER + self.count * (self.key_size + self.value_size()) + records;
        let mut out = Vec::new();
        for name in &self.packs.list {
            out.extend(bytes::<1>(name.len() as u64)?);
            out.extend(bytes::<4>(name_at as u64)?);
            name_at += name.len();
        }
        for (compression, format_version, encryption_key) in &self.formats.list {
            out.extend(compression.to_be_bytes());
            out.extend([*format_version, *encryption_key]);
        }
        for name in &self.packs.list {
            out.extend_from_slice(name.as_bytes());
        }
        Ok(out)
    }
}

fn format_of(e: &IndexEntry) -> (u32, u8, u8) {
    (e.compression, e.format_version, e.encryption_key)
}

/// Gives each new value the next number.
struct Numbers<T> {
    list: Vec<T>,
    known: HashMap<T, usize>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn number(&mut self, value: &T) -> usize {
        if let Some(number) = self.known.get(value) {
            return *number;
        }
        let number = self.list.len();
        self.list.push(value.clone());
        self.known.insert(value.clone(), number);
        number
    }
}
