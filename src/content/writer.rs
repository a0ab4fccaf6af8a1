//! Writing contents (format page 05 §5.3 to 5.5, page 10).
//!
//! [`Writer::put`] hashes, and when the content is new compresses, encrypts and appends it to an open pack. A full
//! pack is taken out and uploaded in the background. [`Writer::flush`] makes everything put before it visible:
//!
//! ```text
//! session marker → packs → index blobs, once all packs are there → look whether the epoch moved → marker deleted
//! ```
//!
//! Until the index is there nobody sees anything, and a crash leaves only packs that no index names. Each flush ends
//! a session and begins a new one, so puts go on while an earlier session is still being finished.
//!
//! `put` is called by threads that may block: it waits while too many packs are in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::SignedDuration;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};

use super::epoch::names;
use super::id::{ContentId, Prefix};
use super::index::set::Layer;
use super::index::{self, IndexEntry};
use super::pack::{FinishedPack, PackBuilder, PackKind, random};
use super::session::{self, Marker, SessionId};
use super::{ContentError, Reader, legacy, load, sealed};
use crate::blob::{BlobId, PutOptions, Retention, Storage};
use crate::clock::Clock;
use crate::format::{CompressionAlgorithm, Compressor, NONCE_LEN, OVERHEAD, Parameters};
use crate::sync::{Budget, lock};

/// Packs that are filled at one time: one of each kind.
const OPEN_PACKS: u64 = 2;
/// Entries, bytes and age of a session that make it due to be flushed. A crash may cost 1 GiB; what is sent while this
/// is noticed, and the index written, must fit in as well.
const FLUSH_ENTRIES: usize = 200_000;
const FLUSH_BYTES: u64 = 768 << 20;
const FLUSH_AGE: SignedDuration = SignedDuration::from_mins(10);
/// How often an index is written again when the epoch moves on meanwhile.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Debug)]
pub struct WriterOptions {
    pub parameters: Arc<Parameters>,
    /// Bytes that every pack begins with: the copy of the format block, or nothing.
    pub pack_head: Vec<u8>,
    pub retention: Option<Retention>,
    /// Who writes, for session markers.
    pub username: String,
    pub hostname: String,
}

/// What one thread needs for its own while it puts contents.
#[derive(Default)]
pub struct Scratch {
    compressor: Compressor,
}

impl Scratch {
    /// Appends the compressed form of `data` to `out` when that is shorter; says whether it is.
    pub fn compress(
        &mut self,
        algorithm: CompressionAlgorithm,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, ContentError> {
        Ok(self.compressor.compress(algorithm, data, out)?)
    }
}

/// What a writer did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Contents that were new.
    pub contents: u64,
    /// Bytes of packs sent to the storage.
    pub uploaded_bytes: u64,
}

#[derive(Debug)]
pub struct Writer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reader: Arc<Reader>,
    clock: Arc<dyn Clock>,
    options: WriterOptions,
    runtime: Handle,
    open: Mutex<Open>,
    /// Entries that the reader's indexes do not have yet, with the number of their session.
    pending: Mutex<HashMap<ContentId, (u64, IndexEntry)>>,
    /// Packs in memory: each takes one from its first content until it is in the storage.
    slots: Budget,
    /// Held by a flush from its beginning to its end.
    flushing: tokio::sync::Mutex<()>,
    /// Bytes of packs since the last flush began.
    unflushed_bytes: AtomicU64,
    /// Set by the first upload that fails.
    failure: OnceLock<String>,
    stats: Mutex<WriterStats>,
}

/// The session that contents are put in now.
#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    data: Option<PackBuilder>,
    metadata: Option<PackBuilder>,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    number: u64,
    started: jiff::Timestamp,
    marker: OnceCell<BlobId>,
    /// Packs that were closed and are not in the storage yet.
    outstanding: watch::Sender<usize>,
    /// The first upload's error.
    failure: Mutex<Option<ContentError>>,
}

