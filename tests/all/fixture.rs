//! Repositories that kopia wrote: unpacking one, and checking that larder reads from it exactly what was in it.
//!
//! A fixture is a directory with `repo/` and `expected.json`, which says what kopia itself read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use larder::blob::Storage;
use larder::blob::fs::{FilesystemConfig, FilesystemStorage};
use larder::clock::SystemClock;
use larder::content::cache::{CacheOptions, DiskCacheOptions};
use larder::content::id::Prefix;
use larder::format::SecretBytes;
use larder::manifest::ManifestSet;
use larder::object::Object;
use larder::policy::{Policy, SourceInfo, store};
use larder::repo::{Credential, Identity, OpenOptions, Repository};
use larder::snapshot::Stop;
use larder::snapshot::create::{CreateOptions, create};
use larder::snapshot::directory::Directory;
use larder::snapshot::entry::{Entry, Kind};
use larder::snapshot::manifest::{Snapshot, find};
use larder::snapshot::restore::{RestoreOptions, restore};
use larder::snapshot::upload::{Source, UploadOptions};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// `expected.json`
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub password: String,
    repository_status: Value,
    manifests: Vec<Value>,
    contents: Vec<Value>,
    index_blobs_active: Vec<Value>,
    snapshots: Vec<ExpectedSnapshot>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpectedSnapshot {
    #[serde(rename = "manifest_id")]
    manifest_id: String,
    source: SourceInfo,
    tree: Option<Vec<ExpectedEntry>>,
}

/// `path` has U+FFFD for bytes that are not UTF-8, as kopia stores names; `path_hex` and `nlink` are the source's.
#[derive(Deserialize)]
struct ExpectedEntry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    mtime_ns: i128,
    size: Option<u64>,
    sha256: Option<String>,
    target: Option<String>,
}

pub(crate) struct Fixture {
    _directory: TempDir,
    pub root: PathBuf,
    pub expected: Expected,
}

impl Fixture {
    /// Unpacks an archive, with the times of its files, which are the times of the blobs.
    pub(crate) fn unpack(archive: &Path) -> Self {
        let directory = TempDir::new().unwrap();
        let reader = zstd::stream::read::Decoder::new(File::open(archive).unwrap()).unwrap();
        tar::Archive::new(reader).unpack(directory.path()).unwrap();
        let root = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let expected = serde_json::from_slice(&fs::read(root.join("expected.json")).unwrap()).unwrap();
        Self { _directory: directory, root, expected }
    }

    pub(crate) fn repository_path(&self) -> PathBuf {
        self.root.join("repo")
    }

    pub(crate) async fn open(&self) -> Repository {
        let storage = FilesystemStorage::open(&FilesystemConfig::new(self.repository_path())).unwrap();
        let client = &self.expected.repository_status["clientOptions"];
        let text = |key: &str| client[key].as_str().unwrap().to_owned();
        let options = OpenOptions {
            identity: Identity { username: text("username"), hostname: text("hostname") },
            cache: CacheOptions {
                disk: Some(DiskCacheOptions::new(self.root.join("cache"), 1 << 30)),
                ..Default::default()
            },
            clock: Arc::new(SystemClock),
        };
        let storage: Arc<dyn Storage> = Arc::new(storage);
        Repository::open(storage, &self.credential(), options).await.unwrap()
    }

    pub(crate) fn credential(&self) -> Credential {
        Credential::Password(SecretBytes::new(self.expected.password.trim().as_bytes().to_vec()))
    }

    /// Reads everything and compares it with what kopia read.
    pub(crate) async fn check(&self) {
        let repository = self.open().await;
        self.check_parameters(&repository);
        self.check_contents(&repository);
        let manifests = repository.manifests().await.unwrap();
        self.check_manifests(&manifests);
        for snapshot in &self.expected.snapshots {
            self.check_snapshot(&repository, &manifests, snapshot).await;
        }
        // A second time from the local copies of the indexes.
        self.check_contents(&self.open().await);
    }

    fn check_parameters(&self, repository: &Repository) {
        let status = &self.expected.repository_status;
        let (p, format) = (repository.parameters(), &status["contentFormat"]);
        assert_eq!(hex::encode(repository.unique_id()), status["uniqueIDHex"].as_str().unwrap());
        assert_eq!(p.hash.name(), format["hash"].as_str().unwrap());
        assert_eq!(p.encryption.name(), format["encryption"].as_str().unwrap());
        assert_eq!(p.splitter.name(), status["objectFormat"]["splitter"].as_str().unwrap());
        assert_eq!(u64::from(p.version.number()), format["version"].as_u64().unwrap());
        assert_eq!(u64::from(p.max_pack_size), format["maxPackSize"].as_u64().unwrap());
        assert_eq!(u64::from(p.index_version), format["indexVersion"].as_u64().unwrap_or(1));
        assert_eq!(serde_json::to_value(&p.epochs).unwrap(), format["epochParameters"]);
    }

