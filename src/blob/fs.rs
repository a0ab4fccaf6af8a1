//! Blobs as files of a directory (format page 01 §1.3).
//!
//! A blob is one file, placed by [`sharding`](super::sharding). A put writes a temporary file beside the final
//! one, syncs it, renames it and syncs the directory, so that the blob is whole and there, or not there at all,
//! also after a power loss. Names that do not end in `.f` are not blobs and are left alone.
//!
//! The file `.shards` is written with the first blob that is put, never by a client that only reads.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::sharding::{SHARDS_FILE, SUFFIX, Sharding};
use super::{BlobError, BlobId, BlobMetadata, BlobRange, Capacity, PutOptions, Storage};
use crate::bytes::{Bytes, Payload};
use crate::durable::{create_directories, sync_directory};

/// `storage.config` of type `filesystem` in kopia's client configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemConfig {
    pub path: PathBuf,
    /// Permission bits of files; 0600 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Permission bits of directories; 0700 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir_mode: Option<u32>,
    /// Owner of what is written; only acts as root, and only when both are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Sharding where the directory has no `.shards` file yet.
    #[serde(default)]
    pub dir_shards: Option<Vec<usize>>,
    /// Keys that other programs put there, such as limits of speed.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl FilesystemConfig {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file_mode: None,
            dir_mode: None,
            uid: None,
            gid: None,
            dir_shards: None,
            other: serde_json::Map::new(),
        }
    }
}

/// Sharding of a new repository, and of an old one that never got a `.shards` file.
const SHARDS_OF_NEW: &[usize] = &[1, 3];
const SHARDS_OF_OLD: &[usize] = &[3, 3];

#[derive(Clone, Debug)]
pub struct FilesystemStorage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    file_mode: u32,
    dir_mode: u32,
    owner: Option<(u32, u32)>,
    is_local: bool,
    /// What `.shards` says, or would say.
    sharding: Sharding,
    shards_file_missing: bool,
    shards_file_written: OnceLock<()>,
}

impl FilesystemStorage {
    /// Opens a directory that holds a repository. It must exist.
    pub fn open(config: &FilesystemConfig) -> Result<Self, BlobError> {
        Self::with_default_shards(config, SHARDS_OF_OLD)
    }

    /// Opens a directory for a new repository, and makes it when it is not there.
    pub fn create(config: &FilesystemConfig) -> Result<Self, BlobError> {
        create_directories(&config.path, config.dir_mode.unwrap_or(0o700))
            .map_err(|e| failed(format!("creating directory {}", config.path.display()), e))?;
        Self::with_default_shards(config, SHARDS_OF_NEW)
    }

    fn with_default_shards(config: &FilesystemConfig, default: &[usize]) -> Result<Self, BlobError> {
        let root = config.path.clone();
        let what = || format!("opening the repository directory {}", root.display());
        if !fs::metadata(&root).map_err(|e| failed(what(), e))?.is_dir() {
            return Err(failed(what(), ErrorKind::NotADirectory.into()));
        }
        let shards_file = root.join(SHARDS_FILE);
        let (sharding, missing) = match fs::read(&shards_file) {
            Ok(file) => {
                let parsed = Sharding::parse(&file)
                    .map_err(|e| failed(format!("reading {}", shards_file.display()), io::Error::other(e)))?;
                (parsed, false)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                (Sharding::new(config.dir_shards.clone().unwrap_or_else(|| default.to_vec())), true)
            }
            Err(e) => return Err(failed(format!("reading {}", shards_file.display()), e)),
        };
        let owner = config.uid.zip(config.gid).filter(|_| rustix::process::geteuid().is_root());
        Ok(Self(Arc::new(Inner {
            root,
            file_mode: config.file_mode.unwrap_or(0o600),
            dir_mode: config.dir_mode.unwrap_or(0o700),
            owner,
            is_local: rustix::fs::statfs(&config.path).is_ok_and(|found| !is_network(found.f_type as u32)),
            sharding,
            shards_file_missing: missing,
            shards_file_written: OnceLock::new(),
        })))
    }

    /// Runs file operations where they may block.
    async fn blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> String,
        f: impl FnOnce(&Inner) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || f(&inner)).await {
            Ok(result) => result,
            Err(stopped) => Err(failed(what(), io::Error::other(stopped))),
        }
    }
}

#[async_trait]
impl Storage for FilesystemStorage {
    fn location(&self) -> String {
        format!("Filesystem: {}", self.0.root.display())
    }

    /// One disk, or one network link, is kept busy by one writer.
    fn parallel_puts(&self) -> usize {
        1
    }