/// A pack that takes no more contents; the session is not over before it is dropped.
#[derive(Debug)]
struct ClosedPack {
    builder: PackBuilder,
    session: OutstandingPack,
}

#[derive(Debug)]
struct OutstandingPack(Arc<Session>);

impl OutstandingPack {
    fn new(session: &Arc<Session>) -> Self {
        session.outstanding.send_modify(|n| *n += 1);
        Self(Arc::clone(session))
    }
}

impl Drop for OutstandingPack {
    fn drop(&mut self) {
        self.0.outstanding.send_modify(|n| *n -= 1);
    }
}

impl Writer {
    /// Must be called inside a runtime, which then runs the uploads.
    pub fn new(reader: Arc<Reader>, clock: Arc<dyn Clock>, options: WriterOptions) -> Result<Self, ContentError> {
        let open = Open { session: Session::new(&*clock, 0)?, data: None, metadata: None };
        let slots = Budget::new(OPEN_PACKS + reader.storage().parallel_puts().max(1) as u64);
        Ok(Self(Arc::new(Inner {
            reader,
            clock,
            options,
            runtime: Handle::current(),
            open: Mutex::new(open),
            pending: Mutex::default(),
            slots,
            flushing: tokio::sync::Mutex::default(),
            unflushed_bytes: AtomicU64::new(0),
            failure: OnceLock::new(),
            stats: Mutex::default(),
        })))
    }

    pub fn reader(&self) -> &Arc<Reader> {
        &self.0.reader
    }

    pub fn parameters(&self) -> &Parameters {
        &self.0.options.parameters
    }

    pub fn stats(&self) -> WriterStats {
        *lock(&self.0.stats)
    }

    /// The id of a content that need not be stored.
    pub fn id_of(&self, prefix: Prefix, data: &[u8]) -> ContentId {
        ContentId::new(prefix, &self.0.reader.crypto().hasher.hash(data))
    }

    /// How many contents are hashed at once: see [`ids_of`](Self::ids_of).
    pub fn hash_lanes(&self) -> usize {
        self.0.reader.crypto().hasher.lanes()
    }

    /// The ids of several contents; quicker for [`hash_lanes`](Self::hash_lanes) of them than one by one.
    pub fn ids_of(&self, prefix: Prefix, contents: &[&[u8]]) -> Vec<ContentId> {
        let hashes = self.0.reader.crypto().hasher.hash_many(contents);
        hashes.iter().map(|hash| ContentId::new(prefix, hash)).collect()
    }

    /// Stores a content unless the repository has it. May block.
    pub fn put(
        &self,
        prefix: Prefix,
        data: &[u8],
        compression: Option<CompressionAlgorithm>,
        scratch: &mut Scratch,
    ) -> Result<ContentId, ContentError> {
        let id = self.id_of(prefix, data);
        self.put_with_id(id, data, compression, scratch)?;
        Ok(id)
    }

    /// The same for a content that has been hashed already.
    pub fn put_with_id(
        &self,
        id: ContentId,
        data: &[u8],
        compression: Option<CompressionAlgorithm>,
        scratch: &mut Scratch,
    ) -> Result<(), ContentError> {
        let inner = &self.0;
        inner.check_running()?;
        if inner.exists(&id) {
            return Ok(());
        }
        let crypto = inner.reader.crypto();
        let iv = id.iv().ok_or_else(|| ContentError::NotFound { id, damaged: Vec::new() })?;
        let compression = compression.filter(|_| inner.options.parameters.compresses_contents());
        let (mut stored, mut compressed) = (vec![0; NONCE_LEN], 0);
        if let Some(algorithm) = compression
            && scratch.compressor.compress(algorithm, data, &mut stored)?
        {
            compressed = algorithm.header_id();
        } else {
            stored.reserve_exact(data.len() + OVERHEAD);
            stored.extend_from_slice(data);
        }
        crypto.cipher.seal_in_place(iv, &mut stored);
        let full = inner.append(id, stored, data.len(), compressed)?;
        full.map_or(Ok(()), |pack| inner.finish_and_upload(pack))
    }

