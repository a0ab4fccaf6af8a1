//! Checking that snapshots can be restored.
//!
//! Every object of a tree must have all its contents in the index, and every content must lie inside a pack that is
//! there. A share of the files is read as well, to the last byte; at 100 % that is a restore without the writing.
//! An object that several snapshots share is checked once; [`affected`] tells which of them suffer from what was found.
//!
//! Trees are walked by one pool of threads, files read by another. Where reading falls behind, the walk waits, so that
//! what is queued stays small however large the trees are.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::directory::Directory;
use super::entry::{Entry, Kind, Name};
use super::{FETCHED_BYTES, SnapshotError, Stop, by_chance};
use crate::blob::list_all;
use crate::content::index::IndexEntry;
use crate::content::{ContentError, Reader};
use crate::object::{Object, ObjectId, Piece};
use crate::sync::{Budget, lock};

/// Bytes of pieces fetched by one task at once.
const READ_BYTES: u64 = 8 << 20;
/// Small files that are checked by one task.
const BATCH: usize = 64;

#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Threads that walk trees.
    pub parallel: usize,
    /// Threads that read files.
    pub file_parallel: usize,
    /// Files that may wait to be read.
    pub file_queue: usize,
    /// Percentage of files to read.
    pub files_percent: f64,
    /// Errors after which to stop; None: never.
    pub max_errors: Option<u64>,
}

/// Counts of what was checked.
#[derive(Debug, Default)]
pub struct Progress {
    pub processed_objects: AtomicU64,
    /// Of files, whether they are read or not.
    pub processed_bytes: AtomicU64,
    pub read_files: AtomicU64,
    pub read_bytes: AtomicU64,
    errors: Mutex<Errors>,
}

#[derive(Debug, Default)]
struct Errors {
    list: Vec<VerifyError>,
    /// One error of an object is enough.
    objects: HashSet<ObjectId>,
}

impl Progress {
    pub fn errors(&self) -> Vec<VerifyError> {
        lock(&self.errors).list.clone()
    }
}

/// What cannot be restored, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The name of the root it is in.
    pub root: Arc<str>,
    /// From the root; empty for the root itself.
    pub path: String,
    pub object: ObjectId,
    pub problem: String,
}

/// Where to begin: an entry, and what to call it.
#[derive(Clone, Debug)]
pub struct Root {
    pub name: Arc<str>,
    pub entry: Entry,
}

/// What there is to check, by what the roots say of themselves; what they share counts for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub objects: u64,
    pub files: u64,
    pub bytes: u64,
}

impl Expected {
    pub fn of(roots: &[Root]) -> Self {
        let mut expected = Self::default();
        for Root { entry, .. } in roots {
            let (objects, files, bytes) = match &entry.summary {
                Some(sum) => (sum.files + sum.symlinks + sum.dirs, sum.files, sum.size),
                None if entry.kind.is_directory() => (1, 0, 0),
                None => (1, 1, entry.size),
            };
            expected.objects = expected.objects.saturating_add(objects);
            expected.files = expected.files.saturating_add(files);
            expected.bytes = expected.bytes.saturating_add(bytes);
        }
        expected
    }
}

/// Where an entry is.
#[derive(Clone, Debug)]
struct Place {
    root: Arc<str>,
    path: String,
}

impl Place {
    fn below(&self, name: &Name) -> Self {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}/{name}", self.path) };
        Self { root: Arc::clone(&self.root), path }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
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
    readers: rayon::ThreadPool,
    budget: Budget,
    /// A permit for each file that waits to be read.
    queue: Arc<Semaphore>,
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
    // Where files are read, it is to be seen whether they can be, not whether they once could.
    let contents = if options.files_percent > 0.0 { contents.from_storage() } else { contents.for_scan() };
    let contents = Arc::new(contents);
    let pool = threads("verify", options.parallel)?;
    let readers = threads("read", options.file_parallel)?;
    let packs = packs(&contents).await?;
    let (complete, done) = oneshot::channel();
    let queue = Arc::new(Semaphore::new(options.file_queue.clamp(1, Semaphore::MAX_PERMITS)));
    let run = Arc::new(Run {
        contents,
        runtime: Handle::current(),
        options,
        readers,
        budget: Budget::new(FETCHED_BYTES),
        queue,
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
        let place = |root: Root| (Place { root: root.name, path: String::new() }, root.entry);
        of_run.check_all(roots.into_iter().map(place).collect());
        of_run.done();
    });
    // The sender lives as long as the run does.
    let _ = done.await;
    if stop.is_set() { Err(SnapshotError::Canceled) } else { Ok(()) }
}

