//! `kopia.repository`, the blob that makes a repository one (format page 02 §2.1, 2.2).
//!
//! ```json
//! {
//!   "tool": "…", "buildVersion": "…", "buildInfo": "…",
//!   "uniqueID": "base64 of 32 random bytes, salt of everything, never changes",
//!   "keyAlgo": "scrypt-65536-8-1",
//!   "encryption": "AES256_GCM",
//!   "encryptedBlockFormat": "base64 of nonce (12), ciphertext, tag (16)"
//! }
//! ```
//!
//! The password gives the *format key*; the format key opens the [`Parameters`], which hold all other keys. With
//! the same key and additional data `kopia.blobcfg` is encrypted.

use serde::{Deserialize, Serialize};

use super::blobcfg::{BLOB as BLOB_CONFIG, BlobConfig};
use super::encryption::{open_block, seal_block};
use super::keys::{FormatKey, KeyDerivation, SecretBytes, block_aad, block_key};
use super::{FormatError, Parameters, base64_bytes};

/// The blob's name.
pub const BLOB: &str = "kopia.repository";

const ENCRYPTION: &str = "AES256_GCM";
const TOOL: &str = "https://github.com/kopia/kopia";

/// The blob, still locked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormatBlock {
    #[serde(default)]
    tool: String,
    #[serde(default)]
    build_version: String,
    #[serde(default)]
    build_info: String,
    #[serde(rename = "uniqueID", with = "base64_bytes")]
    unique_id: Vec<u8>,
    key_algo: String,
    encryption: String,
    #[serde(with = "base64_bytes")]
    encrypted_block_format: Vec<u8>,
}

impl FormatBlock {
    pub fn parse(blob: &[u8]) -> Result<Self, FormatError> {
        let block: Self = serde_json::from_slice(blob)
            .map_err(|e| FormatError::Corrupt { what: BLOB, detail: format!("not a format block: {e}") })?;
        if block.unique_id.len() < 16 {
            return Err(FormatError::Corrupt { what: BLOB, detail: "uniqueID is too short".to_owned() });
        }
        if block.encryption != ENCRYPTION {
            return Err(FormatError::Unknown { what: "encryption of the format block", name: block.encryption });
        }
        Ok(block)
    }

    /// The blob's bytes.
    pub fn to_blob(&self) -> Result<Vec<u8>, FormatError> {
        let mut blob =
            serde_json::to_vec_pretty(self).map_err(|e| FormatError::Corrupt { what: BLOB, detail: e.to_string() })?;
        blob.push(b'\n');
        Ok(blob)
    }

    /// Encrypts the parameters of a new repository.
    pub fn seal(
        parameters: &Parameters,
        unique_id: Vec<u8>,
        derivation: KeyDerivation,
        key: &FormatKey,
    ) -> Result<Self, FormatError> {
        let encrypted_block_format = seal(key, &unique_id, &parameters.to_json()?);
        Ok(Self {
            tool: TOOL.to_owned(),
            build_version: format!("larder {}", env!("CARGO_PKG_VERSION")),
            build_info: String::new(),
            unique_id,
            key_algo: derivation.name().to_owned(),
            encryption: ENCRYPTION.to_owned(),
            encrypted_block_format,
        })
    }

    pub fn unique_id(&self) -> &[u8] {
        &self.unique_id
    }

    /// Takes a fraction of a second, by design.
    pub fn derive_key(&self, password: &[u8]) -> Result<FormatKey, FormatError> {
        let derivation: KeyDerivation = self.key_algo.parse()?;
        derivation.derive_format_key(password, &self.unique_id)
    }

    /// Opens the parameters, and refuses those this program does not understand.
    pub fn open(&self, key: &FormatKey) -> Result<Parameters, FormatError> {
        match open(key, &self.unique_id, &self.encrypted_block_format) {
            Ok(json) => Parameters::parse(json.as_bytes()),
            Err(_) => Err(FormatError::WrongPassword),
        }
    }

