//! Loading the indexes that count: list, decide, fetch what is not at hand.
//!
//! What counts is decided by [`epoch`](super::epoch) or, in old repositories, by the compaction logs of
//! [`legacy`]. Index blobs that the last view or a local [run](super::index::runs) covers are not
//! fetched again. Fetched ones are checked as a whole, and kept as runs.
//!
//! A blob that vanishes between listing and reading was superseded meanwhile: the load begins anew. A blob that is
//! damaged is noted and left out, so that everything else can still be read; nobody is locked out by it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use larder_cache::Shelf;
use tokio::time::{Instant, sleep};

use super::epoch::names;
use super::epoch::plan::Epochs;
use super::index::set::{DamagedIndex, IndexSet, Layer};
use super::index::{Index, IndexData, IndexError, runs};
use super::{ContentError, legacy, sealed};
use crate::blob::{BlobError, BlobId, BlobMetadata, BlobRange, Storage, list_all};
use crate::format::{Crypto, EpochParameters};

/// Index blobs fetched at once.
const PARALLEL_FETCHES: usize = 16;
/// Bytes of index blobs that are gathered in memory before they become a run on the shelf.
const GATHERED: usize = 8 << 20;
/// Index blobs above this size are decrypted in a file rather than in memory.
const LARGE_BLOB: u64 = 16 << 20;
/// Bytes of a large blob read at once.
const PIECE: u64 = 8 << 20;
const ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Files of the shelf that another process may just have made stay at least so long.
const SPARED: Duration = Duration::from_secs(3600);

/// Where indexes are loaded from.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) crypto: Arc<Crypto>,
    pub(super) epochs: EpochParameters,
    /// None: no cache directory can be used, so everything is kept in memory.
    pub(super) shelf: Option<Shelf>,
}

/// What is in the repository at one moment.
#[derive(Debug)]
pub(super) struct View {
    pub(super) set: Arc<IndexSet>,
    /// None in a repository without epochs.
    pub(super) epochs: Option<Epochs>,
    /// Until when it may be relied on.
    pub(super) valid_until: Instant,
}

