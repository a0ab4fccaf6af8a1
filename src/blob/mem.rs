//! A storage in memory, for tests: obeys the contract, keeps retention, and takes its times from a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::{BlobError, BlobId, BlobMetadata, BlobRange, Capacity, PutOptions, Storage};
use crate::bytes::{Bytes, Payload};
use crate::clock::Clock;

#[derive(Debug)]
pub struct MemoryStorage {
    clock: Arc<dyn Clock>,
    blobs: Mutex<BTreeMap<BlobId, Blob>>,
}

#[derive(Clone, Debug)]
struct Blob {
    bytes: Bytes,
    timestamp: Timestamp,
    locked_until: Option<Timestamp>,
}

impl MemoryStorage {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, blobs: Mutex::default() }
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeMap<BlobId, Blob>> {
        self.blobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Another storage with the blobs that this one has now.
    pub fn duplicate(&self) -> Self {
        Self { clock: Arc::clone(&self.clock), blobs: Mutex::new(self.blobs().clone()) }
    }

    /// Puts damaged or foreign bytes under a name, whatever lies there.
    pub fn replace(&self, id: &BlobId, bytes: impl Into<Bytes>) {
        let blob = Blob { bytes: bytes.into(), timestamp: self.clock.now(), locked_until: None };
        self.blobs().insert(id.clone(), blob);
    }

    /// Fails where object lock forbids to touch a blob.
    fn check_lock(&self, id: &BlobId, doing: &str) -> Result<(), BlobError> {
        let locked = self.blobs().get(id).and_then(|blob| blob.locked_until);
        match locked.filter(|until| *until > self.clock.now()) {
            None => Ok(()),
            Some(until) => Err(BlobError::Denied {
                what: format!("{doing} blob {id}"),
                source: format!("it is locked until {until}").into(),
            }),
        }
    }
}

impl Blob {
    fn metadata(&self, id: &BlobId) -> BlobMetadata {
        BlobMetadata { id: id.clone(), length: self.bytes.len() as u64, timestamp: self.timestamp }
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn parallel_puts(&self) -> usize {
        1
    }

    /// It stands for any storage, and those far away are more work.
    fn is_local(&self) -> bool {
        false
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<BlobMetadata, BlobError>> {
        let all: Vec<_> = self
            .blobs()
            .iter()
            .filter(|(id, _)| id.starts_with(prefix))
            .map(|(id, blob)| Ok(blob.metadata(id)))
            .collect();
        futures::stream::iter(all).boxed()
    }

    async fn stat(&self, id: &BlobId) -> Result<BlobMetadata, BlobError> {
        let found = self.blobs().get(id).map(|blob| blob.metadata(id));
        found.ok_or_else(|| BlobError::NotFound { id: id.clone() })
    }

    async fn get(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError> {
        let bytes = self.blobs().get(id).map(|blob| blob.bytes.clone());
        let bytes = bytes.ok_or_else(|| BlobError::NotFound { id: id.clone() })?;
        let BlobRange::Part { offset, length } = range else { return Ok(bytes) };
        let short = || BlobError::InvalidRange { id: id.clone(), offset, wanted: length, length: bytes.len() as u64 };
        let start = usize::try_from(offset).map_err(|_| short())?;
        let end = usize::try_from(length).ok().and_then(|l| start.checked_add(l)).ok_or_else(short)?;
        if end > bytes.len() { Err(short()) } else { Ok(bytes.slice(start..end)) }
    }

    async fn put(&self, id: &BlobId, payload: Payload, options: PutOptions) -> Result<(), BlobError> {
        if options.no_overwrite && self.blobs().contains_key(id) {
            return Err(BlobError::AlreadyExists { id: id.clone() });
        }
        self.check_lock(id, "replacing")?;
        let now = self.clock.now();
        let locked_until = options.retention.map(|r| now + r.period);
        self.blobs().insert(id.clone(), Blob { bytes: payload.to_bytes(), timestamp: now, locked_until });
        Ok(())
    }

    async fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        self.check_lock(id, "deleting")?;
        self.blobs().remove(id);
        Ok(())
    }

    async fn capacity(&self) -> Result<Option<Capacity>, BlobError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Retention, RetentionMode};
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn obeys_the_contract() {
        let clock = Arc::new(crate::clock::SystemClock);
        super::super::conformance::check(&MemoryStorage::new(clock)).await;
    }

    #[tokio::test]
    async fn a_locked_blob_stays() {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let storage = MemoryStorage::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let id = BlobId::new("p1").unwrap();
        let retention = Some(Retention { mode: RetentionMode::Governance, period: Duration::from_secs(86400) });
        let options = PutOptions { retention, ..PutOptions::default() };
        storage.put(&id, b"a".as_slice().into(), options).await.unwrap();
        assert!(matches!(storage.delete(&id).await, Err(BlobError::Denied { .. })));
        assert!(matches!(storage.put(&id, b"b".as_slice().into(), options).await, Err(BlobError::Denied { .. })));
        clock.advance(jiff::SignedDuration::from_hours(25));
        storage.delete(&id).await.unwrap();
    }
}
