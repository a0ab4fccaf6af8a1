use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key};
use base64::prelude::{BASE64_STANDARD, Engine};
use proptest::prelude::*;
use serde::Deserialize;

use super::super::keys::{KeyDerivation, block_aad, block_key, maintenance_key};
use super::super::testdata::{self, vectors};
use super::*;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    algorithm: String,
    content_iv_hex: String,
    master_key_hex: String,
    nonce_hex: String,
    plaintext_hex: String,
    stored_hex: String,
    overhead: usize,
}

#[test]
fn content_vectors() {
    let vectors: Vectors = vectors::load("encryption.json");
    assert_eq!(vectors.vectors.len(), 6);
    for v in vectors.vectors {
        let cipher = Cipher::new(v.algorithm.parse().unwrap(), &hex::decode(v.master_key_hex).unwrap());
        let iv = hex::decode(v.content_iv_hex).unwrap();
        let nonce = hex::decode(v.nonce_hex).unwrap().try_into().unwrap();
        let plaintext = hex::decode(v.plaintext_hex).unwrap();
        assert_eq!(hex::encode(cipher.seal_with_nonce(&iv, nonce, &plaintext)), v.stored_hex);
        assert_eq!(cipher.open(&iv, &hex::decode(v.stored_hex).unwrap()), Ok(plaintext));
        assert_eq!(v.overhead, OVERHEAD);
    }
}

#[derive(Deserialize)]
struct FormatBlockVector {
    fixture: String,
    password: String,
    kopia_repository_blob_utf8: String,
    unique_id_hex: String,
    format_key_hex: String,
    aes_key_hex: String,
    aad_hex: String,
    nonce_hex: String,
    inner_json_utf8: String,
    blobcfg_stored_hex: Option<String>,
    blobcfg_json_utf8: Option<String>,
    content_kds_hex: String,
}

#[test]
fn format_block_vectors() {
    let vectors: Vec<FormatBlockVector> = vectors::load("format_block.json");
    assert!(!vectors.is_empty());
    for v in vectors {
        let outer: serde_json::Value = serde_json::from_str(&v.kopia_repository_blob_utf8).unwrap();
        let key_derivation: KeyDerivation = outer["keyAlgo"].as_str().unwrap().parse().unwrap();
        let unique_id = hex::decode(&v.unique_id_hex).unwrap();
        let format_key = key_derivation.derive_format_key(v.password.as_bytes(), &unique_id).unwrap();
        assert_eq!(hex::encode(format_key.as_bytes()), v.format_key_hex);
        let key = block_key(&format_key, &unique_id);
        assert_eq!(hex::encode(key.as_bytes()), v.aes_key_hex);
        let aad = block_aad(&format_key, &unique_id);
        assert_eq!(hex::encode(aad.as_bytes()), v.aad_hex);

        let stored = BASE64_STANDARD.decode(outer["encryptedBlockFormat"].as_str().unwrap()).unwrap();
        let plaintext = open_block(&key, aad.as_bytes(), &stored).unwrap();
        assert_eq!(String::from_utf8(plaintext.clone()).unwrap(), v.inner_json_utf8);
        let nonce = hex::decode(&v.nonce_hex).unwrap().try_into().unwrap();
        assert_eq!(seal_block_with_nonce(&key, aad.as_bytes(), nonce, &plaintext), stored);
        assert_eq!(open_block(&key, MAINTENANCE_AAD, &stored), Err(AuthenticationFailed));

        let inner: serde_json::Value = serde_json::from_str(&v.inner_json_utf8).unwrap();
        let master_key = BASE64_STANDARD.decode(inner["format"]["masterKey"].as_str().unwrap()).unwrap();
        assert_eq!(hex::encode(content_key_secret(&master_key).as_bytes()), v.content_kds_hex);
        if let (Some(stored), Some(json)) = (v.blobcfg_stored_hex, v.blobcfg_json_utf8) {
            let plaintext = open_block(&key, aad.as_bytes(), &hex::decode(stored).unwrap());
            assert_eq!(plaintext, Ok(json.into_bytes()));
        }
    }
}

#[derive(Deserialize)]
struct MaintenanceVector {
    fixture: String,
    key_hex: String,
    stored_hex: String,
    json_keys: Vec<String>,
    runs: Vec<String>,
}

