//! Blobs that are encrypted as a whole: indexes, session markers, compaction logs (format page 06 §6.5).
//!
//! Such a blob's name holds the hash of its plain bytes: `prefix`, hex of the hash, and `-suffix` if there is one.
//! The last 16 bytes of the hash are the IV, so the name opens the blob, and what was opened proves the name.

use std::ops::Range;

use crate::blob::BlobId;
use crate::content::ContentError;
use crate::format::Crypto;

/// Name and stored bytes of a plain text.
pub(super) fn seal(
    crypto: &Crypto,
    prefix: &str,
    suffix: Option<&str>,
    plaintext: &[u8],
) -> Result<(BlobId, Vec<u8>), ContentError> {
    let digest = crypto.hasher.hash(plaintext);
    let mut name = format!("{prefix}{}", hex::encode(digest.as_bytes()));
    if let Some(suffix) = suffix {
        name = format!("{name}-{suffix}");
    }
    let stored = crypto.cipher.seal(&digest.iv(), plaintext);
    Ok((BlobId::new(&name).map_err(ContentError::internal)?, stored))
}

/// The plain bytes of a blob, which belong to its name for certain.
pub(super) fn open(crypto: &Crypto, id: &BlobId, stored: &[u8]) -> Result<Vec<u8>, ContentError> {
    let plaintext = crypto.cipher.open(&iv_in_name(id)?, stored).map_err(|_| undecryptable(id))?;
    check_name(crypto, id, &plaintext)?;
    Ok(plaintext)
}

/// The same without another buffer: the plain bytes are then in the range given back.
pub(super) fn open_in_place(crypto: &Crypto, id: &BlobId, stored: &mut [u8]) -> Result<Range<usize>, ContentError> {
    let plaintext = crypto.cipher.open_in_place(&iv_in_name(id)?, stored).map_err(|_| undecryptable(id))?;
    check_name(crypto, id, stored.get(plaintext.clone()).unwrap_or_default())?;
    Ok(plaintext)
}

/// The 16 bytes before the first `-`.
fn iv_in_name(id: &BlobId) -> Result<[u8; 16], ContentError> {
    let digits = id.split('-').next().unwrap_or_default();
    let digits = digits.len().checked_sub(32).and_then(|start| digits.get(start..)).unwrap_or_default();
    let mut iv = [0; 16];
    match hex::decode_to_slice(digits, &mut iv) {
        Ok(()) => Ok(iv),
        Err(_) => Err(damaged(id, "its name holds no hash")),
    }
}

fn check_name(crypto: &Crypto, id: &BlobId, plaintext: &[u8]) -> Result<(), ContentError> {
    let hash = hex::encode(crypto.hasher.hash(plaintext).as_bytes());
    if id.split('-').next().is_some_and(|name| name.ends_with(&hash)) {
        return Ok(());
    }
    Err(damaged(id, "its name is not the hash of what it holds"))
}

fn undecryptable(id: &BlobId) -> ContentError {
    damaged(id, "it does not decrypt: it is damaged, cut off, or has another name")
}

fn damaged(id: &BlobId, why: &str) -> ContentError {
    ContentError::CorruptBlob { id: id.clone(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{FormatVersion, Parameters};

    fn crypto() -> Crypto {
        Crypto::new(&Parameters::new(FormatVersion::LATEST).unwrap()).unwrap()
    }

    proptest! {
        /// What was sealed opens under its name, and nothing else does, whatever the bytes and the name.
        #[test]
        fn only_what_was_sealed_opens(
            plaintext in prop::collection::vec(any::<u8>(), 0..300),
            suffix in prop::option::of("[a-z0-9-]{1,20}"),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
            cut in any::<prop::sample::Index>(),
            other_name in "[!-.0-~]{1,80}",
        ) {
            let crypto = crypto();
            let (id, stored) = seal(&crypto, "xn0_", suffix.as_deref(), &plaintext).unwrap();
            prop_assert_eq!(&open(&crypto, &id, &stored).unwrap(), &plaintext);
            let mut place = stored.clone();
            let range = open_in_place(&crypto, &id, &mut place).unwrap();
            prop_assert_eq!(&place[range], &plaintext);

            let mut damaged = stored.clone();
            damaged[at.index(stored.len())] ^= flip;
            let cut = stored[..cut.index(stored.len())].to_vec();
            let longer = [&stored[..], &[flip]].concat();
            for mut wrong in [damaged, cut, longer] {
                prop_assert!(open(&crypto, &id, &wrong).is_err());
                prop_assert!(open_in_place(&crypto, &id, &mut wrong).is_err());
            }
            let other = BlobId::new(&other_name).unwrap();
            prop_assert!(open(&crypto, &other, &stored).is_err());
        }
    }
}
