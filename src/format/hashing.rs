//! Hashing: from the bytes of a content to its name.
//!
//! The hash of a content is taken over its uncompressed plaintext, without the prefix letter, and keyed with the
//! repository's `secret` (normally 32 bytes). Digests have 16, 28 or 32 bytes. Names ending in `-128` are the longer
//! hash cut to 16 bytes, except `BLAKE2S-128`, which is BLAKE2s with that output size.
//!
//! Which secrets an algorithm takes is part of the format: BLAKE2b up to 64 bytes, BLAKE2s up to 32 (and `BLAKE2S-128`
//! at least one); an empty secret means no key. BLAKE3 takes its key from the first 32 bytes, or derives it from fewer.
//! HMAC takes any length.
//!
//! Format page 03 §3.1.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use ::hmac::{KeyInit, Mac, SimpleHmac};
use aws_lc_rs::hmac;
use sha3::{Sha3_224, Sha3_256};

use super::by_name;
use super::error::FormatError;
use super::keys::{Secret32, SecretBytes};

/// The `hash` of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HashAlgorithm {
    #[default]
    Blake2b256_128,
    Blake2b256,
    Blake2s256,
    Blake2s128,
    Blake3_256,
    Blake3_256_128,
    HmacSha256,
    HmacSha256_128,
    HmacSha224,
    HmacSha3_224,
    HmacSha3_256,
}

impl HashAlgorithm {
    pub const ALL: [Self; 11] = [
        Self::Blake2b256_128,
        Self::Blake2b256,
        Self::Blake2s256,
        Self::Blake2s128,
        Self::Blake3_256,
        Self::Blake3_256_128,
        Self::HmacSha256,
        Self::HmacSha256_128,
        Self::HmacSha224,
        Self::HmacSha3_224,
        Self::HmacSha3_256,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Blake2b256_128 => "BLAKE2B-256-128",
            Self::Blake2b256 => "BLAKE2B-256",
            Self::Blake2s256 => "BLAKE2S-256",
            Self::Blake2s128 => "BLAKE2S-128",
            Self::Blake3_256 => "BLAKE3-256",
            Self::Blake3_256_128 => "BLAKE3-256-128",
            Self::HmacSha256 => "HMAC-SHA256",
            Self::HmacSha256_128 => "HMAC-SHA256-128",
            Self::HmacSha224 => "HMAC-SHA224",
            Self::HmacSha3_224 => "HMAC-SHA3-224",
            Self::HmacSha3_256 => "HMAC-SHA3-256",
        }
    }

    /// The number of bytes in a digest.
    pub fn digest_length(self) -> usize {
        match self {
            Self::Blake2b256_128 | Self::Blake2s128 | Self::Blake3_256_128 | Self::HmacSha256_128 => 16,
            Self::HmacSha224 | Self::HmacSha3_224 => 28,
            Self::Blake2b256 | Self::Blake2s256 | Self::Blake3_256 | Self::HmacSha256 | Self::HmacSha3_256 => 32,
        }
    }
}

impl FromStr for HashAlgorithm {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        by_name("hash algorithm", &Self::ALL, Self::name, name)
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bytes of the longest digest.
pub const MAX_DIGEST_LENGTH: usize = 32;

/// The hash of a content: 16, 28 or 32 bytes. Ordered as its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    // Bytes past `length` are zero, so comparing the fields in this order compares the digests.
    bytes: [u8; MAX_DIGEST_LENGTH],
    length: u8,
}

impl Digest {
    /// The first `length` bytes of `hash`, which has at least that many.
    fn truncated(hash: &[u8], length: usize) -> Self {
        let mut digest = Self { bytes: [0; 32], length: 0 };
        for (to, from) in digest.bytes.iter_mut().zip(hash).take(length) {
            *to = *from;
            digest.length += 1;
        }
        digest
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }

    /// The bytes with zeros after them, and how many they are.
    pub(crate) fn padded(&self) -> ([u8; MAX_DIGEST_LENGTH], u8) {
        (self.bytes, self.length)
    }

