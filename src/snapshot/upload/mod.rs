//! Making a snapshot of a source (format page 21 §5).
//!
//! ```text
//!            visit (directory)              store (file)                    finish (directory)
//! list, ignore rules, compare with ──► read, split, hash, pack ──► entries of all children there:
//! the last snapshot                                                 sort, sum up, write, go to the parent
//! ```
//!
//! The tree is worked on by a pool of plain threads; each step is a task that any of them may take. A directory is a
//! `Node` that counts what it still waits for, and whoever brings the last piece finishes it. There are more threads
//! than CPUs, since those with small files mostly wait for the disk, and large files have their own; but only one for
//! each CPU compresses, and the chunks in memory are counted.
//!
//! Directories are always read anew and written anew: what did not change is the same content and costs nothing. Of
//! a file that looks unchanged the data is not read.
//!
//! What cannot be read is left out, counted and listed. What cannot be *written* stops the snapshot.

mod checkpoint;
mod file;
mod finish;
mod ignore;
mod links;
mod node;
mod visit;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::entry::{Entry, Kind, Name, Xattrs};
use super::local::{LocalDirectory, Metadata};
use super::manifest::{Snapshot, Stats};
use super::summary::Incomplete;
use super::{SnapshotError, Stop, by_chance};
use crate::content::id::Prefix;
use crate::content::{Scratch, Writer};
use crate::object::{Object, ObjectId, ObjectOptions, put_bytes};
use crate::policy::PolicyTree;
use crate::sync::{Budget, Pool, lock};
pub use checkpoint::Checkpointer;
use file::SmallFile;
use links::Links;
use node::Node;

/// Threads beyond the number of CPUs, for those that wait for the disk.
const WAITING: usize = 2;

fn threads(name: &'static str, count: usize) -> Result<rayon::ThreadPool, SnapshotError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(move |n| format!("{name}-{n}"))
        .build()
        .map_err(|e| SnapshotError::Internal(Box::new(e)))
}

/// What to back up.
pub enum Source {
    /// A directory or a single file.
    Path(PathBuf),
    /// A stream, as a file of this name in a directory that has nothing else; the root is named `directory`, which
    /// like kopia's is the full path that the snapshot is said to be of.
    Stream { directory: String, name: String, mtime: Timestamp, input: Box<dyn Read + Send> },
}

#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Files read at once; 0: as the policy says.
    pub parallel: usize,
    /// Percentage of unchanged files that are read all the same.
    pub force_hash: f64,
    /// Stop at the first error.
    pub fail_fast: bool,
    /// Bytes after which the snapshot ends, incomplete.
    pub limit: Option<u64>,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self { parallel: 0, force_hash: 0.0, fail_fast: false, limit: None }
    }
}

/// What an upload made.
#[derive(Debug)]
pub struct Uploaded {
    pub root: Entry,
    pub stats: Stats,
    pub incomplete: Option<Incomplete>,
}

/// How far an upload is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files that are being read.
    pub hashing_files: AtomicU64,
    pub hashed_files: AtomicU64,
    pub hashed_bytes: AtomicU64,
    pub cached_files: AtomicU64,
    pub cached_bytes: AtomicU64,
    pub directories: AtomicU64,
    pub excluded_files: AtomicU64,
    pub excluded_directories: AtomicU64,
    pub excluded_bytes: AtomicU64,
    pub errors: AtomicU64,
    pub ignored_errors: AtomicU64,
    /// Problems since they were last taken, in words.
    notes: Mutex<Vec<Note>>,
}

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub path: String,
    pub problem: String,
    pub severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The entry is missing and the snapshot failed.
    Fatal,
    /// The entry is missing, and the policy says that this is all right.
    Ignored,
    /// The entry is there, but not quite as it was.
    Warning,
}

