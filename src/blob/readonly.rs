//! A storage that refuses to change anything: what a read-only connection gets.

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{BlobError, BlobId, BlobMetadata, BlobRange, Capacity, PutOptions, Storage};
use crate::bytes::{Bytes, Payload};

#[derive(Debug)]
pub struct ReadOnly<S>(pub S);

#[async_trait]
impl<S: Storage> Storage for ReadOnly<S> {
    fn location(&self) -> String {
        self.0.location()
    }

    fn parallel_puts(&self) -> usize {
        self.0.parallel_puts()
    }

    fn is_local(&self) -> bool {
        self.0.is_local()
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<BlobMetadata, BlobError>> {
        self.0.list(prefix)
    }

    async fn stat(&self, id: &BlobId) -> Result<BlobMetadata, BlobError> {
        self.0.stat(id).await
    }

    async fn get(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError> {
        self.0.get(id, range).await
    }

    async fn put(&self, id: &BlobId, _: Payload, _: PutOptions) -> Result<(), BlobError> {
        Err(BlobError::ReadOnly { what: format!("writing blob {id}") })
    }

    async fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        Err(BlobError::ReadOnly { what: format!("deleting blob {id}") })
    }

    async fn capacity(&self) -> Result<Option<Capacity>, BlobError> {
        self.0.capacity().await
    }
}
