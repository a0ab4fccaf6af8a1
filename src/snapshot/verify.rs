//! Checking that snapshots can be restored.
//!
//! Every object of a tree must have all its contents in the index, and every content must lie inside a pack that is
//! there. A share of the files is read as well, to the last byte; at 100 % that is a restore without the writing.
//! An object that several snapshots share is checked once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::directory::Directory;
use super::entry::{Entry, Kind};
use super::{SnapshotError, Stop, by_chance};
use crate::blob::list_all;
use crate::content::index::IndexEntry;
use crate::content::{ContentError, Reader};
use crate::object::{Object, ObjectId, Piece};

/// Bytes of pieces fetched by one task at once.
const READ_BYTES: u64 = 8 << 20;
/// Small files that are checked by one task.
const BATCH: usize = 64;

#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Threads.
    pub parallel: usize,
    /// Percentage of files to read.
    pub files_percent: f64,
    /// Errors after which to stop; None: never.
    pub max_errors: Option<u64>,
}

/// Counts of what was checked.
#[derive(Debug, Default)]
pub struct Progress {
    pub processed_objects: AtomicU64,
    pub processed_bytes: AtomicU64,
    pub read_files: AtomicU64,
    pub read_bytes: AtomicU64,
    errors: Mutex<Vec<VerifyError>>,
}

impl Progress {
    pub fn errors(&self) -> Vec<VerifyError> {
        lock(&self.errors).clone()
    }
}

/// What cannot be restored, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifyError {
    pub path: String,
    pub problem: String,
}

/// Where to begin: an entry, and what to call it.
#[derive(Clone, Debug)]
pub struct Root {
    pub path: String,
    pub entry: Entry,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Run {
    contents: Arc<Reader>,
    runtime: Handle,
    options: VerifyOptions,
    progress: Arc<Progress>,
    stop: Stop,
    /// Length of every pack there is.
    packs: HashMap<String, u64>,
    seen: Mutex<HashSet<ObjectId>>,
    /// Tasks that are not done.
    waiting: AtomicUsize,
    over: AtomicBool,
    complete: Mutex<Option<oneshot::Sender<()>>>,
}

/// Checks trees; the errors are in `progress`.
pub async fn verify(
    contents: Arc<Reader>,
    roots: Vec<Root>,
    options: VerifyOptions,
    progress: Arc<Progress>,
    stop: Stop,
) -> Result<(), SnapshotError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.parallel.max(1))
        .thread_name(|n| format!("verify-{n}"))
        .build()
        .map_err(|e| SnapshotError::Internal(Box::new(e)))?;
    let packs = packs(&contents).await?;
    let (complete, done) = oneshot::channel();
    let run = Arc::new(Run {
        contents,
        runtime: Handle::current(),
        options,
        progress,
        stop: stop.clone(),
        packs,
        seen: Mutex::default(),
        waiting: AtomicUsize::new(1),
        over: AtomicBool::new(false),
        complete: Mutex::new(Some(complete)),
    });
    let of_run = Arc::clone(&run);
    pool.spawn(move || {
        of_run.check_all(roots.into_iter().map(|root| (root.path, root.entry)).collect());
        of_run.done();
    });
    // The sender lives as long as the run does.
    let _ = done.await;
    if stop.is_set() { Err(SnapshotError::Canceled) } else { Ok(()) }
}

/// All packs with their lengths.
async fn packs(contents: &Reader) -> Result<HashMap<String, u64>, SnapshotError> {
    let mut packs = HashMap::new();
    for prefix in ["p", "q"] {
        let listed = list_all(&**contents.storage(), prefix).await.map_err(ContentError::from)?;
        packs.extend(listed.into_iter().map(|blob| (blob.id.to_string(), blob.length)));
    }
    Ok(packs)
}

impl Run {
    fn is_over(&self) -> bool {
        self.stop.is_set() || self.over.load(Ordering::Relaxed)
    }

    fn failed(&self, path: &str, problem: impl std::error::Error + 'static) {
        self.failed_because(path, crate::error::chain(&problem));
    }

