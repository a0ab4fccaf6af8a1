//! A write session: contents and manifests that become visible together.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{Repository, RepositoryError};
use crate::content::{self, WriterOptions};
use crate::format::replica;
use crate::manifest::{Labels, Manifest, ManifestId, ManifestSet, ManifestWriter};

#[derive(Debug)]
pub struct Writer {
    repository: Repository,
    contents: Arc<content::Writer>,
    manifests: ManifestWriter,
    /// The manifests there were when the session began.
    before: ManifestSet,
}

impl Writer {
    pub(super) async fn begin(repository: Repository) -> Result<Self, RepositoryError> {
        repository.check_format().await?;
        let inner = &repository.0;
        let pack_head = if inner.parameters.enable_password_change { Vec::new() } else { replica(&inner.format_blob)? };
        let options = WriterOptions {
            parameters: Arc::clone(&inner.parameters),
            pack_head,
            retention: repository.blob_config()?.retention,
            username: inner.options.identity.username.clone(),
            hostname: inner.options.identity.hostname.clone(),
        };
        let clock = Arc::clone(&inner.options.clock);
        // Whoever writes reads what was there before once.
        let reader = Arc::new(inner.contents.for_scan());
        let contents = Arc::new(content::Writer::new(reader, clock, options)?);
        let before = repository.manifests().await?;
        let writer = Self { repository, contents, manifests: ManifestWriter::default(), before };
        writer.compact_manifests().await?;
        Ok(writer)
    }

    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    pub fn contents(&self) -> &Arc<content::Writer> {
        &self.contents
    }

    /// The manifests there were when the session began.
    pub fn manifests(&self) -> &ManifestSet {
        &self.before
    }

    pub fn put_manifest(&self, labels: Labels, data: &impl Serialize) -> Result<ManifestId, RepositoryError> {
        Ok(self.manifests.put(labels, data, self.now())?)
    }

    pub fn delete_manifest(&self, manifest: &Manifest) {
        self.delete_manifest_by_id(manifest.id, manifest.modified);
    }

    /// `modified`: when it was put.
    pub fn delete_manifest_by_id(&self, id: ManifestId, modified: Timestamp) {
        self.manifests.delete(id, modified, self.now());
    }

    /// Puts a manifest in the place of all that have exactly these labels.
    pub fn replace_manifest(&self, labels: Labels, data: &impl Serialize) -> Result<ManifestId, RepositoryError> {
        for old in self.before.iter().filter(|manifest| manifest.labels == labels) {
            self.delete_manifest(old);
        }
        self.put_manifest(labels, data)
    }

    /// Makes everything so far visible to all.
    pub async fn flush(&self) -> Result<(), RepositoryError> {
        self.repository.check_format().await?;
        // Blocking work in place: this runs on a thread of the runtime only for as long as one small content takes.
        tokio::task::block_in_place(|| self.manifests.write(&self.contents))?;
        Ok(self.contents.flush().await?)
    }

    /// Makes everything visible, and ends the session.
    pub async fn commit(self) -> Result<(), RepositoryError> {
        self.flush().await
    }

    async fn compact_manifests(&self) -> Result<(), RepositoryError> {
        if tokio::task::block_in_place(|| self.before.compact(&self.contents, self.now()))? {
            self.contents.flush().await?;
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.repository.clock().now()
    }
}