impl Progress {
    /// What came up since the last call.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut lock(&self.notes))
    }

    fn note(&self, path: &[u8], problem: String, severity: Severity) {
        let path = String::from_utf8_lossy(path).into_owned();
        lock(&self.notes).push(Note { path, problem, severity });
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// What all tasks of one upload share.
struct Run {
    contents: Arc<Writer>,
    runtime: Handle,
    options: UploadOptions,
    progress: Arc<Progress>,
    links: Links,
    stop: Stop,
    /// Directories that are known but not yet listed.
    unvisited: AtomicUsize,
    /// Chunks that wait for a thread, and how many may.
    queued_chunks: AtomicUsize,
    most_queued_chunks: usize,
    /// Memory of chunks that are done with.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Chunks of large files in memory: more than may be queued, so that there is one for a reader at last.
    chunk_slots: Budget,
    /// One for each CPU.
    workers: Pool<Worker>,
    /// Threads for large files, so that they keep the CPUs busy while small ones wait for the disk. None where the
    /// user limits the files that are read at a time.
    large_pool: Option<rayon::ThreadPool>,
    stats: Mutex<Stats>,
    limit_reached: AtomicBool,
    canceled: AtomicBool,
    /// What cannot be gone on with, and whether there is such a thing.
    fatal: Mutex<Option<SnapshotError>>,
    has_failed: AtomicBool,
    complete: Mutex<Option<oneshot::Sender<Option<Entry>>>>,
    empty_object: OnceLock<ObjectId>,
}

/// What is needed for compressing, and for a small file's bytes.
#[derive(Default)]
struct Worker {
    scratch: Scratch,
    buffer: Vec<u8>,
}

/// An upload that has begun.
pub struct Upload {
    run: Arc<Run>,
    root: Arc<Node>,
    done: oneshot::Receiver<Option<Entry>>,
    _pool: rayon::ThreadPool,
}

impl Upload {
    /// Begins to upload. `bases` are earlier snapshots of the same source, oldest first.
    pub fn start(
        contents: Arc<Writer>,
        source: Source,
        policy: PolicyTree,
        bases: &[Snapshot],
        options: UploadOptions,
        progress: Arc<Progress>,
        stop: Stop,
    ) -> Result<Self, SnapshotError> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let asked =
            if options.parallel > 0 { Some(options.parallel) } else { policy.policy().max_parallel_file_reads() };
        let pool = threads("upload", asked.unwrap_or(cpus + WAITING))?;
        let large_pool = if asked.is_none() { Some(threads("upload-large", cpus)?) } else { None };
        let (complete, done) = oneshot::channel();
        let run = Arc::new(Run {
            contents,
            runtime: Handle::current(),
            options,
            progress,
            links: Links::default(),
            stop,
            unvisited: AtomicUsize::new(0),
            queued_chunks: AtomicUsize::new(0),
            most_queued_chunks: asked.map_or(cpus, |asked| asked.min(cpus)),
            buffers: Mutex::default(),
            workers: Pool::new(cpus),
            large_pool,
            chunk_slots: Budget::new(2 * cpus as u64 + 1),
            stats: Mutex::default(),
            limit_reached: AtomicBool::new(false),
            canceled: AtomicBool::new(false),
            fatal: Mutex::default(),
            has_failed: AtomicBool::new(false),
            complete: Mutex::new(Some(complete)),
            empty_object: OnceLock::new(),
        });
        let roots: Vec<&Entry> = bases.iter().filter_map(|base| base.root_entry.as_ref()).collect();
        let root = match source {
            Source::Path(path) => start_path(&run, &pool, &path, policy, &roots)?,
            Source::Stream { directory, name, mtime, input } => {
                let root = start_stream_root(&run, &directory, policy)?;
                start_stream(&pool, &root, Name::from(name.as_str()), mtime, input);
                root
            }
        };
        Ok(Self { run, root, done, _pool: pool })
    }

    /// What can save the work so far, at any time.
    pub fn checkpointer(&self) -> Checkpointer {
        Checkpointer::new(Arc::clone(&self.root))
    }

    /// Waits for the end.
    pub async fn finish(self) -> Result<Uploaded, SnapshotError> {
        let root = self.done.await.ok().flatten();
        let run = &self.run;
        let mut stats = *lock(&run.stats);
        stats.excluded_file_count = run.progress.excluded_files.load(Ordering::Relaxed);
        stats.excluded_dir_count = run.progress.excluded_directories.load(Ordering::Relaxed);
        stats.excluded_total_size = run.progress.excluded_bytes.load(Ordering::Relaxed);
        stats.error_count = run.progress.errors.load(Ordering::Relaxed);
        stats.ignored_error_count = run.progress.ignored_errors.load(Ordering::Relaxed);
        if let Some(e) = lock(&run.fatal).take() {
            return Err(e);
        }
        let root = root.ok_or_else(|| SnapshotError::Internal("the upload ended without a result".into()))?;
        Ok(Uploaded { root, stats, incomplete: run.incomplete() })
    }
}

impl Run {
    /// Why the snapshot will not be complete, if it will not.
    fn incomplete(&self) -> Option<Incomplete> {
        if self.limit_reached.load(Ordering::Relaxed) {
            Some(Incomplete::LimitReached)
        } else if self.canceled.load(Ordering::Relaxed) {
            Some(Incomplete::Canceled)
        } else {
            None
        }
    }

    /// Whether to begin nothing new.
    fn is_over(&self) -> bool {
        if self.stop.is_set() {
            self.canceled.store(true, Ordering::Relaxed);
        }
        let over_limit = |limit| self.progress.hashed_bytes.load(Ordering::Relaxed) > limit;
        if self.options.limit.is_some_and(over_limit) {
            self.limit_reached.store(true, Ordering::Relaxed);
        }
        self.has_failed.load(Ordering::Relaxed) || self.incomplete().is_some()
    }

