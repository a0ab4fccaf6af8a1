//! Snapshots: directories and files at one moment, as they were.
//!
//! A snapshot is a [`manifest`] with a root [`entry`]; a directory is an object that lists [`entries`](directory).
//! [`upload`] makes one of a local directory, [`restore`] the other way round, [`verify`] checks that all of it can
//! be read.
//!
//! Trees are worked on by plain threads, as reading and writing local files blocks anyway; they wait for the
//! asynchronous store where they need it.

pub mod contents;
pub mod create;
pub mod directory;
pub mod entry;
pub mod local;
pub mod manifest;
pub mod resolve;
pub mod restore;
pub mod summary;
pub mod upload;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::content::ContentError;
use crate::manifest::{Labels, ManifestError, TYPE_LABEL};
use crate::object::{ObjectError, ObjectId};
use crate::policy::PolicyError;
use crate::repo::RepositoryError;

/// Bytes of fetched contents in memory at one time: enough to keep all threads busy, however many there are.
const FETCHED_BYTES: u64 = 32 << 20;

/// Tells work under way to end soon; it says itself how far it got.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Labels that all snapshots have.
pub fn labels_of_all() -> Labels {
    [(TYPE_LABEL.to_owned(), manifest::KIND.to_owned())].into()
}

/// True in so many of a hundred cases, by chance.
fn by_chance(percent: f64) -> bool {
    use std::hash::{BuildHasher, Hasher};
    // Each new state hashes nothing to another number.
    let random = std::hash::RandomState::new().build_hasher().finish();
    percent > 0.0 && (random as f64 / u64::MAX as f64) * 100.0 <= percent
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The source itself, not an entry in it.
    #[error("cannot read {path}")]
    Source { path: String, source: std::io::Error },
    #[error("{path} is neither a directory nor a file")]
    UnsupportedSource { path: String },
    #[error("the file cannot be stored: {0}")]
    RootFile(String),
    #[error("cannot read the ignore file {name}")]
    IgnoreFile { name: String, source: std::io::Error },
    #[error("directory {id} cannot be understood: {why}")]
    MalformedDirectory { id: ObjectId, why: String },
    #[error("{0}")]
    NotFound(String),
    /// An entry cannot be restored.
    #[error("cannot restore {path}")]
    Restore { path: String, source: Box<SnapshotError> },
    #[error(transparent)]
    File(std::io::Error),
    #[error("its name {0:?} is not the name of a file")]
    UnsafeName(String),
    #[error("it is of a type that this version of larder does not know")]
    UnknownKind,
    #[error("canceled")]
    Canceled,
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error("unexpected: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}
