//! A repository: everything below put together, opened with a password.
//!
//! [`Repository`] reads. [`Writer`] is a write session on it: what it puts becomes visible with a flush, all of it or
//! nothing. Dropped without one, it leaves nothing to be seen.
//!
//! [`config`] is the file that remembers where a repository is, [`remembered`] what opens it, [`ConnectionToken`]
//! both as a word; [`create()`] makes a new one.

pub mod config;
mod create;
pub mod remembered;
mod token;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use create::{CreateOptions, create};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
pub use token::ConnectionToken;
pub use writer::Writer;

use crate::blob::{BlobError, BlobId, BlobRange, Storage};
use crate::bytes::Bytes;
use crate::clock::Clock;
use crate::content::cache::CacheOptions;
use crate::content::{ContentError, Reader};
use crate::format::{
    BLOB_CONFIG_BLOB, BlobConfig, Crypto, FORMAT_BLOB, FormatBlock, FormatError, FormatKey, Parameters, SecretBytes,
};
use crate::manifest::{ManifestError, ManifestSet};

/// After this the format block is looked at again before anything more is written: it may have been locked for an
/// upgrade (format page 02 §2.6).
const FORMAT_VALIDITY: Duration = Duration::from_secs(15 * 60);

/// Who this client is: part of snapshots and session markers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub username: String,
    pub hostname: String,
}

/// What opens a repository.
#[derive(Clone, Debug)]
pub enum Credential {
    Password(SecretBytes),
    /// What the password derives to; saves the time that takes.
    Key(FormatKey),
}

#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub identity: Identity,
    /// What to keep of what was read.
    pub cache: CacheOptions,
    pub clock: Arc<dyn Clock>,
}

/// An open repository; cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn Storage>,
    block: FormatBlock,
    /// The bytes of the format block as they were when the repository was opened.
    format_blob: Bytes,
    key: FormatKey,
    parameters: Arc<Parameters>,
    /// Or what is wrong with it.
    blob_config: Result<BlobConfig, String>,
    contents: Arc<Reader>,
    options: OpenOptions,
    format_checked: Mutex<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error("there is no repository in {location}")]
    NotFound { location: String },
    #[error("found existing data in storage location {location}{}", leftover(*.has_repository))]
    NotEmpty { location: String, has_repository: bool },
    #[error("kopia.repository is missing in {location}, though there are other blobs")]
    NoFormat { location: String },
    #[error("blob kopia.blobcfg is damaged: {0}")]
    DamagedBlobConfig(String),
    #[error("creating a repository in {location} was interrupted, or is under way")]
    HalfCreated { location: String },
    #[error("the repository was replaced by another one")]
    Replaced,
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("unexpected: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn leftover(has_repository: bool) -> &'static str {
    if has_repository { ": there is a repository already; connect to it" } else { "" }
}