    fn is_local(&self) -> bool {
        self.0.is_local
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<BlobMetadata, BlobError>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        let (inner, prefix) = (Arc::clone(&self.0), prefix.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut batch = Vec::new();
            let mut listed = |found: BlobMetadata| {
                batch.push(Ok(found));
                batch.len() < BATCH || sender.blocking_send(std::mem::take(&mut batch)).is_ok()
            };
            let end = inner.walk(&inner.root, "", &prefix, &mut listed);
            batch.extend(end.err().map(Err));
            // Nobody listens any more when this fails, so there is nobody to tell.
            let _ = sender.blocking_send(batch);
        });
        futures::stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|batch| (batch, receiver)) })
            .flat_map(futures::stream::iter)
            .boxed()
    }

    async fn stat(&self, id: &BlobId) -> Result<BlobMetadata, BlobError> {
        let id = id.clone();
        self.blocking(
            || format!("reading attributes of {}", self.location()),
            move |inner| {
                let metadata =
                    fs::metadata(inner.path(&id)).map_err(|e| blob_failed("reading attributes of", &id, e))?;
                Ok(BlobMetadata { length: metadata.len(), timestamp: modified(&metadata), id })
            },
        )
        .await
    }

    async fn get(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError> {
        let id = id.clone();
        self.blocking(|| format!("reading from {}", self.location()), move |inner| inner.read(&id, range)).await
    }

    async fn put(&self, id: &BlobId, payload: Payload, options: PutOptions) -> Result<(), BlobError> {
        if options.retention.is_some() {
            return Err(BlobError::Unsupported { what: "object lock (retention)", storage: self.location() });
        }
        let id = id.clone();
        self.blocking(
            || format!("writing to {}", self.location()),
            move |inner| {
                inner.write_shards_file()?;
                let (directories, name) = inner.sharding.split(&id);
                inner
                    .write(&directories, &name, payload, options.no_overwrite)
                    .map_err(|e| blob_failed("writing", &id, e))
            },
        )
        .await
    }

    async fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        let id = id.clone();
        self.blocking(
            || format!("deleting from {}", self.location()),
            move |inner| match fs::remove_file(inner.path(&id)) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(blob_failed("deleting", &id, e)),
                _ => Ok(()),
            },
        )
        .await
    }

    async fn capacity(&self) -> Result<Option<Capacity>, BlobError> {
        self.blocking(
            || format!("asking for the capacity of {}", self.location()),
            |inner| {
                let volume = rustix::fs::statvfs(&inner.root)
                    .map_err(|e| failed(format!("asking for the capacity of {}", inner.root.display()), e.into()))?;
                Ok(Some(Capacity {
                    total: volume.f_blocks.saturating_mul(volume.f_frsize),
                    available: volume.f_bavail.saturating_mul(volume.f_frsize),
                }))
            },
        )
        .await
    }
}

/// Whether file systems with this magic number lie on another machine, as `statfs(2)` numbers them; those in user space
/// often do.
fn is_network(magic: u32) -> bool {
    const NFS: u32 = 0x6969;
    const SMB: u32 = 0x517b;
    const CIFS: u32 = 0xff53_4d42;
    const SMB2: u32 = 0xfe53_4d42;
    const CEPH: u32 = 0x00c3_6400;
    const AFS: u32 = 0x5346_414f;
    const NINEP: u32 = 0x0102_1997;
    const LUSTRE: u32 = 0x0bd0_0bd0;
    const FUSE: u32 = 0x6573_5546;
    matches!(magic, NFS | SMB | CIFS | SMB2 | CEPH | AFS | NINEP | LUSTRE | FUSE)
}

/// Blobs handed over at once by a listing.
const BATCH: usize = 256;

impl Inner {
    fn path(&self, id: &BlobId) -> PathBuf {
        let (directories, name) = self.sharding.split(id);
        let mut path = self.root.clone();
        path.extend(directories);
        path.push(name);
        path
    }

    fn read(&self, id: &BlobId, range: BlobRange) -> Result<Bytes, BlobError> {
        let lost = |e| blob_failed("reading", id, e);
        let file = File::open(self.path(id)).map_err(lost)?;
        let length = file.metadata().map_err(lost)?.len();
        let (offset, wanted) = match range {
            BlobRange::All => (0, length),
            BlobRange::Part { offset, length } => (offset, length),
        };
        let short = || BlobError::InvalidRange { id: id.clone(), offset, wanted, length };
        if offset.checked_add(wanted).is_none_or(|end| end > length) {
            return Err(short());
        }
        let mut bytes = vec![0; usize::try_from(wanted).map_err(|_| short())?];
        file.read_exact_at(&mut bytes, offset).map_err(lost)?;
        Ok(bytes.into())
    }

    /// Puts `payload` at `name` below `directories`, whole and durable or not at all.
    fn write(&self, directories: &[String], name: &str, payload: Payload, no_overwrite: bool) -> io::Result<()> {
        let mut directory = self.root.clone();
        directory.extend(directories);
        let target = directory.join(name);
        let temporary = directory.join(format!("{name}.tmp.{}", random_suffix()?));
        let file = match self.create_file(&temporary) {
            Err(e) if e.kind() == ErrorKind::NotFound && !directories.is_empty() => {
                self.create_directories(directories)?;
                self.create_file(&temporary)?
            }
            other => other?,
        };
        let written = write_payload(&file, payload).and_then(|()| file.sync_all()).and_then(|()| {
            drop(file);
            if no_overwrite { rename_to_new(&temporary, &target) } else { fs::rename(&temporary, &target) }
        });
        if let Err(e) = written {
            // The first error is the one to report; a leftover is told apart by its name.
            let _ = fs::remove_file(&temporary);
            return Err(e);
        }
        sync_directory(&directory)
    }

