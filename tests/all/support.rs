//! Repositories in memory, and small trees to put into them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use larder::blob::Storage;
use larder::blob::mem::MemoryStorage;
use larder::clock::{Clock, SystemClock};
use larder::content::cache::{CacheOptions, DiskCacheOptions};
use larder::format::{FormatKey, FormatVersion, KeyDerivation, Parameters, SecretBytes};
use larder::policy::{Policy, SourceInfo};
use larder::repo::{CreateOptions, Credential, Identity, OpenOptions, Repository, RepositoryError, create};
use larder::snapshot::create::{CreateOptions as SnapshotOptions, create as snapshot};
use larder::snapshot::entry::Entry;
use larder::snapshot::manifest::{Snapshot, find};
use larder::snapshot::upload::{Progress, Source};
use larder::snapshot::{SnapshotError, Stop, labels_of_all};

/// A repository that has been created, and can be opened as often as one likes.
pub(crate) struct TestRepository {
    pub storage: Arc<dyn Storage>,
    pub memory: Arc<MemoryStorage>,
    key: FormatKey,
    clock: Arc<dyn Clock>,
}

impl TestRepository {
    pub(crate) async fn new() -> Self {
        Self::with_version(FormatVersion::LATEST).await
    }

    pub(crate) async fn with_version(version: FormatVersion) -> Self {
        let splitter = "DYNAMIC-128K-BUZHASH".parse().unwrap();
        Self::with_parameters(Parameters { splitter, ..Parameters::new(version).unwrap() }).await
    }

    pub(crate) async fn with_parameters(parameters: Parameters) -> Self {
        Self::with_clock(parameters, Arc::new(SystemClock)).await
    }

    pub(crate) async fn with_clock(parameters: Parameters, clock: Arc<dyn Clock>) -> Self {
        let memory = Arc::new(MemoryStorage::new(Arc::clone(&clock)));
        let storage: Arc<dyn Storage> = Arc::clone(&memory) as Arc<dyn Storage>;
        let options = CreateOptions { parameters, key_derivation: KeyDerivation::default(), retention: None };
        let key = create(&storage, &SecretBytes::new(b"password".to_vec()), &options).await.unwrap();
        Self { storage, memory, key, clock }
    }

    /// Opens it with the derived key: deriving it takes most of a test's time otherwise.
    pub(crate) async fn open(&self) -> Repository {
        self.open_through(Arc::clone(&self.storage)).await
    }

    /// Opens it through another storage that leads to the same blobs.
    pub(crate) async fn open_through(&self, storage: Arc<dyn Storage>) -> Repository {
        self.try_open_through(storage).await.unwrap()
    }

    /// Opens it at another time.
    pub(crate) async fn open_at(&self, clock: Arc<dyn Clock>) -> Repository {
        self.try_open(Arc::clone(&self.storage), CacheOptions::default(), clock).await.unwrap()
    }

    pub(crate) async fn open_with_cache(&self, directory: &Path) -> Repository {
        let disk = Some(DiskCacheOptions::new(directory, 1 << 30));
        self.open_caching(Arc::clone(&self.storage), CacheOptions { disk, ..CacheOptions::default() }).await
    }

    pub(crate) async fn open_caching(&self, storage: Arc<dyn Storage>, cache: CacheOptions) -> Repository {
        self.try_open(storage, cache, Arc::clone(&self.clock)).await.unwrap()
    }

    pub(crate) async fn try_open_through(&self, storage: Arc<dyn Storage>) -> Result<Repository, RepositoryError> {
        self.try_open(storage, CacheOptions::default(), Arc::clone(&self.clock)).await
    }

    async fn try_open(
        &self,
        storage: Arc<dyn Storage>,
        cache: CacheOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Repository, RepositoryError> {
        let options =
            OpenOptions { identity: Identity { username: "user".into(), hostname: "host".into() }, cache, clock };
        Repository::open(storage, &Credential::Key(self.key.clone()), options).await
    }

    /// All snapshots there are, oldest first.
    pub(crate) async fn snapshots(&self) -> Vec<Snapshot> {
        let manifests = self.open().await.manifests().await.unwrap();
        assert!(manifests.unreadable.is_empty());
        let (snapshots, errors) = find(&manifests, &labels_of_all());
        assert!(errors.is_empty(), "{errors:?}");
        snapshots
    }
}

pub(crate) fn source(path: &Path) -> SourceInfo {
    SourceInfo { host: "host".into(), user_name: "user".into(), path: path.to_str().unwrap().to_owned() }
}

/// A snapshot, with nothing but the global policy and `policies`.
pub(crate) async fn make_snapshot(
    repository: &Repository,
    path: &Path,
    policies: &[(SourceInfo, Policy)],
) -> Result<Snapshot, SnapshotError> {
    let input = Source::Path(path.to_owned());
    make(repository, path, input, policies, &SnapshotOptions::default(), &Arc::default()).await
}

pub(crate) async fn make(
    repository: &Repository,
    path: &Path,
    input: Source,
    policies: &[(SourceInfo, Policy)],
    options: &SnapshotOptions,
    progress: &Arc<Progress>,
) -> Result<Snapshot, SnapshotError> {
    let writer = repository.writer().await?;
    let mut all = vec![(SourceInfo::global(), Policy::default_global())];
    all.extend_from_slice(policies);
    let stop = Stop::default();
    let created = snapshot(&writer, &source(path), input, &all, options, progress, &stop).await?;
    Ok(created.snapshot)
}

pub(crate) fn root(snapshot: &Snapshot) -> &Entry {
    snapshot.root_entry.as_ref().unwrap()
}

/// Writes files, each with its path and bytes, and the directories they need.
pub(crate) fn write_files(root: &Path, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