    /// Marks a content as deleted, with the next flush.
    pub fn delete(&self, id: &ContentId) -> Result<(), ContentError> {
        let inner = &self.0;
        let mut entry = inner.reader.entry(id)?;
        let (_, full) = inner.with_pack(id, |session, pack| {
            entry.timestamp = inner.now().max(entry.timestamp + 1);
            entry.deleted = true;
            pack.note(entry.clone());
            lock(&inner.pending).insert(*id, (session.number, entry));
            Ok(())
        })?;
        full.map_or(Ok(()), |pack| inner.finish_and_upload(pack))
    }

    /// Whether so much has been written, or so long ago, that it should be made visible: what is not would be lost in
    /// a crash (format page 05 §5.4).
    pub fn is_flush_due(&self) -> bool {
        let inner = &self.0;
        let entries = lock(&inner.pending).len();
        let age = inner.clock.now().duration_since(lock(&inner.open).session.started);
        let bytes = inner.unflushed_bytes.load(Ordering::Relaxed);
        entries >= FLUSH_ENTRIES || bytes >= FLUSH_BYTES || entries > 0 && age >= FLUSH_AGE
    }

    /// Makes everything that was put visible to all.
    pub async fn flush(&self) -> Result<(), ContentError> {
        let inner = &self.0;
        let _one = inner.flushing.lock().await;
        inner.check_running()?;
        let flushed = inner.flush().await;
        if let Err(e) = &flushed {
            inner.fail(e);
        }
        flushed
    }
}

impl Session {
    fn new(clock: &dyn Clock, number: u64) -> Result<Arc<Self>, ContentError> {
        let started = clock.now();
        let id = SessionId::new(started, random()?);
        let outstanding = watch::Sender::new(0);
        Ok(Arc::new(Self { id, number, started, marker: OnceCell::new(), outstanding, failure: Mutex::default() }))
    }
}

impl Inner {
    fn check_running(&self) -> Result<(), ContentError> {
        self.failure.get().map_or(Ok(()), |why| Err(ContentError::Stopped(why.clone())))
    }