impl Loader {
    /// Loads the current view. Layers of `known` are used again where they still count.
    pub(super) async fn load(&self, known: &[Layer]) -> Result<View, ContentError> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..ATTEMPTS {
            match self.attempt(known).await? {
                Some(view) => return Ok(view),
                None => sleep(pause).await,
            }
            pause *= 2;
        }
        Err(ContentError::Unsettled)
    }

    /// None when a blob vanished, or the listing was old before it was through.
    async fn attempt(&self, known: &[Layer]) -> Result<Option<View>, ContentError> {
        let started = Instant::now();
        let (active, epochs, mut damaged) = self.list().await?;
        let valid_until = started + self.validity();
        if Instant::now() >= valid_until {
            return Ok(None);
        }
        let ids: HashSet<&BlobId> = active.iter().map(|blob| &blob.id).collect();
        let mut layers: Vec<Layer> =
            known.iter().filter(|layer| layer.covers.iter().all(|blob| ids.contains(blob))).cloned().collect();
        let covered = |layers: &[Layer]| -> HashSet<BlobId> {
            layers.iter().flat_map(|layer| layer.covers.iter().cloned()).collect()
        };
        if let Some(shelf) = &self.shelf {
            let at_hand = covered(&layers);
            let wanted: HashSet<&BlobId> = ids.iter().copied().filter(|id| !at_hand.contains(*id)).collect();
            layers.extend(runs::load(shelf, &wanted));
        }
        let at_hand = covered(&layers);
        let missing: Vec<BlobMetadata> = active.iter().filter(|blob| !at_hand.contains(&blob.id)).cloned().collect();
        let fetched = match self.fetch_all(missing, &mut damaged).await {
            Err(ContentError::Blob(e)) if e.is_not_found() => return Ok(None),
            other => other?,
        };
        let changed = !fetched.is_empty();
        layers.extend(fetched);
        runs::compact(self.shelf.as_ref(), &mut layers);
        if let Some(shelf) = self.shelf.as_ref().filter(|_| changed)
            && let Err(e) = shelf.sweep(SPARED, |name| runs::is_of(name, &layers))
        {
            tracing::debug!("cannot sweep {}: {e}", shelf.directory().display());
        }
        let watermark = epochs.as_ref().map_or(0, |epochs| epochs.watermark);
        Ok(Some(View { set: Arc::new(IndexSet { layers, watermark, damaged }), epochs, valid_until }))
    }

    /// For how long a view may be relied on.
    pub(super) fn validity(&self) -> Duration {
        // Repositories without epochs have no such parameter; kopia reloads after 15 minutes.
        if self.epochs.enabled { self.epochs.refresh_frequency.unsigned_abs() } else { Duration::from_secs(900) }
    }

    /// The index blobs that count.
    async fn list(&self) -> Result<(Vec<BlobMetadata>, Option<Epochs>, Vec<DamagedIndex>), ContentError> {
        if self.epochs.enabled {
            let epochs = self.list_epochs().await?;
            let active = epochs.active().into_iter().cloned().collect();
            return Ok((active, Some(epochs), Vec::new()));
        }
        let mut listing = legacy::list(&*self.storage, &self.crypto).await?;
        let damaged = std::mem::take(&mut listing.damaged);
        Ok((listing.active(), None, damaged))
    }

    pub(super) async fn list_epochs(&self) -> Result<Epochs, ContentError> {
        Ok(Epochs::new(&list_all(&*self.storage, names::ALL).await?))
    }

    async fn fetch_all(
        &self,
        blobs: Vec<BlobMetadata>,
        damaged: &mut Vec<DamagedIndex>,
    ) -> Result<Vec<Layer>, ContentError> {
        let mut fetched = Vec::new();
        let (mut gathered, mut gathered_size) = (Vec::new(), 0);
        let mut fetches = futures::stream::iter(blobs)
            .map(|blob| async move { (self.fetch(&blob).await, blob) })
            .buffer_unordered(PARALLEL_FETCHES);
        while let Some((result, blob)) = fetches.next().await {
            match result {
                Ok(layer) if blob.length > LARGE_BLOB => fetched.push(layer),
                Ok(layer) => {
                    gathered_size += blob.length as usize;
                    gathered.push(layer);
                }
                Err(ContentError::CorruptBlob { id, why }) => damaged.push(DamagedIndex { blob: id, why }),
                Err(e) => return Err(e),
            }
            if gathered_size >= GATHERED {
                fetched.extend(self.keep(std::mem::take(&mut gathered)));
                gathered_size = 0;
            }
        }
        fetched.extend(self.keep(gathered));
        Ok(fetched)
    }

    /// Makes a run of layers in memory, or leaves them as they are where that is not possible.
    pub(super) fn keep(&self, layers: Vec<Layer>) -> Vec<Layer> {
        let Some(shelf) = self.shelf.as_ref().filter(|_| !layers.is_empty()) else { return layers };
        match runs::store(Some(shelf), &layers) {
            Ok(run) => vec![run],
            Err(e) => {
                tracing::debug!("cannot keep indexes in {}: {e}", shelf.directory().display());
                layers
            }
        }
    }

    async fn fetch(&self, blob: &BlobMetadata) -> Result<Layer, ContentError> {
        if let Some(shelf) = self.shelf.as_ref().filter(|_| blob.length > LARGE_BLOB) {
            match self.fetch_to_file(blob, shelf).await {
                Err(ContentError::Internal(e)) => {
                    tracing::debug!("cannot keep index blob {} in {}: {e}", blob.id, shelf.directory().display());
                }
                fetched => return check(fetched?, &blob.id),
            }
        }
        let stored = self.storage.get(&blob.id, BlobRange::All).await.map_err(damaged)?;
        layer(&blob.id, sealed::open(&self.crypto, &blob.id, &stored)?)
    }

    /// Reads piece by piece into a mapped file and decrypts there, so that no large index is ever held in memory.
    /// [`ContentError::Internal`] when there can be no such file.
    async fn fetch_to_file(&self, blob: &BlobMetadata, shelf: &Shelf) -> Result<Layer, ContentError> {
        let length = usize::try_from(blob.length).map_err(ContentError::internal)?;
        let mut draft = runs::Draft::new(shelf, &blob.id, length).map_err(ContentError::internal)?;
        let mut offset = 0;
        while offset < blob.length {
            let part = BlobRange::Part { offset, length: PIECE.min(blob.length - offset) };
            let piece = self.storage.get(&blob.id, part).await.map_err(damaged)?;
            draft.write(offset as usize, &piece);
            offset += piece.len().max(1) as u64;
        }
        let plaintext = sealed::open_in_place(&self.crypto, &blob.id, draft.bytes_mut())?;
        draft.finish(plaintext).map_err(ContentError::internal)
    }
}

/// A checked layer of one index blob's plain bytes.
pub(super) fn layer(blob: &BlobId, plaintext: Vec<u8>) -> Result<Layer, ContentError> {
    let index = Index::open(IndexData::Memory(plaintext.into())).map_err(|e| corrupt(blob, &e))?;
    check(Layer { covers: [blob.clone()].into(), index: Arc::new(index) }, blob)
}

fn check(layer: Layer, blob: &BlobId) -> Result<Layer, ContentError> {
    layer.index.check().map(|()| layer).map_err(|e| corrupt(blob, &e))
}

/// A blob whose medium fails is like one that does not decrypt; it may also have become shorter than it was listed.
pub(super) fn damaged(e: BlobError) -> ContentError {
    match e {
        BlobError::Damaged { id, source } => ContentError::CorruptBlob { id, why: source.to_string() },
        BlobError::InvalidRange { ref id, .. } => ContentError::CorruptBlob { id: id.clone(), why: e.to_string() },
        other => other.into(),
    }
}

pub(super) fn corrupt(blob: &BlobId, why: &IndexError) -> ContentError {
    ContentError::CorruptBlob { id: blob.clone(), why: why.to_string() }
}