impl Repository {
    /// Opens the repository in a storage. Refuses, by name, what this program does not understand.
    pub async fn open(
        storage: Arc<dyn Storage>,
        credential: &Credential,
        options: OpenOptions,
    ) -> Result<Self, RepositoryError> {
        let format_blob = match storage.get(&blob_id(FORMAT_BLOB)?, BlobRange::All).await {
            Err(e) if e.is_not_found() => return Err(no_format(&*storage).await?),
            other => other?,
        };
        let block = FormatBlock::parse(&format_blob)?;
        let key = match credential {
            Credential::Key(key) => key.clone(),
            Credential::Password(password) => derive(&block, password).await?,
        };
        let parameters = Arc::new(block.open(&key)?);
        let now = options.clock.now();
        parameters.check_upgrade_lock(now)?;
        for warning in parameters.warnings() {
            tracing::warn!("{warning}");
        }
        let blob_config = match storage.get(&blob_id(BLOB_CONFIG_BLOB)?, BlobRange::All).await {
            Err(e) if e.is_not_found() => Ok(BlobConfig::default()),
            Err(e @ BlobError::Damaged { .. }) => Err(crate::error::chain(&e)),
            other => match block.open_blob_config(&other?, &key) {
                Ok(config) => Ok(config),
                Err(e @ FormatError::Unknown { .. }) => return Err(e.into()),
                Err(e) => Err(e.to_string()),
            },
        };
        let crypto = Arc::new(Crypto::new(&parameters)?);
        let contents = Reader::open(Arc::clone(&storage), crypto, parameters.epochs.clone(), &options.cache).await?;
        Ok(Self(Arc::new(Inner {
            storage,
            block,
            format_blob,
            key,
            parameters,
            blob_config,
            contents: Arc::new(contents),
            options,
            format_checked: Mutex::new(now),
        })))
    }

    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.storage
    }

    pub fn parameters(&self) -> &Parameters {
        &self.0.parameters
    }

    /// For how long new blobs are to be locked. Where that cannot be read, nothing must be written.
    pub fn blob_config(&self) -> Result<BlobConfig, RepositoryError> {
        self.0.blob_config.clone().map_err(RepositoryError::DamagedBlobConfig)
    }

    /// The salt that no other repository has.
    pub fn unique_id(&self) -> &[u8] {
        self.0.block.unique_id()
    }

    /// What the password derives to.
    pub fn format_key(&self) -> &FormatKey {
        &self.0.key
    }

    pub fn contents(&self) -> &Arc<Reader> {
        &self.0.contents
    }

    pub fn identity(&self) -> &Identity {
        &self.0.options.identity
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.options.clock
    }

    /// All manifests there are now.
    pub async fn manifests(&self) -> Result<ManifestSet, RepositoryError> {
        Ok(ManifestSet::load(&self.0.contents).await?)
    }

    /// Begins a write session.
    pub async fn writer(&self) -> Result<Writer, RepositoryError> {
        Writer::begin(self.clone()).await
    }

    /// Looks at the format block again when it was last seen some time ago.
    async fn check_format(&self) -> Result<(), RepositoryError> {
        let now = self.clock().now();
        let age = {
            let checked = self.0.format_checked.lock().unwrap_or_else(PoisonError::into_inner);
            now.duration_since(*checked).unsigned_abs()
        };
        if age < FORMAT_VALIDITY {
            return Ok(());
        }
        let blob = self.0.storage.get(&blob_id(FORMAT_BLOB)?, BlobRange::All).await?;
        if blob == self.0.format_blob {
            // The time of a lock that was announced may have come.
            self.0.parameters.check_upgrade_lock(now)?;
        } else {
            let block = FormatBlock::parse(&blob)?;
            if block.unique_id() != self.unique_id() {
                return Err(RepositoryError::Replaced);
            }
            match block.open(&self.0.key) {
                Ok(parameters) => parameters.check_upgrade_lock(now)?,
                // The password was changed meanwhile; the keys of contents were not.
                Err(FormatError::WrongPassword) => {}
                Err(e) => return Err(e.into()),
            }
        }
        *self.0.format_checked.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }
}

/// What it means that there is no format block.
async fn no_format(storage: &dyn Storage) -> Result<RepositoryError, RepositoryError> {
    use futures::TryStreamExt;
    let location = storage.location();
    let others = storage.list("").try_any(|blob| std::future::ready(blob.id.as_str() != BLOB_CONFIG_BLOB)).await?;
    Ok(if others { RepositoryError::NoFormat { location } } else { RepositoryError::NotFound { location } })
}

fn blob_id(name: &str) -> Result<BlobId, RepositoryError> {
    BlobId::new(name).map_err(|e| RepositoryError::Internal(Box::new(e)))
}

/// Derives the key where it may take its time.
async fn derive(block: &FormatBlock, password: &SecretBytes) -> Result<FormatKey, RepositoryError> {
    let (block, password) = (block.clone(), password.clone());
    let derived = tokio::task::spawn_blocking(move || block.derive_key(password.as_bytes())).await;
    Ok(derived.map_err(|e| RepositoryError::Internal(Box::new(e)))??)
}
