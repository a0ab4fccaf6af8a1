//! Encryption of contents and blobs: authenticated, each item with a key of its own.
//!
//! ```text
//! content key secret = HKDF-SHA256(master key, salt "encryption")        32 bytes, see `keys`
//! item key           = HMAC-SHA256(content key secret, IV)               32 bytes
//! stored             = nonce (12, random) ‖ ciphertext ‖ tag (16)        AEAD with the IV as additional data
//! ```
//!
//! The IV names the item: the last 16 bytes of a content's digest; the 16 bytes before the `-` of an index blob's name;
//! the whole digest of a pack's local index. So an item moved under another name fails to open. One IV may be sealed any
//! number of times, since the nonce is random. Sealing panics when the system has no random numbers to give.
//!
//! The blobs outside this scheme (`kopia.repository`, `kopia.blobcfg`, `kopia.maintenance`) are *encrypted blocks*: the
//! same layout, AES-256-GCM, with a key and additional data given by `keys`.
//!
//! Format pages 03 §3.2, 02 §2.2 and 09 §9.1.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

pub use aws_lc_rs::aead::NONCE_LEN;
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};

use super::by_name;
use super::error::{AuthenticationFailed, FormatError};
use super::keys::{Secret32, content_key_secret};

const TAG_LENGTH: usize = 16;
const SHORT_ENOUGH: &str = "an item is shorter than 64 GiB, the most that one nonce can encrypt";

/// How much longer stored bytes are than the plaintext.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LENGTH;

/// The additional data of the encrypted block `kopia.maintenance`.
pub const MAINTENANCE_AAD: &[u8] = b"maintenance";

/// The `encryption` of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EncryptionAlgorithm {
    #[default]
    Aes256GcmHmacSha256,
    ChaCha20Poly1305HmacSha256,
}

impl EncryptionAlgorithm {
    pub const ALL: [Self; 2] = [Self::Aes256GcmHmacSha256, Self::ChaCha20Poly1305HmacSha256];

    /// The algorithms of kopia's early versions.
    const REMOVED: [&str; 8] =
        ["NONE", "AES-128-CTR", "AES-192-CTR", "AES-256-CTR", "SALSA20", "SALSA20-HMAC", "XSALSA20", "XSALSA20-HMAC"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256GcmHmacSha256 => "AES256-GCM-HMAC-SHA256",
            Self::ChaCha20Poly1305HmacSha256 => "CHACHA20-POLY1305-HMAC-SHA256",
        }
    }

    fn item_key(self, key: &Secret32) -> LessSafeKey {
        let algorithm = match self {
            Self::Aes256GcmHmacSha256 => &AES_256_GCM,
            Self::ChaCha20Poly1305HmacSha256 => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, key.as_bytes()).expect("both algorithms take keys of 32 bytes"))
    }
}

impl FromStr for EncryptionAlgorithm {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        const WHAT: &str = "encryption algorithm";
        if Self::REMOVED.contains(&name) {
            return Err(FormatError::Removed {
                what: WHAT,
                name: name.to_owned(),
                advice: "current versions of kopia do not read it either; restore with the version that wrote it",
            });
        }
        by_name(WHAT, &Self::ALL, Self::name, name)
    }
}

impl fmt::Display for EncryptionAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Seals and opens the contents and index blobs of one repository.
pub struct Cipher {
    algorithm: EncryptionAlgorithm,
    // The library clears it.
    content_key_secret: hmac::Key,
}

