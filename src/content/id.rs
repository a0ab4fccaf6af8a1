//! Content ids (format page 04 §4.1).
//!
//! An id is the keyed hash of the content's plain bytes, with at most one letter `g`..`z` before it that says
//! what the content is for. As text: the letter, if any, and lower-case hex. As the key of an index: one byte
//! (the letter, or 0) and the hash. Ids are ordered as their keys are.

use std::fmt;
use std::str::FromStr;

use crate::format::{Digest, MAX_DIGEST_LENGTH};

/// The letter before a content's hash; contents with one are metadata and lie in `q` packs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u8);

impl Prefix {
    /// File data and link targets.
    pub const NONE: Self = Self(0);
    /// Directory listings.
    pub const DIRECTORY: Self = Self(b'k');
    /// Lists of the contents that make up a large object.
    pub const INDIRECT: Self = Self(b'x');
    /// Manifests.
    pub const MANIFEST: Self = Self(b'm');
    /// The greatest there is.
    pub const LAST: Self = Self(b'z');

    /// From the first byte of an index key.
    pub fn from_key_byte(byte: u8) -> Option<Self> {
        matches!(byte, 0 | b'g'..=b'z').then_some(Self(byte))
    }

    pub fn key_byte(self) -> u8 {
        self.0
    }

    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str("none") } else { write!(f, "{:?}", char::from(self.0)) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId {
    prefix: Prefix,
    /// Zero beyond `length`, so that the derived order is that of the index keys.
    hash: [u8; MAX_DIGEST_LENGTH],
    length: u8,
}

impl ContentId {
    pub fn new(prefix: Prefix, digest: &Digest) -> Self {
        let (hash, length) = digest.padded();
        Self { prefix, hash, length }
    }

    /// None when there are no bytes or too many.
    pub fn from_hash(prefix: Prefix, bytes: &[u8]) -> Option<Self> {
        let mut hash = [0; MAX_DIGEST_LENGTH];
        hash.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let length = u8::try_from(bytes.len()).ok().filter(|length| *length > 0)?;
        Some(Self { prefix, hash, length })
    }

    /// From the key in an index: prefix byte and hash.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (prefix, hash) = key.split_first()?;
        Self::from_hash(Prefix::from_key_byte(*prefix)?, hash)
    }

    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    pub fn hash(&self) -> &[u8] {
        self.hash.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Bytes of the key in an index.
    pub fn key_length(&self) -> usize {
        1 + usize::from(self.length)
    }

    /// Appends the key in an index.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        out.push(self.prefix.0);
        out.extend_from_slice(self.hash());
    }

    /// What the content is encrypted with: the last 16 bytes of its hash. None when the hash is shorter.
    pub fn iv(&self) -> Option<&[u8; 16]> {
        self.hash().last_chunk()
    }

    /// Appends the text form.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        if !self.prefix.is_none() {
            out.push(self.prefix.0);
        }
        let digit = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or_default();
        out.extend(self.hash().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(2 * self.key_length());
        self.write_text(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a content id")]
pub struct InvalidContentId(pub String);

impl FromStr for ContentId {
    type Err = InvalidContentId;

    fn from_str(text: &str) -> Result<Self, InvalidContentId> {
        let invalid = || InvalidContentId(text.to_owned());
        let bytes = text.as_bytes();
        let (prefix, digits) = match bytes.split_first() {
            Some((first, rest)) if bytes.len() % 2 == 1 => {
                (Prefix::from_key_byte(*first).filter(|p| !p.is_none()).ok_or_else(invalid)?, rest)
            }
            _ => (Prefix::NONE, bytes),
        };
        let mut hash = [0; MAX_DIGEST_LENGTH];
        let hash = hash.get_mut(..digits.len() / 2).ok_or_else(invalid)?;
        hex::decode_to_slice(digits, hash).map_err(|_| invalid())?;
        Self::from_hash(prefix, hash).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/data/vectors/ids.json")).unwrap();
        let text = |v: &Value, key: &str| v[key].as_str().unwrap().to_owned();
        let valid = vectors["content_ids_valid"].as_array().unwrap();
        assert!(valid.len() > 5);
        for v in valid.iter().filter(|v| !text(v, "text").is_empty()) {
            let id: ContentId = text(v, "text").parse().unwrap();
            assert_eq!(id.to_string(), text(v, "canonical"));
            assert_eq!(hex::encode(id.hash()), text(v, "hash_hex"));
            assert_eq!(id.to_string(), text(v, "prefix") + &text(v, "hash_hex"));
            let mut key = Vec::new();
            id.write_key(&mut key);
            assert_eq!((hex::encode(&key), key.len()), (text(v, "index_key_hex"), id.key_length()));
            assert_eq!(ContentId::from_key(&key), Some(id));
            let iv = v.get("content_iv_hex").map(|iv| iv.as_str().unwrap().to_owned());
            assert_eq!(id.iv().map(hex::encode), iv);
        }
        for v in vectors["content_ids_invalid"].as_array().unwrap() {
            assert!(text(v, "text").parse::<ContentId>().is_err(), "{v}");
        }
        // The format has "no content" for it; here that is no id.
        assert!("".parse::<ContentId>().is_err());
    }

    prop_compose! {
        fn any_id()(prefix in prop_oneof![Just(0_u8), b'g'..=b'z'], hash in prop::collection::vec(any::<u8>(), 1..=32))
            -> ContentId {
            ContentId::from_hash(Prefix::from_key_byte(prefix).unwrap(), &hash).unwrap()
        }
    }

    proptest! {
        #[test]
        fn text_and_key_round_trip(id in any_id()) {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let mut key = Vec::new();
            id.write_key(&mut key);
            prop_assert_eq!(ContentId::from_key(&key), Some(id));
        }

        #[test]
        fn order_is_that_of_the_keys_and_of_the_text(a in any_id(), b in any_id()) {
            let (mut x, mut y) = (Vec::new(), Vec::new());
            a.write_key(&mut x);
            b.write_key(&mut y);
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<ContentId>();
        }
    }
}
