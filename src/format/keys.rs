//! Keys: from the password, and from other keys.
//!
//! ```text
//! password ── KeyDerivation (salt = unique id) ──► format key ──┬─ "AES", "CHECKSUM" ──► block key, block AAD
//!                                                               └─ (repositories without password change) ─┐
//! master key, secret (inside the format block) ─── "encryption" ──► content key secret                     │
//!                                             └─── "maintenance schedule", "local-cache-integrity" ◄───────┘
//! ```
//!
//! Every arrow but the first is HKDF-SHA256 (RFC 5869). The salt is the repository's unique id, except for the content
//! key secret: there the *salt* is `encryption` and the info is empty. Keys have 32 bytes, the local cache key 16.
//!
//! Secrets are overwritten when dropped and have no content in `Debug`. Copies that the algorithms make on their stacks
//! are not.
//!
//! Format page 02 §2.2.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::{hkdf, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::by_name;
use super::error::FormatError;

/// What a password derives to; opens the format block.
pub type FormatKey = Secret32;

/// A secret of 32 bytes, overwritten when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32([u8; 32]);

impl Secret32 {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn filled_by(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self([0; 32]);
        fill(&mut secret.0);
        secret
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(..)")
    }
}

/// A secret of any length, overwritten when dropped.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Fresh random bytes, for keys of a new repository.
    pub fn random(length: usize) -> Result<Self, FormatError> {
        let mut secret = Self(vec![0; length]);
        aws_lc_rs::rand::fill(&mut secret.0)
            .map_err(|_| FormatError::corrupt("random generator", "it gives no random bytes"))?;
        Ok(secret)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for SecretBytes {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(&self.0));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    /// Standard base64; nothing at all is an empty secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(Option::<String>::deserialize(deserializer)?.unwrap_or_default());
        STANDARD.decode(text.as_bytes()).map(Self).map_err(|_| serde::de::Error::custom("a key is not base64"))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// How the format key is made from the password (`keyAlgo` of `kopia.repository`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyDerivation {
    /// scrypt with N = 65536, r = 8, p = 1.
    #[default]
    Scrypt65536_8_1,
    /// PBKDF2-HMAC-SHA256 with 600,000 iterations.
    Pbkdf2Sha256_600000,
}

const PBKDF2_ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

impl KeyDerivation {
    pub const ALL: [Self; 2] = [Self::Scrypt65536_8_1, Self::Pbkdf2Sha256_600000];

    /// The shortest salt accepted, in bytes.
    pub const MIN_SALT_LENGTH: usize = 16;

    pub fn name(self) -> &'static str {
        match self {
            Self::Scrypt65536_8_1 => "scrypt-65536-8-1",
            Self::Pbkdf2Sha256_600000 => "pbkdf2-sha256-600000",
        }
    }

    /// The key that encrypts the format block. Deliberately slow (0.1 s) and, with scrypt, takes 64 MiB of memory.
    pub fn derive_format_key(self, password: &[u8], unique_id: &[u8]) -> Result<Secret32, FormatError> {
        let invalid = |detail: String| FormatError::InvalidKey { what: "password key derivation", detail };
        if unique_id.len() < Self::MIN_SALT_LENGTH {
            return Err(invalid(format!(
                "the repository's unique id has {} bytes, fewer than {}",
                unique_id.len(),
                Self::MIN_SALT_LENGTH
            )));
        }
        let mut key = Secret32([0; 32]);
        match self {
            Self::Scrypt65536_8_1 => {
                let parameters = scrypt::Params::new(16, 8, 1).map_err(|error| invalid(error.to_string()))?;
                scrypt::scrypt(password, unique_id, &parameters, &mut key.0)
                    .map_err(|error| invalid(error.to_string()))?;
            }
            Self::Pbkdf2Sha256_600000 => {
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, PBKDF2_ITERATIONS, unique_id, password, &mut key.0);
            }
        }
        Ok(key)
    }
}

impl FromStr for KeyDerivation {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        by_name("key derivation algorithm", &Self::ALL, Self::name, name)
    }
}

impl fmt::Display for KeyDerivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// HKDF-SHA256 (RFC 5869) of `length` bytes, of which it can give 8160 at most.
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], length: usize) -> Result<SecretBytes, FormatError> {
    let mut key = SecretBytes(vec![0; length]);
    fill_hkdf_sha256(ikm, salt, info, &mut key.0).map_err(|_| FormatError::InvalidKey {
        what: "HKDF-SHA256",
        detail: format!("cannot derive {length} bytes"),
    })?;
    Ok(key)
}

/// The key of the encrypted blocks `kopia.repository` and `kopia.blobcfg`.
pub fn block_key(format_key: &Secret32, unique_id: &[u8]) -> Secret32 {
    derive(format_key.as_bytes(), unique_id, b"AES")
}

/// The additional authenticated data of the same two blocks.
pub fn block_aad(format_key: &Secret32, unique_id: &[u8]) -> Secret32 {
    derive(format_key.as_bytes(), unique_id, b"CHECKSUM")
}

/// The secret from which the key of every content and index blob is made.
pub fn content_key_secret(master_key: &[u8]) -> Secret32 {
    derive(master_key, b"encryption", b"")
}