    fn fail(&self, e: impl Into<SnapshotError>) {
        // Only the first is told; the others follow from it.
        lock(&self.fatal).get_or_insert_with(|| e.into());
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Whether the data of an earlier snapshot's entry, which looks unchanged, is taken for that of now. It must be
    /// there: what an earlier snapshot has lost, because an index was, must not be missing in a new one as well.
    fn may_take_over(&self, base: &Entry) -> bool {
        let is_stored = || self.runtime.block_on(Object::is_stored(self.contents.reader(), base.object));
        !by_chance(self.options.force_hash) && is_stored()
    }

    /// Makes a task of a large file.
    fn spawn_large(&self, task: impl FnOnce() + Send + 'static) {
        match &self.large_pool {
            Some(pool) => pool.spawn(task),
            None => rayon::spawn(task),
        }
    }

    /// The object without any bytes.
    fn empty_object(&self) -> Result<ObjectId, SnapshotError> {
        if let Some(id) = self.empty_object.get() {
            return Ok(*id);
        }
        let options = ObjectOptions {
            prefix: Prefix::NONE,
            compression: None,
            metadata_compression: None,
            splitter: self.contents.parameters().splitter,
        };
        let id = put_bytes(&self.contents, &options, &[], &mut Scratch::default())?;
        Ok(*self.empty_object.get_or_init(|| id))
    }

    /// Hands the root over, or nothing when there is none to have.
    fn completed(&self, root: Option<Entry>) {
        if let Some(complete) = lock(&self.complete).take() {
            // Nobody waits when the upload was abandoned.
            let _ = complete.send(root);
        }
    }
}

fn start_path(
    run: &Arc<Run>,
    pool: &rayon::ThreadPool,
    path: &Path,
    policy: PolicyTree,
    bases: &[&Entry],
) -> Result<Arc<Node>, SnapshotError> {
    let lost = |e| SnapshotError::Source { path: path.display().to_string(), source: e };
    // The identity keeps the path as given; what is read is what it leads to.
    let real = path.canonicalize().map_err(lost)?;
    let name = path.file_name().map_or_else(|| Name::from("/"), |name| Name::from(name.as_encoded_bytes()));
    if real.is_dir() {
        let directory = LocalDirectory::open(&real).map_err(lost)?;
        let metadata = directory.metadata().map_err(lost)?;
        let xattrs = directory.xattrs().map_err(lost)?;
        let root = Node::root(run, name, metadata, xattrs, policy);
        let bases = visit::directories(bases.iter().rev().copied());
        run.unvisited.store(1, Ordering::SeqCst);
        let node = Arc::clone(&root);
        pool.spawn(move || visit::visit(&node, directory, None, &bases));
        return Ok(root);
    }
    let (parent, file_name) =
        real.parent().zip(real.file_name()).ok_or_else(|| lost(std::io::ErrorKind::NotFound.into()))?;
    let directory = LocalDirectory::open(parent).map_err(lost)?;
    let file_name = Name::from(file_name.as_encoded_bytes());
    let metadata = directory.metadata_of(&file_name).and_then(|m| m.ok_or_else(|| std::io::ErrorKind::NotFound.into()));
    let metadata = metadata.map_err(lost)?;
    if metadata.kind != Kind::File {
        return Err(SnapshotError::UnsupportedSource { path: path.display().to_string() });
    }
    let root = Node::single_file(run, name, policy);
    let base = bases.iter().rev().find(|base| metadata.matches(base)).map(|base| (*base).clone());
    let node = Arc::clone(&root);
    pool.spawn(move || {
        let (directory, file) = (Arc::new(directory), SmallFile { name: file_name, metadata, link: None });
        match base.filter(|base| node.run.may_take_over(base)) {
            Some(base) => file::take_over(&node, &directory, file, &base),
            None if file::is_large(&metadata) => file::store_large(&node, &directory, file),
            None => file::store_batch(&node, &directory, vec![file]),
        }
        node.done();
    });
    Ok(root)
}

/// Kopia's name for "no time": Go's zero time, wrapped into 64 bits of nanoseconds.
const ZERO_TIME: i128 = -6_795_364_578_871_345_152;

fn start_stream_root(run: &Arc<Run>, directory: &str, policy: PolicyTree) -> Result<Arc<Node>, SnapshotError> {
    let zero = Timestamp::from_nanosecond(ZERO_TIME).map_err(|e| SnapshotError::Internal(Box::new(e)))?;
    let metadata = stream_metadata(zero, Kind::Directory);
    Ok(Node::root(run, Name::from(directory), metadata, Xattrs::new(), policy))
}

fn start_stream(pool: &rayon::ThreadPool, root: &Arc<Node>, name: Name, mtime: Timestamp, input: Box<dyn Read + Send>) {
    let (node, metadata) = (Arc::clone(root), stream_metadata(mtime, Kind::File));
    pool.spawn(move || {
        file::store_stream(&node, name, metadata, input);
        node.done();
    });
}

/// What kopia says of a stream and of the directory around it.
fn stream_metadata(mtime: Timestamp, kind: Kind) -> Metadata {
    Metadata { kind, mode: 0o777, size: 0, mtime, uid: 0, gid: 0, device: 0, inode: 0, links: 1, sparse: false }
}