impl Cipher {
    pub fn new(algorithm: EncryptionAlgorithm, master_key: &[u8]) -> Self {
        let secret = content_key_secret(master_key);
        Self { algorithm, content_key_secret: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) }
    }

    pub fn algorithm(&self) -> EncryptionAlgorithm {
        self.algorithm
    }

    /// The stored form of `plaintext`, [`OVERHEAD`] bytes longer; `iv` is the item's name.
    pub fn seal(&self, iv: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut stored = vec![0; plaintext.len() + OVERHEAD];
        seal_into(&self.item_key(iv), random_nonce(), iv, plaintext, &mut stored);
        stored
    }

    /// The same in the place of the plaintext, which lies in `item` after [`NONCE_LEN`] bytes of any value.
    pub fn seal_in_place(&self, iv: &[u8], item: &mut Vec<u8>) {
        item.resize(item.len().max(NONCE_LEN), 0);
        let nonce = random_nonce();
        let (nonce_part, plaintext) = item.split_at_mut(NONCE_LEN);
        nonce_part.copy_from_slice(&nonce);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.item_key(iv).seal_in_place_separate_tag(nonce, Aad::from(iv), plaintext).expect(SHORT_ENOUGH);
        item.extend_from_slice(tag.as_ref());
    }

    /// The plaintext of what was sealed under the same `iv`.
    pub fn open(&self, iv: &[u8], stored: &[u8]) -> Result<Vec<u8>, AuthenticationFailed> {
        open(&self.item_key(iv), iv, stored)
    }

    /// The same in the place of `stored`; the plaintext is then in the range given back.
    pub fn open_in_place(&self, iv: &[u8], stored: &mut [u8]) -> Result<Range<usize>, AuthenticationFailed> {
        let (nonce, rest) = stored.split_first_chunk_mut::<NONCE_LEN>().ok_or(AuthenticationFailed)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plaintext =
            self.item_key(iv).open_in_place(nonce, Aad::from(iv), rest).map_err(|_| AuthenticationFailed)?;
        Ok(NONCE_LEN..NONCE_LEN + plaintext.len())
    }

    fn item_key(&self, iv: &[u8]) -> LessSafeKey {
        let key = Secret32::filled_by(|key| {
            hmac::sign_to_buffer(&self.content_key_secret, iv, key).expect("HMAC-SHA256 gives 32 bytes");
        });
        self.algorithm.item_key(&key)
    }

    #[cfg(test)]
    pub(crate) fn seal_with_nonce(&self, iv: &[u8], nonce: [u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
        let mut stored = vec![0; plaintext.len() + OVERHEAD];
        seal_into(&self.item_key(iv), nonce, iv, plaintext, &mut stored);
        stored
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The stored form of an encrypted block.
pub fn seal_block(key: &Secret32, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    seal_block_with_nonce(key, aad, random_nonce(), plaintext)
}

/// The plaintext of an encrypted block.
pub fn open_block(key: &Secret32, aad: &[u8], stored: &[u8]) -> Result<Vec<u8>, AuthenticationFailed> {
    open(&EncryptionAlgorithm::Aes256GcmHmacSha256.item_key(key), aad, stored)
}

/// Only tests give the nonce themselves, to reproduce known bytes: no two items under one key may share one.
pub(crate) fn seal_block_with_nonce(key: &Secret32, aad: &[u8], nonce: [u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
    let mut stored = vec![0; plaintext.len() + OVERHEAD];
    seal_into(&EncryptionAlgorithm::Aes256GcmHmacSha256.item_key(key), nonce, aad, plaintext, &mut stored);
    stored
}

fn random_nonce() -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).expect("the system's random generator works");
    nonce
}

/// Fills `stored`, which is [`OVERHEAD`] bytes longer than `plaintext`.
fn seal_into(key: &LessSafeKey, nonce: [u8; NONCE_LEN], aad: &[u8], plaintext: &[u8], stored: &mut [u8]) {
    let (nonce_part, rest) = stored.split_at_mut(NONCE_LEN);
    nonce_part.copy_from_slice(&nonce);
    let (ciphertext, tag) = rest.split_at_mut(plaintext.len());
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], tag).expect(SHORT_ENOUGH);
}

fn open(key: &LessSafeKey, aad: &[u8], stored: &[u8]) -> Result<Vec<u8>, AuthenticationFailed> {
    let (nonce, rest) = stored.split_first_chunk::<NONCE_LEN>().ok_or(AuthenticationFailed)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LENGTH>().ok_or(AuthenticationFailed)?;
    let mut plaintext = vec![0; ciphertext.len()];
    let nonce = Nonce::assume_unique_for_key(*nonce);
    key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, &mut plaintext)
        .map_err(|_| AuthenticationFailed)?;
    Ok(plaintext)
}

#[cfg(test)]
mod tests;