/// The key of the maintenance schedule. `key` is the master key, or the format key in repositories whose password
/// cannot change.
pub fn maintenance_key(key: &[u8], unique_id: &[u8]) -> Secret32 {
    derive(key, unique_id, b"maintenance schedule")
}

/// The key with which kopia checks its local cache files. `key` is the hash secret, or the format key in repositories
/// whose password cannot change.
pub fn local_cache_key(key: &[u8], unique_id: &[u8]) -> SecretBytes {
    let mut derived = SecretBytes(vec![0; 16]);
    fill_hkdf_sha256(key, unique_id, b"local-cache-integrity", &mut derived.0).expect("HKDF-SHA256 can give 16 bytes");
    derived
}

fn derive(ikm: &[u8], salt: &[u8], info: &[u8]) -> Secret32 {
    Secret32::filled_by(|key| fill_hkdf_sha256(ikm, salt, info, key).expect("HKDF-SHA256 can give 32 bytes"))
}

fn fill_hkdf_sha256(
    ikm: &[u8],
    salt: &[u8],
    info: &[u8],
    output: &mut [u8],
) -> Result<(), aws_lc_rs::error::Unspecified> {
    struct OutputLength(usize);
    impl hkdf::KeyType for OutputLength {
        fn len(&self) -> usize {
            self.0
        }
    }
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    key.expand(&[info], OutputLength(output.len()))?.fill(output)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::testdata::vectors;
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        hkdf: Vec<HkdfVector>,
        password_kdf: Vec<PasswordVector>,
    }

    #[derive(Deserialize)]
    struct HkdfVector {
        hash: String,
        ikm_hex: String,
        salt_hex: String,
        info_utf8: String,
        length: usize,
        key_hex: String,
    }

    #[derive(Deserialize)]
    struct PasswordVector {
        algorithm: String,
        password_utf8: String,
        salt_hex: String,
        key_hex: String,
    }

    #[test]
    fn password_vectors() {
        let vectors: Vectors = vectors::load("kdf.json");
        assert!(!vectors.password_kdf.is_empty());
        for v in vectors.password_kdf {
            let algorithm: KeyDerivation = v.algorithm.parse().unwrap();
            let salt = hex::decode(&v.salt_hex).unwrap();
            let key = algorithm.derive_format_key(v.password_utf8.as_bytes(), &salt).unwrap();
            assert_eq!(hex::encode(key.as_bytes()), v.key_hex, "{algorithm} {:?}", v.password_utf8);
        }
    }

    #[test]
    fn hkdf_vectors_and_purposes() {
        let vectors: Vectors = vectors::load("kdf.json");
        assert_eq!(vectors.hkdf.len(), 4);
        for v in vectors.hkdf {
            assert_eq!(v.hash, "SHA-256");
            let (ikm, salt) = (hex::decode(&v.ikm_hex).unwrap(), hex::decode(&v.salt_hex).unwrap());
            let key = hkdf_sha256(&ikm, &salt, v.info_utf8.as_bytes(), v.length).unwrap();
            assert_eq!(hex::encode(key.as_bytes()), v.key_hex, "{}", v.info_utf8);

            let format_key = Secret32::new(ikm.clone().try_into().unwrap());
            let named = match v.info_utf8.as_str() {
                "AES" => hex::encode(block_key(&format_key, &salt).as_bytes()),
                "CHECKSUM" => hex::encode(block_aad(&format_key, &salt).as_bytes()),
                "maintenance schedule" => hex::encode(maintenance_key(&ikm, &salt).as_bytes()),
                "local-cache-integrity" => hex::encode(local_cache_key(&ikm, &salt).as_bytes()),
                other => panic!("no purpose {other}"),
            };
            assert_eq!(named, v.key_hex);
        }
    }

    /// RFC 5869, test case 3: empty salt and info, more than one block of output.
    #[test]
    fn hkdf_without_salt_and_info() {
        let key = hkdf_sha256(&[0x0b; 22], b"", b"", 42).unwrap();
        assert_eq!(
            hex::encode(key.as_bytes()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
        assert!(hkdf_sha256(b"", b"", b"", 32).is_ok());
        assert!(hkdf_sha256(b"key", b"salt", b"", 255 * 32).is_ok());
        assert!(matches!(hkdf_sha256(b"key", b"salt", b"", 255 * 32 + 1), Err(FormatError::InvalidKey { .. })));
    }

    #[test]
    fn short_salts_are_refused() {
        for algorithm in KeyDerivation::ALL {
            let error = algorithm.derive_format_key(b"password", &[7; 15]).unwrap_err();
            assert!(matches!(error, FormatError::InvalidKey { .. }), "{error}");
        }
    }

    #[test]
    fn names() {
        for algorithm in KeyDerivation::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        let error = "scrypt-1-1-1".parse::<KeyDerivation>().unwrap_err();
        assert_eq!(error.to_string(), "unknown key derivation algorithm \"scrypt-1-1-1\"");
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        assert_eq!(format!("{:?}", Secret32::new([65; 32])), "Secret32(..)");
        assert_eq!(format!("{:?}", SecretBytes::new(vec![65; 3])), "SecretBytes(..)");
    }
}
