//! Contents: pieces of data that are kept once, encrypted, many to a blob (format pages 04 to 07).
//!
//! A content is named by the keyed hash of its plain bytes ([`id`]), so equal data is stored once, whoever writes
//! it. Stored contents lie back to back in [`pack`]s; [`index`] blobs tell where. [`epoch`] says which index blobs
//! count. [`Reader`] finds and opens contents through an immutable [`index::set`], which is exchanged as a whole
//! when it is refreshed, so that readers never wait, and keeps what it fetches in a [`cache`]. A [`Writer`] adds contents in a [`session`]: packs first, then
//! the index that names them, so that nothing half written is ever seen.
//!
//! # Errors
//!
//! [`ContentError`] always names the content or blob. Damage of one blob never keeps others from being read.

#![cfg_attr(not(any(test, feature = "testing")), deny(clippy::expect_used, clippy::indexing_slicing))]

pub mod cache;
pub mod epoch;
pub mod id;
pub mod index;
mod inspect;
pub mod legacy;
mod load;
pub mod pack;
mod prefetch;
mod reader;
mod sealed;
pub mod session;
#[cfg(test)]
mod vectors;
mod writer;

use std::sync::Arc;

use crate::blob::{BlobError, BlobId};
use crate::format::FormatError;
use id::ContentId;

pub use inspect::IndexBlob;
pub use prefetch::Prefetched;
pub use reader::Reader;
pub use writer::{Scratch, Writer, WriterOptions};

#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("content {id} does not exist{}", unless_in(damaged))]
    NotFound {
        id: ContentId,
        /// Index blobs that cannot be read, and may have had it.
        damaged: Vec<BlobId>,
    },
    /// The index knows it, but its bytes are gone, damaged, or of a kind this program cannot read.
    #[error("content {id} cannot be read from pack {pack}: {why}")]
    Corrupt { id: ContentId, pack: BlobId, why: String },
    #[error("the index entry of content {id} cannot be used")]
    CorruptEntry {
        id: ContentId,
        #[source]
        why: index::IndexError,
    },
    #[error("content {id} cannot be fetched")]
    Fetch { id: ContentId, source: Arc<BlobError> },
    #[error("blob {id} is damaged: {why}")]
    CorruptBlob { id: BlobId, why: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Writing an index took so long that others may already have stopped looking for it.
    #[error("writing the index took too long: the epoch moved on from {written} to {now}; nothing was lost, try again")]
    TooSlow { written: u64, now: u64 },
    #[error("the indexes keep changing while they are loaded; try again")]
    Unsettled,
    /// An earlier upload of this session failed, so nothing more can be written in it.
    #[error("writing has stopped after an earlier error: {0}")]
    Stopped(String),
    #[error("unexpected: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ContentError {
    fn internal(e: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(e))
    }
}

fn unless_in(damaged: &[BlobId]) -> String {
    match damaged {
        [] => String::new(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!(", unless it was in index blob {first}{more}, which cannot be read")
        }
    }
}
