//! Restoring a snapshot, or a part of one, to a local directory (format page 25 §4).
//!
//! Every file is made in an open directory, by a name without any `/`, and never through a link; so whatever names a
//! repository holds, and whatever lies in the target, nothing outside of it is touched.
//!
//! The tree is worked on by a pool of threads. A directory gets its attributes when everything in it is there. Small
//! files are fetched many at a time; the pieces of a large one are fetched and written by several threads at once.

mod attributes;
mod extra;
mod file;
mod links;
mod target;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::directory::Directory;
use super::entry::{Entry, Kind, Name};
use super::{FETCHED_BYTES, SnapshotError, Stop};
use crate::content::Reader;
use crate::sync::{Budget, lock};
use links::Links;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    pub overwrite_directories: bool,
    pub overwrite_files: bool,
    pub overwrite_symlinks: bool,
    pub write_sparse_files: bool,
    pub skip_owners: bool,
    pub skip_permissions: bool,
    pub skip_times: bool,
    pub ignore_permission_errors: bool,
    pub write_files_atomically: bool,
    pub ignore_errors: bool,
    pub skip_existing: bool,
    pub delete_extra: bool,
    pub flush_files: bool,
    /// Threads.
    pub parallel: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            overwrite_directories: true,
            overwrite_files: true,
            overwrite_symlinks: true,
            write_sparse_files: false,
            skip_owners: false,
            skip_permissions: false,
            skip_times: false,
            ignore_permission_errors: true,
            write_files_atomically: false,
            ignore_errors: false,
            skip_existing: false,
            delete_extra: false,
            flush_files: false,
            parallel: 8,
        }
    }
}

/// How far a restore is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries and bytes that are known to be restored.
    pub found_entries: AtomicU64,
    pub found_bytes: AtomicU64,
    pub files: AtomicU64,
    pub directories: AtomicU64,
    pub symlinks: AtomicU64,
    pub bytes: AtomicU64,
    pub skipped: AtomicU64,
    pub skipped_bytes: AtomicU64,
    pub deleted_files: AtomicU64,
    pub deleted_directories: AtomicU64,
    pub deleted_symlinks: AtomicU64,
    pub ignored_errors: AtomicU64,
    /// Attributes that could not be set.
    pub attribute_errors: AtomicU64,
    notes: Mutex<Vec<String>>,
}

impl Progress {
    /// Problems since the last call, in words.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.notes))
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// What all tasks of one restore share.
struct Run {
    contents: Arc<Reader>,
    runtime: Handle,
    options: RestoreOptions,
    progress: Arc<Progress>,
    stop: Stop,
    budget: Budget,
    links: Links,
    /// The directory that is restored into, once it is open.
    root: OnceLock<OwnedFd>,
    has_failed: AtomicBool,
    fatal: Mutex<Option<SnapshotError>>,
    complete: Mutex<Option<oneshot::Sender<()>>>,
    is_root: bool,
}

impl Run {
    fn is_over(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.stop.is_set()
    }

    fn fatal(&self, e: SnapshotError) {
        // Only the first is told; the others follow from it.
        lock(&self.fatal).get_or_insert(e);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// An entry cannot be restored.
    fn failed(&self, path: &[u8], e: impl Into<SnapshotError>) {
        let e = SnapshotError::Restore { path: String::from_utf8_lossy(path).into_owned(), source: Box::new(e.into()) };
        if self.options.ignore_errors {
            add(&self.progress.ignored_errors, 1);
            self.note(format!("ignored error: {}", crate::error::chain(&e)));
        } else {
            self.fatal(e);
        }
    }

    fn note(&self, text: String) {
        lock(&self.progress.notes).push(text);
    }
}

/// A directory that is being restored.
struct Place {
    run: Arc<Run>,
    parent: Option<Arc<Place>>,
    fd: OwnedFd,
    /// From the target on.
    path: Vec<u8>,
    /// As it is in the snapshot. None: the directory above a single file, which is left as it is.
    entry: Option<Entry>,
    /// Entries that are not done, and one more while the directory is being gone through.
    waiting: AtomicUsize,
}

impl Place {
    fn path_of(&self, name: &Name) -> Vec<u8> {
        match self.path.as_slice() {
            [] => name.as_bytes().to_vec(),
            path => [path, b"/", name.as_bytes()].concat(),
        }
    }

