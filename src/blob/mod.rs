//! Named bytes in a storage: the lowest layer, which knows nothing of what the bytes mean.
//!
//! A repository is a flat set of *blobs*. [`Storage`] is what a place to keep them must do, [`fs`] a
//! directory that does it. Everything else a storage may need (read-only access, faults for tests)
//! is a decorator: a storage made of another one.
//!
//! # Errors
//!
//! [`BlobError`] has a variant for each thing a caller can do about it, and always says which blob.

#![cfg_attr(not(any(test, feature = "testing")), deny(clippy::expect_used, clippy::indexing_slicing))]

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
#[cfg(any(test, feature = "testing"))]
pub mod forgetful;
pub mod fs;
#[cfg(any(test, feature = "testing"))]
pub mod mem;
mod readonly;
pub mod registry;
pub mod sharding;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::bytes::{Bytes, Payload};
pub use readonly::ReadOnly;

/// A blob's name: not empty, printable ASCII, no `/` (format page 01).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(Arc<str>);

impl BlobId {
    pub fn new(id: &str) -> Result<Self, InvalidBlobId> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
            return Err(InvalidBlobId(id.to_owned()));
        }
        Ok(Self(id.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for BlobId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for BlobId {
    type Err = InvalidBlobId;

    fn from_str(id: &str) -> Result<Self, InvalidBlobId> {
        Self::new(id)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({})", self.0)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a blob id: it must be printable ASCII without '/'")]
pub struct InvalidBlobId(pub String);

/// What a listing tells of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobMetadata {
    pub id: BlobId,
    /// Bytes.
    pub length: u64,
    /// When it was put, by the storage's clock.
    pub timestamp: Timestamp,
}

/// Which bytes of a blob to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobRange {
    All,
    /// Bytes `offset..offset + length`, all of which must exist.
    Part {
        offset: u64,
        length: u64,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Fail with [`BlobError::AlreadyExists`] rather than replace a blob.
    pub no_overwrite: bool,
    /// Object lock; a storage without it answers [`BlobError::Unsupported`].
    pub retention: Option<Retention>,
}

/// For how long a blob may not be deleted or replaced, from the moment it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub mode: RetentionMode,
    pub period: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionMode {
    Governance,
    Compliance,
    /// Azure's name for the strict mode.
    Locked,
}

impl RetentionMode {
    /// The name in `kopia.blobcfg` (format page 02 §2.7).
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
            Self::Locked => "Locked",
        }
    }
}

/// Size of the volume that holds the blobs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub total: u64,
    pub available: u64,
}

/// A place that keeps blobs.
///
/// # Contract
///
/// * A put is atomic and durable: when it returns, the whole blob survives a power loss; when it fails or the
///   process dies, readers see what was there before. Nobody ever sees half a blob.
/// * A finished put is at once visible to [`get`](Self::get), [`stat`](Self::stat) and [`list`](Self::list) of
///   every client. Putting an existing name replaces it.
/// * A range must lie inside the blob: a short answer is an error, never fewer bytes. Length 0 is allowed.
/// * [`delete`](Self::delete) of a blob that is not there succeeds. A deletion may be undone by a power loss; no
///   deletion in a repository is needed for its consistency.
/// * Listing gives every blob that exists throughout the call, once, in any order. A blob put or deleted
///   meanwhile may or may not be in it. When a listing fails, what came before the error is not complete.
/// * Times come from the storage, one clock for all clients, and do not run backwards by more than a few minutes.
/// * What is missing is told apart from what failed: [`BlobError::NotFound`] means the storage said so.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// For people, in messages: what and where, without secrets.
    fn location(&self) -> String;

    /// How many large puts under way at one time are quicker than one after the other. Each costs the memory of its
    /// blob.
    fn parallel_puts(&self) -> usize;

    /// Whether reading is as quick as from a disk of this machine, so that a copy of what was read, on a disk of this
    /// machine, saves nothing.
    fn is_local(&self) -> bool;

    /// Every blob whose name begins with `prefix`.
    fn list(&self, prefix: &str) -> BoxStream<'_, Result<BlobMetadata, BlobError>>;

    async fn stat(&self, id: &BlobId) -> Result<BlobMetadata, BlobError>;

    async fn get(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError>;

    async fn put(&self, id: &BlobId, payload: Payload, options: PutOptions) -> Result<(), BlobError>;

    async fn delete(&self, id: &BlobId) -> Result<(), BlobError>;

    /// None where the storage has no such notion.
    async fn capacity(&self) -> Result<Option<Capacity>, BlobError>;
}

/// All blobs of one prefix at once, ordered by name.
pub async fn list_all(storage: &dyn Storage, prefix: &str) -> Result<Vec<BlobMetadata>, BlobError> {
    use futures::TryStreamExt;
    let mut all: Vec<_> = storage.list(prefix).try_collect().await?;
    all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(all)
}

/// What went wrong, by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {id} does not exist")]
    NotFound { id: BlobId },
    #[error("blob {id} exists already")]
    AlreadyExists { id: BlobId },
    #[error("blob {id} has only {length} bytes, but bytes {offset}..{} were asked for", offset + wanted)]
    InvalidRange { id: BlobId, offset: u64, wanted: u64, length: u64 },
    /// The medium has lost its bytes, or a part of them; other blobs may well be in order.
    #[error("blob {id} is damaged: it cannot be read from its medium")]
    Damaged { id: BlobId, source: Source },
    #[error("{what}: permission denied")]
    Denied { what: String, source: Source },
    #[error("{what}: the repository is connected read-only")]
    ReadOnly { what: String },
    #[error("{what}: no space left in the storage")]
    NoSpace { what: String, source: Source },
    #[error("{what} is not supported by {storage}")]
    Unsupported { what: &'static str, storage: String },
    /// Worth another try.
    #[error("{what}: the storage is not available")]
    Unavailable { what: String, source: Source },
    #[error("{what}")]
    Other { what: String, source: Source },
}

/// The cause underneath, as the storage's library gave it.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

impl BlobError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_ids() {
        assert_eq!(BlobId::new("xn0_ab-c1").unwrap().as_str(), "xn0_ab-c1");
        for bad in ["", "a/b", "a b", "ä", "a\n"] {
            assert_eq!(BlobId::new(bad), Err(InvalidBlobId(bad.to_owned())));
        }
    }
}
