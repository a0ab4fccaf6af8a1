//! A storage that can lose power, for tests: it promises no more than the contract does.
//!
//! What a put that returned has written stays. What was deleted may come back, all of it or a part. A put that did
//! not return is [`faulty`](super::faulty)'s business.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::mem::MemoryStorage;
use super::{BlobError, BlobId, BlobMetadata, BlobRange, Capacity, PutOptions, Storage};
use crate::bytes::{Bytes, Payload};

#[derive(Debug)]
pub struct Forgetful {
    inner: Arc<MemoryStorage>,
    deleted: Mutex<Vec<(BlobId, Bytes)>>,
}

impl Forgetful {
    pub fn new(inner: Arc<MemoryStorage>) -> Self {
        Self { inner, deleted: Mutex::default() }
    }

    /// Forgets those deletions for which `forget` answers true, by their number; says how many there were.
    pub async fn lose_power(&self, forget: impl Fn(usize) -> bool) -> usize {
        let deleted = std::mem::take(&mut *self.deleted.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, (id, bytes)) in deleted.iter().enumerate() {
            // What was put again since is durable.
            if forget(number) && self.inner.stat(id).await.is_err() {
                self.inner.replace(id, bytes.clone());
            }
        }
        deleted.len()
    }
}

#[async_trait]
impl Storage for Forgetful {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn parallel_puts(&self) -> usize {
        self.inner.parallel_puts()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<BlobMetadata, BlobError>> {
        self.inner.list(prefix)
    }

    async fn stat(&self, id: &BlobId) -> Result<BlobMetadata, BlobError> {
        self.inner.stat(id).await
    }

    async fn get(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError> {
        self.inner.get(id, range).await
    }

    async fn put(&self, id: &BlobId, payload: Payload, options: PutOptions) -> Result<(), BlobError> {
        self.inner.put(id, payload, options).await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        let before = self.inner.get(id, BlobRange::All).await;
        self.inner.delete(id).await?;
        if let Ok(bytes) = before {
            self.deleted.lock().unwrap_or_else(PoisonError::into_inner).push((id.clone(), bytes));
        }
        Ok(())
    }

    async fn capacity(&self) -> Result<Option<Capacity>, BlobError> {
        self.inner.capacity().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn puts_stay_and_deletions_may_not() {
        let memory = Arc::new(MemoryStorage::new(Arc::new(SystemClock)));
        let storage = Forgetful::new(Arc::clone(&memory));
        super::super::conformance::check(&storage).await;
        storage.lose_power(|_| false).await;
        let [a, b, c] = ["a", "b", "c"].map(|name| BlobId::new(name).unwrap());
        for id in [&a, &b, &c] {
            storage.put(id, b"old".as_slice().into(), PutOptions::default()).await.unwrap();
            storage.delete(id).await.unwrap();
        }
        storage.put(&c, b"new".as_slice().into(), PutOptions::default()).await.unwrap();
        assert_eq!(storage.lose_power(|number| number != 0).await, 3);
        assert!(memory.stat(&a).await.unwrap_err().is_not_found());
        assert_eq!(memory.get(&b, BlobRange::All).await.unwrap(), "old");
        assert_eq!(memory.get(&c, BlobRange::All).await.unwrap(), "new");
    }
}