    fn create_file(&self, path: &Path) -> io::Result<File> {
        let file = File::options().write(true).create_new(true).mode(self.file_mode).open(path)?;
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }

    /// Makes the directories below the root that are missing, and makes their names durable.
    fn create_directories(&self, directories: &[String]) -> io::Result<()> {
        let mut path = self.root.clone();
        for directory in directories {
            let parent = path.clone();
            path.push(directory);
            match fs::DirBuilder::new().mode(self.dir_mode).create(&path) {
                Ok(()) => {
                    if let Some((uid, gid)) = self.owner {
                        std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
                    }
                    sync_directory(&parent)?;
                }
                // Another writer may have made it and not have synced it yet.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => sync_directory(&parent)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write_shards_file(&self) -> Result<(), BlobError> {
        if !self.shards_file_missing || self.shards_file_written.get().is_some() {
            return Ok(());
        }
        let what = || format!("writing {}", self.root.join(SHARDS_FILE).display());
        match self.write(&[], SHARDS_FILE, self.sharding.to_file().into(), true) {
            Ok(()) => {}
            // Another client was first. Its parameters count: two clients with different ones would not see each
            // other's blobs.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let theirs = fs::read(self.root.join(SHARDS_FILE)).map_err(|e| failed(what(), e))?;
                if Sharding::parse(&theirs).ok().as_ref() != Some(&self.sharding) {
                    let why = "another client has just written other parameters; try again";
                    return Err(failed(what(), io::Error::other(why)));
                }
            }
            Err(e) => return Err(failed(what(), e)),
        }
        self.shards_file_written.get_or_init(|| ());
        Ok(())
    }

    /// Calls `listed` for every blob below `directory`, whose path so far spells `spelled`; ends early when it
    /// answers false.
    fn walk(
        &self,
        directory: &Path,
        spelled: &str,
        prefix: &str,
        listed: &mut dyn FnMut(BlobMetadata) -> bool,
    ) -> Result<bool, BlobError> {
        let lost = |e: io::Error| failed(format!("listing {}", directory.display()), e);
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound && !spelled.is_empty() => return Ok(true),
            Err(e) => return Err(lost(e)),
        };
        for entry in entries {
            let entry = entry.map_err(lost)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_directory = entry.file_type().map_err(lost)?.is_dir();
            let whole =
                format!("{spelled}{}", if is_directory { &name } else { name.strip_suffix(SUFFIX).unwrap_or("") });
            if is_directory {
                let compatible = whole.starts_with(prefix) || prefix.starts_with(&whole);
                if compatible && !self.walk(&entry.path(), &whole, prefix, listed)? {
                    return Ok(false);
                }
            } else if name.ends_with(SUFFIX) && whole.starts_with(prefix) {
                let Ok(id) = BlobId::new(&whole) else { continue };
                let metadata = match entry.metadata() {
                    Ok(metadata) => metadata,
                    // Deleted since the directory was read.
                    Err(e) if e.kind() == ErrorKind::NotFound => continue,
                    Err(e) => return Err(lost(e)),
                };
                if !listed(BlobMetadata { id, length: metadata.len(), timestamp: modified(&metadata) }) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Writes a payload, piece by piece, so that their memory is free while the disk is still at work.
fn write_payload(mut file: &File, payload: Payload) -> io::Result<()> {
    payload.into_parts().into_iter().try_for_each(|part| file.write_all(&part))
}

/// Renames, unless the target exists.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag; a second name for the file fails just as surely.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

fn random_suffix() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(hex::encode(random))
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Timestamp::new(metadata.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn blob_failed(doing: &str, id: &BlobId, e: io::Error) -> BlobError {
    // A bad sector, a checksum of the file system that does not match, or its own structures gone.
    let damage = [Errno::IO, Errno::BADMSG, Errno::UCLEAN].map(Errno::raw_os_error);
    if doing == "reading" && e.raw_os_error().is_some_and(|code| damage.contains(&code)) {
        return BlobError::Damaged { id: id.clone(), source: e.into() };
    }
    match e.kind() {
        ErrorKind::NotFound if doing != "writing" => BlobError::NotFound { id: id.clone() },
        ErrorKind::AlreadyExists => BlobError::AlreadyExists { id: id.clone() },
        _ => failed(format!("{doing} blob {id}"), e),
    }
}

fn failed(what: String, e: io::Error) -> BlobError {
    match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => BlobError::Denied { what, source: e.into() },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BlobError::NoSpace { what, source: e.into() },
        ErrorKind::StaleNetworkFileHandle | ErrorKind::TimedOut | ErrorKind::HostUnreachable => {
            BlobError::Unavailable { what, source: e.into() }
        }
        _ => BlobError::Other { what, source: e.into() },
    }
}

#[cfg(test)]
mod tests;
