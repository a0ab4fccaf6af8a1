//! The repository format: everything that turns bytes into stored bytes and back.
//!
//! A content goes through this layer in one direction:
//!
//! ```text
//! object bytes ── splitter ──► chunks ── hashing ──► digest = content id
//!                                │                     │
//!                                └─ compression ──► encryption (key and IV from the digest) ──► stored bytes
//! ```
//!
//! and back from stored bytes through `encryption` and `compression`. `keys` makes every key: from the password the
//! format key, and from it, or from the master key inside the format block, the keys for each purpose.
//!
//! The algorithms are closed sets fixed by the format, so they are enums, and their names are exactly the strings that
//! kopia writes. Nothing here does I/O or waits; all of it may run on any thread.

mod blobcfg;
mod block;
mod compression;
mod encryption;
mod error;
mod hashing;
pub mod keys;
mod parameters;
mod replica;
mod s2;
mod splitter;

#[cfg(any(test, feature = "testing"))]
pub mod testdata;

pub use blobcfg::{BLOB as BLOB_CONFIG_BLOB, BlobConfig};
pub use block::{BLOB as FORMAT_BLOB, FormatBlock};
pub use compression::{CompressionAlgorithm, Compressor, Length, decompress, gunzip};
pub use encryption::{Cipher, EncryptionAlgorithm, MAINTENANCE_AAD, NONCE_LEN, OVERHEAD, open_block, seal_block};
pub use error::{AuthenticationFailed, FormatError};
pub use hashing::{Digest, HashAlgorithm, Hasher, MAX_DIGEST_LENGTH};
pub use keys::{FormatKey, KeyDerivation, Secret32, SecretBytes};
pub use parameters::{EpochParameters, FormatVersion, MAX_PACK_SIZES, Parameters, RequiredFeature, UpgradeLock};
pub use replica::replica;
pub use splitter::SplitterAlgorithm;

/// What turns a content into stored bytes and back.
#[derive(Debug)]
pub struct Crypto {
    pub hasher: Hasher,
    pub cipher: Cipher,
}

impl Crypto {
    pub fn new(parameters: &Parameters) -> Result<Self, FormatError> {
        Ok(Self {
            hasher: Hasher::new(parameters.hash, parameters.secret.as_bytes())?,
            cipher: Cipher::new(parameters.encryption, parameters.master_key.as_bytes()),
        })
    }
}

/// Bytes as standard base64 in JSON.
mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// The member of a closed set with the given name.
fn by_name<T: Copy>(
    what: &'static str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    name: &str,
) -> Result<T, FormatError> {
    all.iter().copied().find(|&member| name_of(member) == name).ok_or_else(|| FormatError::unknown(what, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_can_share_what_they_need() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<Hasher>();
        shared::<Cipher>();
        sent::<Compressor>();
    }
}