    fn check_contents(&self, repository: &Repository) {
        let indexes = repository.contents().indexes();
        assert!(indexes.damaged.is_empty(), "{:?}", indexes.damaged);
        let mut active: Vec<String> = indexes.blobs().map(ToString::to_string).collect();
        active.sort();
        let mut expected: Vec<&str> =
            self.expected.index_blobs_active.iter().map(|b| b["id"].as_str().unwrap()).collect();
        expected.sort_unstable();
        assert_eq!(active, expected);

        let found: BTreeMap<String, Value> = indexes
            .entries(Prefix::NONE..=Prefix::LAST)
            .map(|entry| {
                let e = entry.unwrap();
                let mut shown = serde_json::json!({
                    "packFile": e.pack.as_str(),
                    "time": e.timestamp,
                    "originalLength": e.original_length,
                    "length": e.packed_length,
                    "packOffset": e.pack_offset,
                    "contentID": e.id.to_string(),
                    "deleted": e.deleted,
                    "formatVersion": e.format_version,
                });
                if e.compression != 0 {
                    shown["compression"] = e.compression.into();
                }
                (e.id.to_string(), shown)
            })
            .collect();
        assert_eq!(found.len(), self.expected.contents.len());
        for content in &self.expected.contents {
            let id = content["contentID"].as_str().unwrap();
            let mut found = found[id].clone();
            // Go leaves out what is zero.
            found.as_object_mut().unwrap().retain(|key, _| content.get(key).is_some());
            assert_eq!(&found, content);
        }
    }

    fn check_manifests(&self, manifests: &ManifestSet) {
        assert!(manifests.unreadable.is_empty());
        assert_eq!(manifests.iter().count(), self.expected.manifests.len());
        for expected in &self.expected.manifests {
            let id = expected["id"].as_str().unwrap().parse().unwrap();
            let found = manifests.get(id).expect("the manifest is there");
            assert_eq!(serde_json::to_value(&found.labels).unwrap(), expected["labels"]);
            assert_eq!(found.modified, expected["mtime"].as_str().unwrap().parse::<Timestamp>().unwrap());
            assert_eq!(serde_json::from_str::<Value>(found.data.get()).unwrap(), expected["data"]);
            assert_eq!(found.data.get().len() as u64, expected["length"].as_u64().unwrap());
            match found.kind() {
                // Read and written again, every snapshot and policy is the same document.
                "snapshot" => {
                    let mut snapshot = Snapshot::parse(found).unwrap();
                    snapshot.id = None;
                    assert_eq!(larder::json::to_string(&snapshot).unwrap(), found.data.get());
                }
                "policy" => {
                    let policy: Policy = found.parse().unwrap();
                    assert_eq!(larder::json::to_string(&policy).unwrap(), found.data.get());
                }
                _ => {}
            }
        }
    }

    async fn check_snapshot(&self, repository: &Repository, manifests: &ManifestSet, expected: &ExpectedSnapshot) {
        let manifest = manifests.get(expected.manifest_id.parse().unwrap()).unwrap();
        let snapshot = Snapshot::parse(manifest).unwrap();
        assert_eq!(snapshot.source, expected.source);
        let root = snapshot.root_entry.unwrap();
        check_directories(repository, &root).await;
        let target = TempDir::new().unwrap();
        restore_to(repository, root, &target.path().join("restored")).await;
        if let Some(tree) = &expected.tree {
            compare(&target.path().join("restored"), tree);
        }
    }

    /// Restores the snapshots, and snapshots what was restored: the directories must be the very objects that kopia
    /// wrote. Only those are not compared that hold a name which kopia could not store as it was, or data whose id
    /// depends on the compressor.
    pub(crate) async fn write_again(&self) {
        let repository = self.open().await;
        let manifests = repository.manifests().await.unwrap();
        let policies = store::by_target(&store::load(&manifests).0);
        let target = TempDir::new().unwrap();
        let last = self.expected.snapshots.len().saturating_sub(3);
        for (number, expected) in self.expected.snapshots.iter().enumerate().skip(last) {
            let before = Snapshot::parse(manifests.get(expected.manifest_id.parse().unwrap()).unwrap()).unwrap();
            let root = before.root_entry.clone().unwrap();
            let directory = target.path().join(number.to_string()).join(root.name.to_string());
            restore_to(&repository, root.clone(), &directory).await;
            let writer = repository.writer().await.unwrap();
            let options = CreateOptions {
                upload: UploadOptions { force_hash: 100.0, ..UploadOptions::default() },
                ..CreateOptions::default()
            };
            let (progress, stop) = (Arc::default(), Stop::default());
            let input = Source::Path(directory);
            let created = create(&writer, &before.source, input, &policies, &options, &progress, &stop).await.unwrap();
            let after = created.snapshot;
            assert_eq!(after.incomplete, None);
            let compared = compare_objects(&repository, &root, &after.root_entry.unwrap()).await;
            assert!(compared > 0);
        }
        let again = self.open().await;
        let manifests = again.manifests().await.unwrap();
        let (snapshots, errors) = find(&manifests, &larder::snapshot::labels_of_all());
        assert!(errors.is_empty());
        for snapshot in snapshots.iter().rev().take(3) {
            check_directories(&again, snapshot.root_entry.as_ref().unwrap()).await;
        }
    }
}