fn threads(name: &'static str, count: usize) -> Result<rayon::ThreadPool, SnapshotError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count.max(1))
        .thread_name(move |n| format!("{name}-{n}"))
        .build()
        .map_err(|e| SnapshotError::Internal(Box::new(e)))
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

    fn failed(&self, place: &Place, object: ObjectId, problem: impl std::error::Error + 'static) {
        self.failed_because(place, object, crate::error::chain(&problem));
    }

    fn failed_because(&self, place: &Place, object: ObjectId, problem: String) {
        let mut errors = lock(&self.progress.errors);
        if self.over.load(Ordering::Relaxed) || !errors.objects.insert(object) {
            return;
        }
        errors.list.push(VerifyError { root: Arc::clone(&place.root), path: place.path.clone(), object, problem });
        if self.options.max_errors.is_some_and(|max| errors.list.len() as u64 >= max.max(1)) {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    /// Runs a task on the pool of the thread that asks.
    fn spawn(self: &Arc<Self>, task: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let task = self.counted(task);
        rayon::spawn(task);
    }

    fn counted(self: &Arc<Self>, task: impl FnOnce(&Arc<Self>) + Send + 'static) -> impl FnOnce() + Send + 'static {
        let run = Arc::clone(self);
        run.waiting.fetch_add(1, Ordering::SeqCst);
        move || {
            if !run.is_over() {
                task(&run);
            }
            run.done();
        }
    }

    fn done(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(complete) = lock(&self.complete).take()
        {
            let _ = complete.send(());
        }
    }

    /// Checks entries that were not checked before.
    fn check_all(self: &Arc<Self>, entries: Vec<(Place, Entry)>) {
        let mut batch = Vec::new();
        for (place, entry) in entries {
            if !lock(&self.seen).insert(entry.object) {
                continue;
            }
            if entry.kind.is_directory() {
                self.spawn(move |run| run.check_directory(&place, &entry));
            } else {
                batch.push((place, entry));
            }
            if batch.len() >= BATCH {
                self.check_files(std::mem::take(&mut batch));
            }
        }
        self.check_files(batch);
    }

    fn check_directory(self: &Arc<Self>, place: &Place, entry: &Entry) {
        if self.check_object(place, entry).is_none() {
            return;
        }
        match self.runtime.block_on(Directory::read(&self.contents, entry.object)) {
            Ok(directory) => {
                let below = |entry: Entry| (place.below(&entry.name), entry);
                self.check_all(directory.entries.into_iter().map(below).collect());
            }
            Err(e) => self.failed(place, entry.object, e),
        }
    }

    fn check_files(self: &Arc<Self>, files: Vec<(Place, Entry)>) {
        if files.is_empty() {
            return;
        }
        self.spawn(move |run| {
            let mut to_read = ToRead::default();
            for (place, entry) in files {
                if run.is_over() {
                    return;
                }
                let Some(object) = run.check_object(&place, &entry) else { continue };
                if entry.kind == Kind::Symlink {
                    continue;
                }
                add(&run.progress.processed_bytes, entry.size);
                if by_chance(run.options.files_percent) {
                    add(&run.progress.read_files, 1);
                    let file = Arc::new((place, entry.object));
                    for piece in object.pieces() {
                        to_read.push(run, &file, *piece);
                    }
                }
            }
            to_read.send(run);
        });
    }

    /// The object of an entry, if all its contents are there.
    fn check_object(&self, place: &Place, entry: &Entry) -> Option<Object> {
        add(&self.progress.processed_objects, 1);
        let object = match self.runtime.block_on(Object::open(&self.contents, entry.object)) {
            Ok(object) => object,
            Err(e) => {
                self.failed(place, entry.object, e);
                return None;
            }
        };
        let is_part = entry.is_partial() && object.len() < entry.size;
        if !entry.kind.is_directory() && object.len() != entry.size && !is_part {
            let problem = format!("object {} has {} bytes instead of {}", entry.object, object.len(), entry.size);
            self.failed_because(place, entry.object, problem);
            return None;
        }
        for piece in object.pieces() {
            if let Err(problem) = self.check_piece(piece) {
                self.failed_because(place, entry.object, problem);
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

    /// Reads pieces of files.
    fn read(&self, pieces: &[(File, Piece)]) {
        let mut located = Vec::new();
        for (file, piece) in pieces {
            match self.contents.entry(&piece.content) {
                Ok(entry) => located.push((file, piece, entry)),
                Err(e) => self.failed(&file.0, file.1, e),
            }
        }
        let entries: Vec<IndexEntry> = located.iter().map(|(.., entry)| entry.clone()).collect();
        let stored: u64 = entries.iter().map(|entry| u64::from(entry.packed_length)).sum();
        let largest = entries.iter().map(|entry| u64::from(entry.original_length)).max();
        let _memory = self.budget.take(stored + largest.unwrap_or(0));
        let fetched = self.runtime.block_on(self.contents.fetch(&entries));
        for ((file, piece, entry), stored) in located.into_iter().zip(fetched) {
            let read = stored.and_then(|stored| self.contents.decode(&entry, &stored));
            match read.map_err(Into::into).and_then(|content| piece.check(content)) {
                Ok(data) => add(&self.progress.read_bytes, data.len() as u64),
                Err(e) => self.failed(&file.0, file.1, e),
            }
        }
    }
}

/// A file that is read.
type File = Arc<(Place, ObjectId)>;

/// Pieces of files that are read together.
#[derive(Default)]
struct ToRead {
    pieces: Vec<(File, Piece)>,
    bytes: u64,
    files: u32,
}

impl ToRead {
    fn push(&mut self, run: &Arc<Run>, file: &File, piece: Piece) {
        if self.pieces.last().is_none_or(|(last, _)| !Arc::ptr_eq(last, file)) {
            self.files += 1;
        }
        self.pieces.push((Arc::clone(file), piece));
        self.bytes += piece.length;
        if self.bytes >= READ_BYTES {
            self.send(run);
        }
    }

    /// Hands the pieces over to the readers, as soon as their queue has place.
    fn send(&mut self, run: &Arc<Run>) {
        let Self { pieces, files, .. } = std::mem::take(self);
        if pieces.is_empty() {
            return;
        }
        let permits = files.min(u32::try_from(run.options.file_queue.max(1)).unwrap_or(u32::MAX));
        let place: Option<OwnedSemaphorePermit> =
            run.runtime.block_on(Arc::clone(&run.queue).acquire_many_owned(permits)).ok();
        run.readers.spawn(run.counted(move |run| {
            run.read(&pieces);
            drop(place);
        }));
    }
}

/// How many entries that cannot be restored each root has, in the order of the roots: what [`verify`] found, wherever
/// else it is. Reads all directories once more.
pub async fn affected(
    contents: &Reader,
    roots: &[Root],
    errors: &[VerifyError],
    stop: &Stop,
) -> Result<Vec<u64>, SnapshotError> {
    let mut counts: HashMap<ObjectId, u64> = errors.iter().map(|e| (e.object, 1)).collect();
    let mut affected = Vec::with_capacity(roots.len());
    for root in roots {
        affected.push(count_broken(contents, &root.entry, &mut counts, stop).await?);
    }
    Ok(affected)
}

/// How many of the entries below are broken; of directories that is counted once.
async fn count_broken(
    contents: &Reader,
    entry: &Entry,
    counts: &mut HashMap<ObjectId, u64>,
    stop: &Stop,
) -> Result<u64, SnapshotError> {
    if let Some(known) = counts.get(&entry.object) {
        return Ok(*known);
    }
    if !entry.kind.is_directory() {
        return Ok(0);
    }
    if stop.is_set() {
        return Err(SnapshotError::Canceled);
    }
    let mut count = 0_u64;
    for below in Directory::read(contents, entry.object).await?.entries {
        count = count.saturating_add(Box::pin(count_broken(contents, &below, counts, stop)).await?);
    }
    counts.insert(entry.object, count);
    Ok(count)
}
