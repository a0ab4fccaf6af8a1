//! Looking at index blobs one by one, for people and for repairs; ordinary reading needs none of it.

use std::collections::HashSet;

use super::epoch::names;
use super::epoch::plan::Epochs;
use super::index::{Index, IndexData};
use super::load::corrupt;
use super::{ContentError, Reader, legacy, sealed};
use crate::blob::{BlobId, BlobMetadata, BlobRange, list_all};
use crate::bytes::Bytes;

/// An index blob in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexBlob {
    pub metadata: BlobMetadata,
    /// What took its place; None when the blob counts.
    pub superseded: Option<Vec<BlobMetadata>>,
}

impl Reader {
    /// The plain bytes of a blob that is encrypted as a whole: an index, a session marker, a compaction log, a log.
    pub async fn open_blob(&self, id: &BlobId) -> Result<Bytes, ContentError> {
        let stored = self.storage().get(id, BlobRange::All).await?;
        Ok(sealed::open(self.crypto(), id, &stored)?.into())
    }

    /// One index blob, checked.
    pub async fn open_index(&self, id: &BlobId) -> Result<Index, ContentError> {
        let plaintext = self.open_blob(id).await?;
        let index = Index::open(IndexData::Memory(plaintext)).map_err(|e| corrupt(id, &e))?;
        index.check().map_err(|e| corrupt(id, &e))?;
        Ok(index)
    }

    /// All index blobs there are now, by name, those that do not count any more included.
    pub async fn index_blobs(&self) -> Result<Vec<IndexBlob>, ContentError> {
        if !self.epoch_parameters().enabled {
            let mut listing = legacy::list(&**self.storage(), self.crypto()).await?;
            let blobs = std::mem::take(&mut listing.blobs).into_iter();
            return Ok(blobs
                .map(|metadata| IndexBlob { superseded: listing.replaced.remove(metadata.id.as_str()), metadata })
                .collect());
        }
        let listing = list_all(&**self.storage(), names::ALL).await?;
        let epochs = Epochs::new(&listing);
        let active: HashSet<&BlobId> = epochs.active().into_iter().map(|blob| &blob.id).collect();
        let is_index =
            |id: &BlobId| [names::UNCOMPACTED, names::SINGLE, names::RANGE].iter().any(|kind| id.starts_with(kind));
        let blobs = listing.iter().filter(|blob| is_index(&blob.id));
        Ok(blobs
            .map(|blob| IndexBlob {
                metadata: blob.clone(),
                superseded: (!active.contains(&blob.id)).then(|| epochs.replacement(&blob.id).to_vec()),
            })
            .collect())
    }
}
