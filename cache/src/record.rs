//! Keys, and the header that stands before every value in a segment.
//!
//! ```text
//! magic "lrec" │ payload length u32 │ CRC-32C of the payload u32 │ key length u8      under the header's checksum
//! mark u8                                                                              under none
//! zero u16 │ CRC-32C of the header u32
//! key                                                                                  under the header's checksum
//! payload                                                                              under its own
//! ```
//!
//! All numbers are little-endian. The header's checksum begins with the salt of the segment and the offset of the
//! record, so that bytes that look like a record count only where that record was written: a payload may itself be a
//! piece of some cache.
//!
//! The mark changes after the record was written, by one byte that any process may write at any time.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

pub(crate) const LONGEST_KEY: usize = 64;
pub(crate) const LONGEST_HEADER: usize = FIXED + LONGEST_KEY;
pub(crate) const MAGIC: [u8; 4] = *b"lrec";
/// Where the mark lies in a record.
pub(crate) const MARK: u32 = SUMMED as u32;
/// Bytes before the key.
const FIXED: usize = 20;
/// Bytes at the beginning that the checksum covers.
const SUMMED: usize = 13;

/// The name of a value: at most 64 bytes, chosen by the caller. A key must stand for one and the same value for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    length: u8,
    bytes: [u8; LONGEST_KEY],
}

impl Key {
    /// None when it is longer than 64 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST_KEY];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self { length: key.len() as u8, bytes })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// What stands for the key in the index and in tables.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write(self.as_bytes());
        hasher.finish()
    }

    /// Bytes that a record with this key has before its payload.
    pub(crate) fn header_length(&self) -> usize {
        FIXED + usize::from(self.length)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", hex::encode(self.as_bytes()))
    }
}

/// What was noted about a record since it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Fresh,
    /// Some process read it.
    Touched,
    /// Its value turned out to be useless.
    Removed,
}

impl Mark {
    const REMOVED: u8 = 0xde;

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Fresh => 0,
            Self::Touched => 1,
            Self::Removed => Self::REMOVED,
        }
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Fresh,
            Self::REMOVED => Self::Removed,
            _ => Self::Touched,
        }
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) key: Key,
    pub(crate) payload_length: u32,
    payload_sum: u32,
    pub(crate) mark: Mark,
}

/// What some bytes are when they are taken for the beginning of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Header(RecordHeader),
    /// As far as they go they may be one.
    Short,
    Damaged,
}

impl RecordHeader {
    pub(crate) fn new(key: Key, payload: &[u8]) -> Self {
        let payload_length = payload.len() as u32;
        Self { key, payload_length, payload_sum: crc32c::crc32c(payload), mark: Mark::Fresh }
    }

    pub(crate) fn encode(&self, salt: u64, offset: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LONGEST_HEADER);
        bytes.extend(MAGIC);
        bytes.extend(self.payload_length.to_le_bytes());
        bytes.extend(self.payload_sum.to_le_bytes());
        bytes.push(self.key.length);
        let sum = header_sum(salt, offset, &bytes, self.key.as_bytes());
        bytes.push(self.mark.byte());
        bytes.extend([0; 2]);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(self.key.as_bytes());
        bytes
    }

    /// The record at an offset of a segment.
    pub(crate) fn parse(bytes: &[u8], salt: u64, offset: u32) -> Parsed {
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Parsed::Short };
        let [m0, m1, m2, m3, l0, l1, l2, l3, p0, p1, p2, p3, key_length, mark, _, _, s0, s1, s2, s3] = *fixed;
        if [m0, m1, m2, m3] != MAGIC || usize::from(key_length) > LONGEST_KEY {
            return Parsed::Damaged;
        }
        let Some(key) = rest.get(..usize::from(key_length)) else { return Parsed::Short };
        let summed = fixed.get(..SUMMED).unwrap_or_default();
        if header_sum(salt, offset, summed, key) != u32::from_le_bytes([s0, s1, s2, s3]) {
            return Parsed::Damaged;
        }
        let Some(key) = Key::new(key) else { return Parsed::Damaged };
        Parsed::Header(Self {
            key,
            payload_length: u32::from_le_bytes([l0, l1, l2, l3]),
            payload_sum: u32::from_le_bytes([p0, p1, p2, p3]),
            mark: Mark::from_byte(mark),
        })
    }

    /// Bytes of the whole record.
    pub(crate) fn record_length(&self) -> u64 {
        self.key.header_length() as u64 + u64::from(self.payload_length)
    }

    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == u64::from(self.payload_length) && crc32c::crc32c(payload) == self.payload_sum
    }
}

fn header_sum(salt: u64, offset: u32, summed: &[u8], key: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, summed), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_at_most_64_bytes() {
        assert_eq!(Key::new(&[7; 64]).unwrap().as_bytes(), [7; 64]);
        assert_eq!(Key::new(b"").unwrap().as_bytes(), b"");
        assert!(Key::new(&[7; 65]).is_none());
    }

    #[test]
    fn hashes_stay_as_they_are() {
        // They lie on disk.
        assert_eq!(Key::new(b"larder").unwrap().hash(), 2_756_686_055_937_061_398);
    }

    #[test]
    fn a_header_counts_only_whole_and_in_its_place() {
        let header = RecordHeader::new(Key::new(b"key").unwrap(), b"payload");
        let bytes = header.encode(5, 40);
        assert_eq!(bytes.len(), header.key.header_length());
        assert_eq!(header.record_length(), bytes.len() as u64 + 7);
        assert_eq!(RecordHeader::parse(&bytes, 5, 40), Parsed::Header(header));
        assert!(header.fits(b"payload") && !header.fits(b"Payload") && !header.fits(b"payloads"));
        for length in 0..bytes.len() {
            assert_eq!(RecordHeader::parse(&bytes[..length], 5, 40), Parsed::Short);
        }
        assert_eq!(RecordHeader::parse(&bytes, 6, 40), Parsed::Damaged);
        assert_eq!(RecordHeader::parse(&bytes, 5, 41), Parsed::Damaged);
    }

    #[test]
    fn a_damaged_header_is_noticed() {
        let header = RecordHeader::new(Key::new(b"key").unwrap(), b"payload");
        let bytes = header.encode(5, 40);
        for at in (0..bytes.len()).filter(|at| !(13..16).contains(at)) {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(!matches!(RecordHeader::parse(&damaged, 5, 40), Parsed::Header(_)), "{at}");
            }
        }
    }

    #[test]
    fn marks_lie_outside_of_the_checksum() {
        let header = RecordHeader::new(Key::new(b"key").unwrap(), b"payload");
        for mark in [Mark::Fresh, Mark::Touched, Mark::Removed] {
            let mut bytes = header.encode(5, 40);
            bytes[MARK as usize] = mark.byte();
            assert_eq!(RecordHeader::parse(&bytes, 5, 40), Parsed::Header(RecordHeader { mark, ..header }));
        }
    }
}