    fn failed_because(&self, path: &str, problem: String) {
        let mut errors = lock(&self.progress.errors);
        errors.push(VerifyError { path: path.to_owned(), problem });
        if self.options.max_errors.is_some_and(|max| errors.len() as u64 >= max.max(1)) {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    fn spawn(self: &Arc<Self>, task: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let run = Arc::clone(self);
        run.waiting.fetch_add(1, Ordering::SeqCst);
        rayon::spawn(move || {
            if !run.is_over() {
                task(&run);
            }
            run.done();
        });
    }

    fn done(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(complete) = lock(&self.complete).take()
        {
            let _ = complete.send(());
        }
    }

    /// Checks entries, by their paths, that were not checked before.
    fn check_all(self: &Arc<Self>, entries: Vec<(String, Entry)>) {
        let mut batch = Vec::new();
        for (path, entry) in entries {
            if !lock(&self.seen).insert(entry.object) {
                continue;
            }
            if entry.kind.is_directory() {
                self.spawn(move |run| run.check_directory(&path, &entry));
            } else {
                batch.push((path, entry));
            }
            if batch.len() >= BATCH {
                self.check_files(std::mem::take(&mut batch));
            }
        }
        self.check_files(batch);
    }

    fn check_directory(self: &Arc<Self>, path: &str, entry: &Entry) {
        if self.check_object(path, entry).is_none() {
            return;
        }
        match self.runtime.block_on(Directory::read(&self.contents, entry.object)) {
            Ok(directory) => {
                let below = |entry: Entry| (format!("{path}/{}", entry.name), entry);
                self.check_all(directory.entries.into_iter().map(below).collect());
            }
            Err(e) => self.failed(path, e),
        }
    }

    fn check_files(self: &Arc<Self>, files: Vec<(String, Entry)>) {
        if files.is_empty() {
            return;
        }
        self.spawn(move |run| {
            let mut to_read = ToRead::default();
            for (path, entry) in files {
                if run.is_over() {
                    return;
                }
                let Some(object) = run.check_object(&path, &entry) else { continue };
                add(&run.progress.processed_bytes, entry.size);
                if entry.kind != Kind::Symlink && by_chance(run.options.files_percent) {
                    add(&run.progress.read_files, 1);
                    let path: Arc<str> = path.into();
                    for piece in object.pieces() {
                        to_read.push(run, &path, *piece);
                    }
                }
            }
            to_read.send(run);
        });
    }

    /// The object of an entry, if all its contents are there.
    fn check_object(&self, path: &str, entry: &Entry) -> Option<Object> {
        add(&self.progress.processed_objects, 1);
        let object = match self.runtime.block_on(Object::open(&self.contents, entry.object)) {
            Ok(object) => object,
            Err(e) => {
                self.failed(path, e);
                return None;
            }
        };
        if !entry.kind.is_directory() && object.len() != entry.size {
            let problem = format!("object {} has {} bytes instead of {}", entry.object, object.len(), entry.size);
            self.failed_because(path, problem);
            return None;
        }
        for piece in object.pieces() {
            if let Err(problem) = self.check_piece(piece) {
                self.failed_because(path, problem);
                return None;
            }
        }
        Some(object)
    }

    fn check_piece(&self, piece: &Piece) -> Result<(), String> {
        let entry = self.contents.entry(&piece.content).map_err(|e| crate::error::chain(&e))?;
        if entry.deleted {
            return Err(format!("content {} is marked as deleted", entry.id));
        }
        let end = u64::from(entry.pack_offset) + u64::from(entry.packed_length);
        match self.packs.get(entry.pack.as_str()) {
            Some(length) if end <= *length => Ok(()),
            Some(_) => Err(format!("content {} lies beyond the end of pack {}", entry.id, entry.pack)),
            None => Err(format!("content {} is in pack {}, which does not exist", entry.id, entry.pack)),
        }
    }

    /// Reads pieces, each of the file with this path.
    fn read(&self, pieces: &[(Arc<str>, Piece)]) {
        let mut located = Vec::new();
        for (path, piece) in pieces {
            match self.contents.entry(&piece.content) {
                Ok(entry) => located.push((path, piece, entry)),
                Err(e) => self.failed(path, e),
            }
        }
        let entries: Vec<IndexEntry> = located.iter().map(|(.., entry)| entry.clone()).collect();
        let fetched = self.runtime.block_on(self.contents.fetch(&entries));
        for ((path, piece, entry), stored) in located.into_iter().zip(fetched) {
            let read = stored.and_then(|stored| self.contents.decode(&entry, &stored));
            match read.map_err(Into::into).and_then(|content| piece.check(content)) {
                Ok(data) => add(&self.progress.read_bytes, data.len() as u64),
                Err(e) => self.failed(path, e),
            }
        }
    }
}

/// Pieces of files that are read together.
#[derive(Default)]
struct ToRead {
    pieces: Vec<(Arc<str>, Piece)>,
    bytes: u64,
}

impl ToRead {
    fn push(&mut self, run: &Arc<Run>, path: &Arc<str>, piece: Piece) {
        self.pieces.push((Arc::clone(path), piece));
        self.bytes += piece.length;
        if self.bytes >= READ_BYTES {
            self.send(run);
        }
    }

    fn send(&mut self, run: &Arc<Run>) {
        let pieces = std::mem::take(&mut self.pieces);
        self.bytes = 0;
        if !pieces.is_empty() {
            run.spawn(move |run| run.read(&pieces));
        }
    }
}