    fn expect_one(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// One thing less to wait for; the last one gives the directory its attributes.
    fn done(self: &Arc<Self>) {
        let mut place = Arc::clone(self);
        while place.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            if let Some(entry) = &place.entry
                && !place.run.is_over()
            {
                match attributes::set(&place.run, &place.fd, entry, &place.path) {
                    Ok(()) => add(&place.run.progress.directories, 1),
                    Err(e) => place.run.failed(&place.path, io(e)),
                }
            }
            let Some(parent) = place.parent.clone() else {
                if let Some(complete) = lock(&place.run.complete).take() {
                    // Nobody waits when the restore was abandoned.
                    let _ = complete.send(());
                }
                return;
            };
            place = parent;
        }
    }
}

fn io(e: impl Into<std::io::Error>) -> SnapshotError {
    SnapshotError::File(e.into())
}

/// Restores an entry as `target`: a directory's contents into it, a file under this name.
pub async fn restore(
    contents: Arc<Reader>,
    root: Entry,
    target: &Path,
    options: RestoreOptions,
    progress: Arc<Progress>,
    stop: Stop,
) -> Result<(), SnapshotError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.parallel.max(1))
        .thread_name(|n| format!("restore-{n}"))
        .build()
        .map_err(|e| SnapshotError::Internal(Box::new(e)))?;
    let (complete, done) = oneshot::channel();
    let run = Arc::new(Run {
        contents: Arc::new(contents.for_scan()),
        runtime: Handle::current(),
        options,
        progress,
        stop: stop.clone(),
        budget: Budget::new(FETCHED_BYTES),
        links: Links::default(),
        root: OnceLock::new(),
        has_failed: AtomicBool::new(false),
        fatal: Mutex::default(),
        complete: Mutex::new(Some(complete)),
        is_root: rustix::process::geteuid().is_root(),
    });
    let target = target.to_owned();
    let of_run = Arc::clone(&run);
    pool.spawn(move || {
        if let Err(e) = begin(&of_run, root, &target) {
            of_run.fatal(SnapshotError::Restore { path: target.display().to_string(), source: Box::new(e) });
            lock(&of_run.complete).take();
        }
    });
    // There is no answer when the beginning fails: then there is an error to tell.
    let _ = done.await;
    if let Some(e) = lock(&run.fatal).take() {
        return Err(e);
    }
    if stop.is_set() { Err(SnapshotError::Canceled) } else { Ok(()) }
}

fn begin(run: &Arc<Run>, root: Entry, target: &Path) -> Result<(), SnapshotError> {
    let place = |fd, entry| {
        Arc::new(Place {
            run: Arc::clone(run),
            parent: None,
            fd,
            path: Vec::new(),
            entry,
            waiting: AtomicUsize::new(1),
        })
    };
    let place = if root.kind.is_directory() {
        let fd = target::open_root(target, &run.options).map_err(io)?;
        let root_fd = fd.try_clone().map_err(io)?;
        run.root.get_or_init(|| root_fd);
        let place = place(fd, Some(root));
        go_through(&place);
        place
    } else {
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = target.file_name().ok_or_else(|| io(std::io::ErrorKind::InvalidFilename))?;
        let place = place(target::open_parent(parent).map_err(io)?, None);
        restore_entries(&place, vec![Entry { name: Name::from(name.as_encoded_bytes()), ..root }]);
        place
    };
    place.done();
    Ok(())
}

/// Reads a directory of the snapshot, and makes tasks of what is in it.
fn go_through(place: &Arc<Place>) {
    let run = &place.run;
    let Some(entry) = place.entry.as_ref().filter(|_| !run.is_over()) else { return };
    match run.runtime.block_on(Directory::read(&run.contents, entry.object)) {
        Ok(directory) => {
            let entries = usable(place, directory.entries);
            if run.options.delete_extra {
                extra::delete(place, &entries);
            }
            restore_entries(place, entries);
        }
        Err(e) => run.failed(&place.path, e),
    }
}

/// Entries that can be made, each name once: of those that kopia stored under one name the last counts.
fn usable(place: &Place, entries: Vec<Entry>) -> Vec<Entry> {
    let mut usable: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut known = std::collections::HashMap::new();
    for entry in entries {
        let name = entry.name.as_bytes();
        let path = || place.path_of(&entry.name);
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
            place.run.failed(&path(), SnapshotError::UnsafeName(entry.name.to_string()));
        } else if entry.kind == Kind::Unknown {
            place.run.failed(&path(), SnapshotError::UnknownKind);
        } else {
            match known.get(&entry.name).and_then(|number: &usize| usable.get_mut(*number)) {
                Some(earlier) => {
                    place.run.note(format!("{}: there are several of this name", String::from_utf8_lossy(&path())));
                    *earlier = entry;
                }
                None => {
                    known.insert(entry.name.clone(), usable.len());
                    usable.push(entry);
                }
            }
        }
    }
    usable
}

fn restore_entries(place: &Arc<Place>, entries: Vec<Entry>) {
    let run = &place.run;
    let mut batch = file::Batch::new(place);
    for entry in entries {
        if run.is_over() {
            break;
        }
        add(&run.progress.found_entries, 1);
        match entry.kind {
            Kind::Directory => enter(place, entry),
            Kind::File => {
                add(&run.progress.found_bytes, entry.size);
                batch.push(entry);
            }
            _ => batch.push(entry),
        }
    }
    batch.send();
}

/// Makes a task of a directory in this one.
fn enter(place: &Arc<Place>, entry: Entry) {
    let place = Arc::clone(place);
    place.expect_one();
    rayon::spawn(move || {
        let run = Arc::clone(&place.run);
        let path = place.path_of(&entry.name);
        if !run.is_over() {
            match target::make_directory(&place.fd, &entry.name, &run.options) {
                Ok(fd) => {
                    place.expect_one();
                    let child = Arc::new(Place {
                        run,
                        parent: Some(Arc::clone(&place)),
                        fd,
                        path,
                        entry: Some(entry),
                        waiting: AtomicUsize::new(1),
                    });
                    go_through(&child);
                    child.done();
                }
                Err(e) => run.failed(&path, io(e)),
            }
        }
        place.done();
    });
}
