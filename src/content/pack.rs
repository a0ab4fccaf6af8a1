//! Packs: blobs that hold many contents (format page 05 §5.1, 5.2).
//!
//! ```text
//! copy of the format block (only in repositories without password change)
//! 32 random bytes
//! encrypted contents, back to back
//! 1 to 4096 random bytes, up to a multiple of 4096
//! local index, encrypted with its full hash as IV: entries of everything flushed with this pack, then 32 random bytes
//! postamble: varint 1 │ varint IV length │ IV │ varint offset and varint length of the local index │ CRC-32 u32 be
//! length of the postamble u8
//! ```
//!
//! Readers find contents by the index blobs alone. Local index and postamble are for the day those are lost.

use crate::blob::BlobId;
use crate::bytes::Payload;
use crate::content::ContentError;
use crate::content::index::{self, IndexEntry};
use crate::content::session::SessionId;
use crate::format::Crypto;
use crate::sync::Taken;

const PREAMBLE: usize = 32;
const ALIGNMENT: usize = 4096;
/// After a local index.
const RANDOM_TAIL: usize = 32;
pub(super) const POSTAMBLE_VERSION: u64 = 1;
/// Stored contents up to this size are copied together, larger ones stay pieces of their own.
const COPIED_UP_TO: usize = 64 << 10;

/// The two families of packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackKind {
    /// `p`: contents without a prefix.
    Data,
    /// `q`: contents with one.
    Metadata,
}

impl PackKind {
    fn letter(self) -> char {
        match self {
            Self::Data => 'p',
            Self::Metadata => 'q',
        }
    }
}

/// A pack that still takes contents.
#[derive(Debug)]
pub(super) struct PackBuilder {
    pub(super) id: BlobId,
    payload: Payload,
    /// Small contents since the last piece of `payload`.
    tail: Vec<u8>,
    entries: Vec<IndexEntry>,
    slot: Taken,
}

/// A pack to be uploaded.
#[derive(Debug)]
pub(super) struct FinishedPack {
    pub(super) id: BlobId,
    pub(super) payload: Payload,
    pub(super) slot: Taken,
}

impl PackBuilder {
    /// `head` is the copy of the format block, or empty.
    pub(super) fn new(kind: PackKind, session: &SessionId, head: &[u8], slot: Taken) -> Result<Self, ContentError> {
        let name = hex::encode(random::<16>()?);
        let id = BlobId::new(&format!("{}{name}-{session}", kind.letter())).map_err(ContentError::internal)?;
        let tail = [head, &random::<PREAMBLE>()?].concat();
        Ok(Self { id, payload: Payload::default(), tail, entries: Vec::new(), slot })
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.payload.len() + self.tail.len() as u64
    }

    /// Adds a stored content and returns its offset.
    pub(super) fn append(&mut self, mut stored: Vec<u8>) -> Result<u32, ContentError> {
        let offset = u32::try_from(self.len()).map_err(ContentError::internal)?;
        if stored.len() <= COPIED_UP_TO {
            self.tail.extend_from_slice(&stored);
        } else {
            self.payload.push(std::mem::take(&mut self.tail));
            // It was made with room for bytes that cannot be compressed.
            stored.shrink_to_fit();
            self.payload.push(stored);
        }
        Ok(offset)
    }

    /// Notes an entry for the local index: of a content in this pack, or the deletion of one elsewhere.
    pub(super) fn note(&mut self, entry: IndexEntry) {
        self.entries.push(entry);
    }

    /// Closes the pack. None when it holds no content, only notes.
    pub(super) fn finish(mut self, crypto: &Crypto, index_version: u8) -> Result<Option<FinishedPack>, ContentError> {
        if !self.entries.iter().any(|entry| entry.pack == self.id) {
            return Ok(None);
        }
        let padding = ALIGNMENT - (self.len() % ALIGNMENT as u64) as usize;
        let start = self.tail.len();
        self.tail.resize(start + padding, 0);
        getrandom::fill(self.tail.get_mut(start..).unwrap_or_default()).map_err(ContentError::internal)?;
        let local_offset = self.len();

        let mut local = index::encode(&index::merge(std::mem::take(&mut self.entries)), index_version)
            .map_err(ContentError::internal)?;
        local.extend(random::<RANDOM_TAIL>()?);
        let iv = crypto.hasher.hash(&local);
        let stored = crypto.cipher.seal(iv.as_bytes(), &local);
        let postamble = Postamble { iv: iv.as_bytes().to_vec(), offset: local_offset, length: stored.len() as u64 };
        self.tail.extend(stored);
        self.tail.extend(postamble.encode()?);
        self.payload.push(self.tail);
        Ok(Some(FinishedPack { id: self.id, payload: self.payload, slot: self.slot }))
    }
}

/// Where a pack's local index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postamble {
    pub iv: Vec<u8>,
    pub offset: u64,
    pub length: u64,
}

impl Postamble {
    /// With the length byte at its end. An IV has room for up to about 220 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let mut out = Vec::with_capacity(64);
        put_varint(POSTAMBLE_VERSION, &mut out);
        put_varint(self.iv.len() as u64, &mut out);
        out.extend_from_slice(&self.iv);
        put_varint(self.offset, &mut out);
        put_varint(self.length, &mut out);
        out.extend(crc32fast::hash(&out).to_be_bytes());
        out.push(u8::try_from(out.len()).map_err(ContentError::internal)?);
        Ok(out)
    }

    /// From the last bytes of a pack, at least 256 of them or all. None when there is no valid one.
    pub fn decode(end_of_pack: &[u8]) -> Option<Self> {
        let (length, rest) = end_of_pack.split_last()?;
        let postamble = rest.get(rest.len().checked_sub(usize::from(*length))?..)?;
        let (mut fields, sum) = postamble.split_last_chunk::<4>()?;
        if crc32fast::hash(fields) != u32::from_be_bytes(*sum) || take_varint(&mut fields)? != POSTAMBLE_VERSION {
            return None;
        }
        let iv_length = usize::try_from(take_varint(&mut fields)?).ok()?;
        let (iv, mut fields) = fields.split_at_checked(iv_length)?;
        let (offset, length) = (take_varint(&mut fields)?, take_varint(&mut fields)?);
        Some(Self { iv: iv.to_vec(), offset, length }).filter(|_| fields.is_empty())
    }
}

/// Unsigned LEB128.
fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], ContentError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ContentError::internal)?;
    Ok(bytes)
}
