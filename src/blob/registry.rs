//! From `storage` in the client configuration to a storage: the one list of the kinds larder knows.
//!
//! ```json
//! {"type":"filesystem","config":{"path":"/backup", ...}}
//! ```
//!
//! The shape is kopia's (format page 12), so that one file serves both. A kind that this program does not know
//! is kept as it is and refused by name when it is opened.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fs::{FilesystemConfig, FilesystemStorage};
use super::{BlobError, ReadOnly, Storage};

/// A kind of storage with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum StorageConfig {
    Filesystem(FilesystemConfig),
    Unknown { kind: String, config: Value },
}

/// Keys of `config`, of any kind of storage, whose values let somebody in.
const SECRETS: [&str; 14] = [
    "clientCertificate",
    "clientSecret",
    "credentials",
    "embeddedConfig",
    "key",
    "keyData",
    "password",
    "rcloneConfig",
    "sasToken",
    "secretAccessKey",
    "sessionToken",
    "storageKey",
    "webIdentityToken",
    "webdavPassword",
];

#[derive(Serialize, Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    config: Value,
}

impl TryFrom<Raw> for StorageConfig {
    type Error = serde_json::Error;

    fn try_from(raw: Raw) -> Result<Self, serde_json::Error> {
        Ok(match raw.kind.as_str() {
            "filesystem" => Self::Filesystem(serde_json::from_value(raw.config)?),
            _ => Self::Unknown { kind: raw.kind, config: raw.config },
        })
    }
}

impl From<StorageConfig> for Raw {
    fn from(config: StorageConfig) -> Self {
        let kind = config.kind().to_owned();
        let config = match config {
            StorageConfig::Filesystem(config) => serde_json::json!(config),
            StorageConfig::Unknown { config, .. } => config,
        };
        Self { kind, config }
    }
}

impl StorageConfig {
    /// The name of the kind, as in the configuration file.
    pub fn kind(&self) -> &str {
        match self {
            Self::Filesystem(_) => "filesystem",
            Self::Unknown { kind, .. } => kind,
        }
    }

    /// For people: as in the configuration file, but with a `*` for each byte of a secret.
    pub fn without_secrets(&self) -> Value {
        let mut raw = Raw::from(self.clone());
        hide_secrets(&mut raw.config, false);
        serde_json::json!(raw)
    }

    /// Connects to where a repository is.
    pub fn open(&self, read_only: bool) -> Result<Arc<dyn Storage>, BlobError> {
        match self {
            Self::Filesystem(config) => {
                let storage = FilesystemStorage::open(config)?;
                Ok(if read_only { Arc::new(ReadOnly(storage)) } else { Arc::new(storage) })
            }
            Self::Unknown { .. } => Err(self.unknown()),
        }
    }

    /// Prepares the place for a new repository, and connects to it.
    pub fn create(&self) -> Result<Arc<dyn Storage>, BlobError> {
        match self {
            Self::Filesystem(config) => Ok(Arc::new(FilesystemStorage::create(config)?)),
            Self::Unknown { .. } => Err(self.unknown()),
        }
    }

    fn unknown(&self) -> BlobError {
        BlobError::Unsupported {
            what: "this type of storage",
            storage: format!("this version of larder: {:?} (supported: filesystem)", self.kind()),
        }
    }
}

fn hide_secrets(value: &mut Value, secret: bool) {
    match value {
        Value::String(text) if secret => *text = "*".repeat(text.len()),
        Value::Object(members) => {
            for (key, value) in members {
                hide_secrets(value, secret || SECRETS.contains(&key.as_str()));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide_secrets(item, secret)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_kept_and_refused_by_name() {
        let text = r#"{"type":"s3","config":{"bucket":"b","prefix":"p/"}}"#;
        let config: StorageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        let refused = config.open(false).unwrap_err().to_string();
        assert!(refused.contains("\"s3\""), "{refused}");

        let text = r#"{"type":"filesystem","config":{"path":"/r","dirShards":null,"maxUploadSpeedBytesPerSecond":5}}"#;
        let config: StorageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        assert!(serde_json::from_str::<StorageConfig>(r#"{"type":"filesystem","config":{}}"#).is_err());
    }

    #[test]
    fn secrets_are_hidden() {
        let text =
            r#"{"type":"s3","config":{"bucket":"b","accessKeyID":"id","secretAccessKey":"secret","sessionToken":""}}"#;
        let config: StorageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.without_secrets().to_string(), text.replace("\"secret\"", "\"******\""));
        let text = r#"{"type":"gcs","config":{"bucket":"b","credentials":{"private_key":"pem","n":[1,"x"]}}}"#;
        let config: StorageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(
            config.without_secrets()["config"]["credentials"].to_string(),
            r#"{"private_key":"***","n":[1,"*"]}"#
        );
    }
}