    /// Opens `kopia.blobcfg`.
    pub fn open_blob_config(&self, blob: &[u8], key: &FormatKey) -> Result<BlobConfig, FormatError> {
        match open(key, &self.unique_id, blob) {
            Ok(json) => BlobConfig::parse(json.as_bytes()),
            // The key did open kopia.repository, so this is not about the password.
            Err(_) => Err(FormatError::corrupt(
                BLOB_CONFIG,
                "it does not open with the key of kopia.repository: it is damaged, belongs to another repository, or a \
                 change of the password was interrupted",
            )),
        }
    }

    /// The bytes of `kopia.blobcfg`.
    pub fn seal_blob_config(&self, config: &BlobConfig, key: &FormatKey) -> Result<Vec<u8>, FormatError> {
        Ok(seal(key, &self.unique_id, &config.to_json()?))
    }
}

fn seal(key: &FormatKey, unique_id: &[u8], plaintext: &SecretBytes) -> Vec<u8> {
    let aad = block_aad(key, unique_id);
    seal_block(&block_key(key, unique_id), aad.as_bytes(), plaintext.as_bytes())
}

fn open(key: &FormatKey, unique_id: &[u8], stored: &[u8]) -> Result<SecretBytes, FormatError> {
    let aad = block_aad(key, unique_id);
    Ok(SecretBytes::new(open_block(&block_key(key, unique_id), aad.as_bytes(), stored)?))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::encryption::seal_block_with_nonce;
    use super::super::testdata::vectors;
    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        password: String,
        kopia_repository_blob_utf8: String,
        unique_id_hex: String,
        format_key_hex: String,
        inner_json_utf8: String,
        blobcfg_stored_hex: String,
        blobcfg_json_utf8: String,
    }

    /// What kopia wrote is read, and written again to the same bytes.
    #[test]
    fn vectors() {
        let vectors: Vec<Vector> = vectors::load("format_block.json");
        assert_eq!(vectors.len(), 3);
        for v in vectors {
            let block = FormatBlock::parse(v.kopia_repository_blob_utf8.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(block.to_blob().unwrap()).unwrap(), v.kopia_repository_blob_utf8);
            assert_eq!(hex::encode(block.unique_id()), v.unique_id_hex);
            let key = block.derive_key(v.password.as_bytes()).unwrap();
            assert_eq!(hex::encode(key.as_bytes()), v.format_key_hex);
            let parameters = block.open(&key).unwrap();
            let json = parameters.to_json().unwrap();
            assert_eq!(std::str::from_utf8(json.as_bytes()).unwrap(), v.inner_json_utf8);
            assert_eq!(block.open(&FormatKey::new([7; 32])), Err(FormatError::WrongPassword));

            let derivation = block.key_algo.parse().unwrap();
            let again = FormatBlock::seal(&parameters, block.unique_id.clone(), derivation, &key).unwrap();
            let again = FormatBlock::parse(&again.to_blob().unwrap()).unwrap();
            assert_eq!(again.open(&key).unwrap(), parameters);
            assert_ne!(again.encrypted_block_format, block.encrypted_block_format, "nonces are random");

            let stored = hex::decode(v.blobcfg_stored_hex).unwrap();
            let config = block.open_blob_config(&stored, &key).unwrap();
            let json = config.to_json().unwrap();
            assert_eq!(json.as_bytes(), v.blobcfg_json_utf8.as_bytes());
            let aad = block_aad(&key, block.unique_id());
            let sealed_again = seal_block_with_nonce(
                &block_key(&key, block.unique_id()),
                aad.as_bytes(),
                *stored.first_chunk().unwrap(),
                json.as_bytes(),
            );
            assert_eq!(sealed_again, stored);
        }
    }

    /// Both blobs hang on one key: each names itself when it does not open.
    #[test]
    fn a_blob_configuration_of_another_repository_is_named() {
        let key = FormatKey::new([1; 32]);
        let block = |unique_id: u8| {
            let parameters = Parameters::new(super::super::FormatVersion::LATEST).unwrap();
            FormatBlock::seal(&parameters, vec![unique_id; 32], KeyDerivation::default(), &key).unwrap()
        };
        let foreign = block(1).seal_blob_config(&BlobConfig::default(), &key).unwrap();
        let error = block(2).open_blob_config(&foreign, &key).unwrap_err().to_string();
        assert!(error.contains("kopia.blobcfg") && error.contains("another repository"), "{error}");
    }
}