    /// The last 16 bytes: the IV under which the content itself is encrypted.
    pub fn iv(&self) -> [u8; 16] {
        self.as_bytes().last_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

/// Computes digests with one algorithm and one secret. Cheap to share between threads.
pub struct Hasher {
    algorithm: HashAlgorithm,
    key: Key,
}

enum Key {
    Blake2b(SecretBytes),
    Blake2s { key: SecretBytes, output_length: usize },
    Blake3(Secret32),
    // The library clears it.
    HmacSha2(Box<hmac::Key>),
    HmacSha3_224(SecretBytes),
    HmacSha3_256(SecretBytes),
}

impl Hasher {
    /// Fails when the algorithm does not take a secret of this length.
    pub fn new(algorithm: HashAlgorithm, secret: &[u8]) -> Result<Self, FormatError> {
        let invalid = |detail| FormatError::InvalidKey { what: algorithm.name(), detail };
        let at_most = |longest| match secret.len() {
            length if length > longest => {
                Err(invalid(format!("the repository's secret has {length} bytes, more than {longest}")))
            }
            _ => Ok(SecretBytes::new(secret.to_vec())),
        };
        let key = match algorithm {
            HashAlgorithm::Blake2b256 | HashAlgorithm::Blake2b256_128 => Key::Blake2b(at_most(64)?),
            HashAlgorithm::Blake2s256 => Key::Blake2s { key: at_most(32)?, output_length: 32 },
            HashAlgorithm::Blake2s128 if secret.is_empty() => {
                return Err(invalid("the repository's secret is empty".to_owned()));
            }
            HashAlgorithm::Blake2s128 => Key::Blake2s { key: at_most(32)?, output_length: 16 },
            HashAlgorithm::Blake3_256 | HashAlgorithm::Blake3_256_128 => {
                Key::Blake3(Secret32::new(match secret.first_chunk::<32>() {
                    Some(key) => *key,
                    None => blake3::derive_key("kopia blake3 derived key v1", secret),
                }))
            }
            HashAlgorithm::HmacSha256 | HashAlgorithm::HmacSha256_128 => {
                Key::HmacSha2(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
            }
            HashAlgorithm::HmacSha224 => Key::HmacSha2(Box::new(hmac::Key::new(hmac::HMAC_SHA224, secret))),
            HashAlgorithm::HmacSha3_224 => Key::HmacSha3_224(SecretBytes::new(secret.to_vec())),
            HashAlgorithm::HmacSha3_256 => Key::HmacSha3_256(SecretBytes::new(secret.to_vec())),
        };
        Ok(Self { algorithm, key })
    }

    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    pub fn hash(&self, data: &[u8]) -> Digest {
        match &self.key {
            Key::Blake2b(key) => self.digest(blake2b(key).hash(data).as_bytes()),
            Key::Blake2s { key, output_length } => self.digest(blake2s(key, *output_length).hash(data).as_bytes()),
            Key::Blake3(key) => self.digest(blake3::keyed_hash(key.as_bytes(), data).as_bytes()),
            Key::HmacSha2(key) => self.digest(hmac::sign(key, data).as_ref()),
            Key::HmacSha3_224(key) => self.digest(&hmac_sha3::<SimpleHmac<Sha3_224>>(key, data)),
            Key::HmacSha3_256(key) => self.digest(&hmac_sha3::<SimpleHmac<Sha3_256>>(key, data)),
        }
    }

    /// How many inputs [`Hasher::hash_many`] should be given at a time.
    pub fn lanes(&self) -> usize {
        match self.key {
            Key::Blake2b(_) | Key::Blake2s { .. } => 4,
            Key::Blake3(_) | Key::HmacSha2(_) | Key::HmacSha3_224(_) | Key::HmacSha3_256(_) => 1,
        }
    }

    /// The digests of several inputs, in their order; equal to calling [`Hasher::hash`] for each. BLAKE2 hashes several
    /// inputs at once in the lanes of the vector unit, so one core gets through four BLAKE2b inputs of about equal
    /// length in less than half the time; the other algorithms gain nothing.
    pub fn hash_many(&self, inputs: &[&[u8]]) -> Vec<Digest> {
        // Lanes stay filled to the end when the long inputs start first.
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|&i| Reverse(inputs[i].len()));
        let mut digests = vec![self.digest(&[]); inputs.len()];
        match &self.key {
            Key::Blake2b(key) => {
                use blake2b_simd::many::{HashManyJob, hash_many};
                let parameters = blake2b(key);
                let mut jobs: Vec<_> = order.iter().map(|&i| HashManyJob::new(&parameters, inputs[i])).collect();
                hash_many(&mut jobs);
                for (&i, job) in order.iter().zip(&jobs) {
                    digests[i] = self.digest(job.to_hash().as_bytes());
                }
            }
            Key::Blake2s { key, output_length } => {
                use blake2s_simd::many::{HashManyJob, hash_many};
                let parameters = blake2s(key, *output_length);
                let mut jobs: Vec<_> = order.iter().map(|&i| HashManyJob::new(&parameters, inputs[i])).collect();
                hash_many(&mut jobs);
                for (&i, job) in order.iter().zip(&jobs) {
                    digests[i] = self.digest(job.to_hash().as_bytes());
                }
            }
            Key::Blake3(_) | Key::HmacSha2(_) | Key::HmacSha3_224(_) | Key::HmacSha3_256(_) => {
                return inputs.iter().map(|input| self.hash(input)).collect();
            }
        }
        digests
    }

    fn digest(&self, hash: &[u8]) -> Digest {
        Digest::truncated(hash, self.algorithm.digest_length())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

// BLAKE2's parameters contain the key and do not clear it, so they are made anew for each use.

fn blake2b(key: &SecretBytes) -> blake2b_simd::Params {
    let mut parameters = blake2b_simd::Params::new();
    parameters.hash_length(32).key(key.as_bytes());
    parameters
}

fn blake2s(key: &SecretBytes, output_length: usize) -> blake2s_simd::Params {
    let mut parameters = blake2s_simd::Params::new();
    parameters.hash_length(output_length).key(key.as_bytes());
    parameters
}

fn hmac_sha3<M: Mac + KeyInit>(key: &SecretBytes, data: &[u8]) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::testdata::{self, vectors};
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        default: String,
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        algorithm: String,
        secret_hex: String,
        #[serde(default)]
        error: bool,
        input: Option<String>,
        hash_hex: Option<String>,
    }

    #[test]
    fn vectors_of_every_algorithm() {
        let vectors: Vectors = vectors::load("hashes.json");
        assert_eq!(vectors.default, HashAlgorithm::default().name());
        let (mut hashed, mut refused) = (0, 0);
        for v in vectors.vectors {
            let algorithm: HashAlgorithm = v.algorithm.parse().unwrap();
            let secret = hex::decode(&v.secret_hex).unwrap();
            let hasher = Hasher::new(algorithm, &secret);
            if v.error {
                assert!(matches!(hasher, Err(FormatError::InvalidKey { .. })), "{algorithm} {}", v.secret_hex);
                refused += 1;
                continue;
            }
            let input = testdata::generate(&v.input.unwrap()).unwrap();
            let digest = hasher.unwrap().hash(&input);
            assert_eq!(format!("{digest:?}"), v.hash_hex.unwrap(), "{algorithm} {}", v.secret_hex);
            assert_eq!(digest.as_bytes().len(), algorithm.digest_length());
            assert_eq!(digest.iv(), digest.as_bytes()[algorithm.digest_length() - 16..]);
            hashed += 1;
        }
        assert_eq!((hashed, refused), (192, 7));
    }

    #[test]
    fn names() {
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        for name in ["", "blake2b-256", "HMAC-RIPEMD-160", "BLAKE2B-256 "] {
            assert_eq!(name.parse::<HashAlgorithm>(), Err(FormatError::unknown("hash algorithm", name)));
        }
    }

    #[test]
    fn digests_are_ordered_as_their_bytes() {
        let digest = |bytes: &[u8]| Digest::truncated(bytes, bytes.len());
        assert!(digest(&[1; 16]) < digest(&[1; 28]));
        assert!(digest(&[1; 32]) < digest(&[2; 16]));
        assert_eq!(format!("{:?}", digest(&[0xab; 16])), "ab".repeat(16));
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let hasher = Hasher::new(HashAlgorithm::Blake2b256, b"secret").unwrap();
        assert_eq!(format!("{hasher:?}"), "Hasher { algorithm: Blake2b256, .. }");
    }

    proptest! {
        #[test]
        fn hashing_many_equals_hashing_each(
            algorithm in prop::sample::select(&HashAlgorithm::ALL[..]),
            secret in prop::collection::vec(any::<u8>(), 1..32),
            // Around BLAKE2's block sizes, and empty inputs among longer ones.
            lengths in prop::collection::vec(
                prop_oneof![Just(0usize), 0usize..300, Just(64), Just(128), Just(256), 0usize..5000], 0..20),
        ) {
            let hasher = Hasher::new(algorithm, &secret).unwrap();
            let inputs: Vec<Vec<u8>> =
                (0u64..).zip(&lengths).map(|(seed, length)| testdata::splitmix(seed, *length)).collect();
            let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            let each: Vec<Digest> = inputs.iter().map(|input| hasher.hash(input)).collect();
            prop_assert_eq!(hasher.hash_many(&inputs), each);
        }
    }
}