/// Every directory of a tree can be read, and sums up to what its entry says.
async fn check_directories(repository: &Repository, root: &Entry) {
    let mut todo = vec![root.clone()];
    while let Some(entry) = todo.pop() {
        if entry.kind.is_directory() {
            let directory = Directory::read(repository.contents(), entry.object).await.unwrap();
            assert_eq!(entry.summary.as_deref(), directory.summary.as_ref());
            todo.extend(directory.entries);
        }
    }
}

/// How many directories are the same objects; none may differ without a reason.
async fn compare_objects(repository: &Repository, before: &Entry, after: &Entry) -> usize {
    let mut equal = 0;
    let mut todo = vec![(before.clone(), after.clone())];
    while let Some((before, after)) = todo.pop() {
        if before.object == after.object {
            equal += 1;
            continue;
        }
        let old = Directory::read(repository.contents(), before.object).await.unwrap();
        let new = Directory::read(repository.contents(), after.object).await.unwrap();
        let mut explained = false;
        for entry in &old.entries {
            // A name with U+FFFD: kopia wrote it another way. `Z`: the id depends on the compressor.
            let lossy = entry.name.to_string().contains('\u{fffd}');
            let again = new.find(entry.name.as_bytes()).expect("the entry is there");
            if entry.kind == Kind::Directory {
                explained |= entry.object != again.object;
                todo.push((entry.clone(), again.clone()));
            } else {
                let object = Object::open(repository.contents(), entry.object).await.unwrap();
                let compressed = object.pieces().iter().any(|piece| piece.compressed);
                explained |= lossy || compressed;
                assert!(entry.object == again.object || compressed, "{entry:?} {again:?}");
            }
            assert_eq!((&entry.name, entry.mode, entry.mtime), (&again.name, again.mode, again.mtime));
            // Only root can give files away.
            let owned = (entry.uid, entry.gid) == (again.uid, again.gid);
            assert!(owned || !rustix::process::geteuid().is_root(), "{entry:?} {again:?}");
            explained |= !owned;
        }
        assert_eq!(old.entries.len(), new.entries.len());
        assert!(explained, "{} and {} differ without a reason", before.object, after.object);
    }
    equal
}

pub(crate) async fn restore_to(repository: &Repository, root: Entry, target: &Path) {
    let contents = Arc::clone(repository.contents());
    restore(contents, root, target, RestoreOptions::default(), Arc::default(), Stop::default()).await.unwrap();
}

/// Compares a directory with the expected tree, attribute by attribute. Owners count for root only.
fn compare(directory: &Path, tree: &[ExpectedEntry]) {
    let is_root = rustix::process::geteuid().is_root();
    let mut there = list(directory);
    for expected in tree {
        let path = there.remove(&expected.path).unwrap_or_else(|| panic!("{} is missing", expected.path));
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mtime = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        assert_eq!(mtime, expected.mtime_ns, "mtime of {}", expected.path);
        if is_root {
            assert_eq!((metadata.uid(), metadata.gid()), (expected.uid, expected.gid), "{}", expected.path);
        }
        let kind = if metadata.is_dir() {
            "d"
        } else if metadata.is_symlink() {
            "s"
        } else {
            "f"
        };
        assert_eq!(kind, expected.kind, "{}", expected.path);
        if kind == "s" {
            let target = fs::read_link(&path).unwrap().into_os_string().into_vec();
            assert_eq!(String::from_utf8(target).unwrap(), *expected.target.as_ref().unwrap());
            continue;
        }
        assert_eq!(format!("0o{:o}", metadata.mode() & 0o7777), expected.mode, "mode of {}", expected.path);
        if kind == "f" {
            assert_eq!(Some(metadata.len()), expected.size, "{}", expected.path);
            let mut bytes = Vec::new();
            File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(Some(hex::encode(digest(&SHA256, &bytes))), expected.sha256, "{}", expected.path);
        }
    }
    assert!(there.is_empty(), "not expected: {there:?}");
}

/// Everything below a directory, and itself, by its path from there.
fn list(directory: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        let relative = path.strip_prefix(directory).unwrap().as_os_str().as_bytes();
        found.insert(String::from_utf8_lossy(relative).into_owned(), path.clone());
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}