#[test]
fn maintenance_vectors() {
    let vectors: Vec<MaintenanceVector> = vectors::load("maintenance_blob.json");
    let blocks: Vec<FormatBlockVector> = vectors::load("format_block.json");
    assert_eq!(vectors.len(), 3);
    for v in vectors {
        let block = blocks.iter().find(|block| block.fixture == v.fixture).unwrap();
        let inner: serde_json::Value = serde_json::from_str(&block.inner_json_utf8).unwrap();
        // Where the password cannot change, the key comes from the password alone.
        let from = match inner["format"]["enablePasswordChange"].as_bool().unwrap() {
            true => BASE64_STANDARD.decode(inner["format"]["masterKey"].as_str().unwrap()).unwrap(),
            false => hex::decode(&block.format_key_hex).unwrap(),
        };
        let key = maintenance_key(&from, &hex::decode(&block.unique_id_hex).unwrap());
        assert_eq!(hex::encode(key.as_bytes()), v.key_hex);

        let stored = hex::decode(v.stored_hex).unwrap();
        let plaintext = open_block(&key, MAINTENANCE_AAD, &stored).unwrap();
        let nonce = *stored.first_chunk().unwrap();
        assert_eq!(seal_block_with_nonce(&key, MAINTENANCE_AAD, nonce, &plaintext), stored);
        let json: serde_json::Value = serde_json::from_slice(&plaintext).unwrap();
        let keys = |object: &serde_json::Value| {
            let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!((keys(&json), keys(&json["runs"])), (v.json_keys, v.runs));
    }
}

#[test]
fn names() {
    for algorithm in EncryptionAlgorithm::ALL {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
    }
    for name in EncryptionAlgorithm::REMOVED {
        let error = name.parse::<EncryptionAlgorithm>().unwrap_err();
        assert!(matches!(error, FormatError::Removed { .. }) && error.to_string().contains(name), "{error}");
    }
    let error = "ROT13".parse::<EncryptionAlgorithm>();
    assert_eq!(error, Err(FormatError::unknown("encryption algorithm", "ROT13")));
}

#[test]
fn anything_altered_is_refused() {
    for algorithm in EncryptionAlgorithm::ALL {
        let cipher = Cipher::new(algorithm, b"master key");
        let iv = [7; 16];
        let stored = cipher.seal(&iv, b"plaintext");
        for i in 0..stored.len() {
            let mut altered = stored.clone();
            altered[i] ^= 1;
            assert_eq!(cipher.open(&iv, &altered), Err(AuthenticationFailed), "byte {i}");
            assert_eq!(cipher.open(&iv, &stored[..i]), Err(AuthenticationFailed), "cut at {i}");
        }
        assert_eq!(cipher.open(&[8; 16], &stored), Err(AuthenticationFailed));
        let other = Cipher::new(algorithm, b"another master key");
        assert_eq!(other.open(&iv, &stored), Err(AuthenticationFailed));
        assert_ne!(cipher.seal(&iv, b"plaintext"), stored, "nonces are random");
    }
}

#[test]
fn secrets_do_not_show_in_debug() {
    let cipher = Cipher::new(EncryptionAlgorithm::default(), b"master key");
    assert_eq!(format!("{cipher:?}"), "Cipher { algorithm: Aes256GcmHmacSha256, .. }");
}

proptest! {
    #[test]
    fn sealed_bytes_open_again(
        algorithm in prop::sample::select(&EncryptionAlgorithm::ALL[..]),
        iv in prop::sample::select(&[16usize, 28, 32][..]).prop_map(|n| testdata::splitmix(1, n)),
        plaintext in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let cipher = Cipher::new(algorithm, b"master key");
        let stored = cipher.seal(&iv, &plaintext);
        prop_assert_eq!(stored.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(cipher.open(&iv, &stored).unwrap(), &plaintext[..]);

        let mut in_place = [&[9; NONCE_LEN][..], &plaintext].concat();
        cipher.seal_in_place(&iv, &mut in_place);
        prop_assert_eq!(cipher.open(&iv, &in_place).unwrap(), &plaintext[..]);
    }

    /// Another implementation of AES-256-GCM agrees, in both directions.
    #[test]
    fn an_independent_implementation_agrees(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..40),
        plaintext in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let other = Aes256Gcm::new(&Key::<Aes256Gcm>::from(key));
        let sealed = other.encrypt(&nonce.into(), Payload { msg: &plaintext, aad: &aad }).unwrap();
        let stored = seal_block_with_nonce(&Secret32::new(key), &aad, nonce, &plaintext);
        prop_assert_eq!(&stored[..12], &nonce[..]);
        prop_assert_eq!(&stored[12..], &sealed[..]);
        prop_assert_eq!(open_block(&Secret32::new(key), &aad, &stored).unwrap(), plaintext);
    }
}