    /// Unix seconds.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_second()).unwrap_or(0)
    }

    fn exists(&self, id: &ContentId) -> bool {
        if let Some((_, entry)) = lock(&self.pending).get(id) {
            return !entry.deleted;
        }
        self.reader.has(id)
    }

    /// Adds a stored content to the open pack; gives the pack back when it is full.
    fn append(
        &self,
        id: ContentId,
        stored: Vec<u8>,
        original_length: usize,
        compression: u32,
    ) -> Result<Option<ClosedPack>, ContentError> {
        let mut timestamp = self.now();
        if let Ok(deleted) = self.reader.entry(&id) {
            timestamp = timestamp.max(deleted.timestamp + 1);
        }
        let packed_length = u32::try_from(stored.len()).map_err(ContentError::internal)?;
        let original_length = u32::try_from(original_length).map_err(ContentError::internal)?;

        let (_, full) = self.with_pack(&id, |session, pack| {
            if let Some((_, entry)) = lock(&self.pending).get(&id) {
                if !entry.deleted {
                    // Another thread was quicker.
                    return Ok(());
                }
                timestamp = timestamp.max(entry.timestamp + 1);
            }
            let entry = IndexEntry {
                id,
                timestamp,
                deleted: false,
                pack: pack.id.clone(),
                pack_offset: pack.append(stored)?,
                packed_length,
                original_length,
                compression,
                format_version: self.options.parameters.version.number(),
                encryption_key: 0,
            };
            pack.note(entry.clone());
            lock(&self.pending).insert(id, (session.number, entry));
            lock(&self.stats).contents += 1;
            Ok(())
        })?;
        Ok(full)
    }

    /// Does something with the open pack for a content, begun when there is none; gives the pack back when it is full.
    fn with_pack<T>(
        &self,
        id: &ContentId,
        f: impl FnOnce(&Session, &mut PackBuilder) -> Result<T, ContentError>,
    ) -> Result<(T, Option<ClosedPack>), ContentError> {
        loop {
            let mut open = lock(&self.open);
            let Open { session, data, metadata } = &mut *open;
            let (kind, place) =
                if id.prefix().is_none() { (PackKind::Data, data) } else { (PackKind::Metadata, metadata) };
            let pack = match place {
                Some(pack) => pack,
                None => match self.slots.try_take(1) {
                    Some(slot) => place.insert(PackBuilder::new(kind, &session.id, &self.options.pack_head, slot)?),
                    None => {
                        drop(open);
                        self.slots.wait(1);
                        continue;
                    }
                },
            };
            let done = f(session, pack)?;
            let is_full = pack.len() >= u64::from(self.options.parameters.max_pack_size);
            let full = place.take_if(|_| is_full);
            return Ok((done, full.map(|builder| ClosedPack { builder, session: OutstandingPack::new(session) })));
        }
    }

    /// Sends a pack on its way.
    fn finish_and_upload(self: &Arc<Self>, pack: ClosedPack) -> Result<(), ContentError> {
        let finished = pack.builder.finish(self.reader.crypto(), self.options.parameters.index_version);
        match finished {
            Ok(Some(finished)) => {
                self.upload(finished, pack.session);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => {
                self.fail(&e);
                Err(e)
            }
        }
    }

    fn fail(&self, e: &ContentError) {
        // Only the first is told; the others follow from it.
        let _ = self.failure.set(crate::error::chain(e));
    }

    fn put_options(&self) -> PutOptions {
        PutOptions { retention: self.options.retention, ..PutOptions::default() }
    }

    fn upload(self: &Arc<Self>, pack: FinishedPack, session: OutstandingPack) {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            let length = pack.payload.len();
            match inner.put_pack(pack, &session.0).await {
                Ok(()) => {
                    lock(&inner.stats).uploaded_bytes += length;
                    inner.unflushed_bytes.fetch_add(length, Ordering::Relaxed);
                }
                Err(e) => {
                    inner.fail(&e);
                    lock(&session.0.failure).get_or_insert(e);
                }
            }
        });
    }

    async fn put_pack(&self, pack: FinishedPack, session: &Session) -> Result<(), ContentError> {
        let FinishedPack { id, payload, slot } = pack;
        self.put_marker(session).await?;
        self.storage().put(&id, payload, self.put_options()).await?;
        drop(slot);
        Ok(())
    }

    fn storage(&self) -> &dyn Storage {
        &**self.reader.storage()
    }

    /// Puts the session's marker, once.
    async fn put_marker(&self, session: &Session) -> Result<(), ContentError> {
        let put = || async {
            let marker = Marker {
                id: session.id.clone(),
                start_time: session.started,
                checkpoint_time: session.started,
                username: self.options.username.clone(),
                hostname: self.options.hostname.clone(),
            };
            let json = serde_json::to_vec(&marker).map_err(ContentError::internal)?;
            let suffix = Some(session.id.as_str());
            let (id, stored) = sealed::seal(self.reader.crypto(), session::MARKER_PREFIX, suffix, &json)?;
            self.storage().put(&id, stored.into(), PutOptions::default()).await?;
            Ok::<_, ContentError>(id)
        };
        session.marker.get_or_try_init(put).await.map(|_| ())
    }

    async fn flush(self: &Arc<Self>) -> Result<(), ContentError> {
        let (session, packs) = {
            let mut open = lock(&self.open);
            self.unflushed_bytes.store(0, Ordering::Relaxed);
            let next = Session::new(&*self.clock, open.session.number + 1)?;
            let packs = [open.data.take(), open.metadata.take()];
            (std::mem::replace(&mut open.session, next), packs)
        };
        let inner = Arc::clone(self);
        let closed: Vec<ClosedPack> = packs
            .into_iter()
            .flatten()
            .map(|builder| ClosedPack { builder, session: OutstandingPack::new(&session) })
            .collect();
        let sending =
            tokio::task::spawn_blocking(move || closed.into_iter().try_for_each(|pack| inner.finish_and_upload(pack)));
        sending.await.map_err(ContentError::internal)??;
        // The sender is the session itself, so it cannot be gone.
        let _ = session.outstanding.subscribe().wait_for(|n| *n == 0).await;
        if let Some(e) = lock(&session.failure).take() {
            return Err(e);
        }

        let mut entries: Vec<IndexEntry> = lock(&self.pending)
            .values()
            .filter(|(number, _)| *number == session.number)
            .map(|(_, entry)| entry.clone())
            .collect();
        if !entries.is_empty() {
            entries.sort_unstable_by_key(|entry| entry.id);
            self.write_index(entries, &session).await?;
            lock(&self.pending).retain(|_, (number, _)| *number != session.number);
        }
        if let Some(marker) = session.marker.get()
            && let Err(e) = self.storage().delete(marker).await
        {
            // It protects what is not there any more; maintenance removes it when it is old.
            tracing::debug!("cannot delete session marker {marker}: {e}");
        }
        Ok(())
    }

    /// Writes the index blobs of a session, and takes them into the reader's view.
    async fn write_index(&self, entries: Vec<IndexEntry>, session: &Session) -> Result<(), ContentError> {
        let version = self.options.parameters.index_version;
        let shards = index::shard(entries, index::SHARD_LIMIT);
        let count = shards.len();
        let shards: Vec<Vec<u8>> = shards
            .iter()
            .map(|s| index::encode(s, version))
            .collect::<Result<_, _>>()
            .map_err(ContentError::internal)?;
        let layers = if self.reader.epoch_parameters().enabled {
            self.put_in_epoch(&shards, &format!("{}-c{count}", session.id)).await?
        } else {
            self.put_shards(&shards, legacy::INDEX, session.id.as_str()).await?
        };
        self.reader.refresh_with(layers).await?;
        Ok(())
    }

    /// Puts index blobs into the current epoch (format page 07 §7.1, "Writing an index").
    async fn put_in_epoch(&self, shards: &[Vec<u8>], suffix: &str) -> Result<Vec<Layer>, ContentError> {
        for _ in 0..ATTEMPTS {
            let view = self.reader.valid_view().await?;
            let epoch = view.epochs.as_ref().map_or(0, |epochs| epochs.write_epoch);
            let prefix = format!("{}{epoch}_", names::UNCOMPACTED);
            let layers = self.put_shards(shards, &prefix, suffix).await?;
            let now = self.reader.current_epochs().await?.write_epoch;
            if now <= epoch + 1 && tokio::time::Instant::now() < view.valid_until {
                return Ok(layers);
            }
            // Readers may have compacted the epoch without seeing these.
            for layer in &layers {
                for blob in layer.covers.iter() {
                    self.storage().delete(blob).await?;
                }
            }
            if now > epoch + 1 {
                return Err(ContentError::TooSlow { written: epoch, now });
            }
            self.reader.refresh().await?;
        }
        Err(ContentError::Unsettled)
    }

    async fn put_shards(&self, shards: &[Vec<u8>], prefix: &str, suffix: &str) -> Result<Vec<Layer>, ContentError> {
        let mut layers = Vec::new();
        for shard in shards {
            let (id, stored) = sealed::seal(self.reader.crypto(), prefix, Some(suffix), shard)?;
            self.storage().put(&id, stored.into(), self.put_options()).await?;
            layers.push(load::layer(&id, shard.clone())?);
        }
        Ok(layers)
    }
}
