//! Restoring what is not a directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::SignedDuration;

use super::links::{Restored, Turn};
use super::{Place, SnapshotError, add, attributes, io, target};
use crate::bytes::Bytes;
use crate::content::ContentError;
use crate::content::index::IndexEntry;
use crate::object::{Object, Piece};
use crate::snapshot::entry::{Entry, Kind, Name};

/// Entries and bytes of one batch.
const BATCH_ENTRIES: usize = 128;
const BATCH_BYTES: u64 = 2 << 20;
/// Bytes of a large file that are fetched by one task.
const TASK_BYTES: u64 = 8 << 20;
/// Times that differ by less are taken for equal.
const SAME_TIME: SignedDuration = SignedDuration::from_secs(2);
/// Blocks of zeros of this size are left out of sparse files.
const SPARSE_BLOCK: usize = 4096;

/// Entries of one directory that are restored by one task.
pub(super) struct Batch<'a> {
    place: &'a Arc<Place>,
    entries: Vec<Entry>,
    bytes: u64,
}

impl<'a> Batch<'a> {
    pub(super) fn new(place: &'a Arc<Place>) -> Self {
        Self { place, entries: Vec::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        // An object of several contents has tasks of its own, and so has one whose length is not known.
        if entry.kind == Kind::File && (entry.object.list().is_some() || entry.is_partial()) {
            let place = Arc::clone(self.place);
            place.expect_one();
            rayon::spawn(move || {
                restore_one(&place, entry, None);
                place.done();
            });
            return;
        }
        self.bytes += entry.size;
        self.entries.push(entry);
        if self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES {
            self.send();
        }
    }

    pub(super) fn send(&mut self) {
        let (entries, bytes) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.bytes));
        if entries.is_empty() {
            return;
        }
        let place = Arc::clone(self.place);
        place.expect_one();
        rayon::spawn(move || {
            restore_batch(&place, entries, bytes);
            place.done();
        });
    }
}

/// Fetches the contents of small entries together, and restores each.
fn restore_batch(place: &Arc<Place>, entries: Vec<Entry>, bytes: u64) {
    let run = &place.run;
    if run.is_over() {
        return;
    }
    let _memory = run.budget.take(2 * bytes);
    let has_data = |entry: &Entry| matches!(entry.kind, Kind::File | Kind::Symlink);
    let located: Vec<Result<Option<IndexEntry>, ContentError>> = entries
        .iter()
        .map(|entry| if has_data(entry) { run.contents.entry(&entry.object.content).map(Some) } else { Ok(None) })
        .collect();
    let wanted: Vec<IndexEntry> = located.iter().flatten().flatten().cloned().collect();
    let mut fetched = run.runtime.block_on(run.contents.fetch(&wanted)).into_iter().zip(wanted);
    for (entry, located) in entries.into_iter().zip(located) {
        let data = match located {
            Ok(Some(_)) => fetched.next().map(|(stored, at)| read_fetched(run, &entry, stored, &at)),
            Ok(None) => None,
            Err(e) => Some(Err(e.into())),
        };
        if run.is_over() {
            return;
        }
        match data.transpose() {
            Ok(data) => restore_one(place, entry, data),
            Err(e) => run.failed(&place.path_of(&entry.name), e),
        }
    }
}

/// The bytes of an entry whose content was fetched.
fn read_fetched(
    run: &super::Run,
    entry: &Entry,
    stored: Result<Bytes, ContentError>,
    at: &IndexEntry,
) -> Result<Bytes, SnapshotError> {
    let content = decode_fetched(run, stored, at)?;
    let piece = Piece { start: 0, length: entry.size, content: at.id, compressed: entry.object.compressed };
    Ok(piece.check(content)?)
}

/// The plain bytes of a content that was fetched.
fn decode_fetched(
    run: &super::Run,
    stored: Result<Bytes, ContentError>,
    at: &IndexEntry,
) -> Result<Bytes, ContentError> {
    match stored.and_then(|stored| run.contents.decode(at, &stored)) {
        // Perhaps it lies somewhere else by now, or only a copy of it is damaged.
        Err(ContentError::Corrupt { .. }) => run.runtime.block_on(run.contents.get(&at.id)),
        decoded => decoded,
    }
}

/// Restores an entry; `data`: its bytes, when they are there already.
fn restore_one(place: &Arc<Place>, entry: Entry, data: Option<Bytes>) {
    let run = &place.run;
    if run.is_over() {
        return;
    }
    let path = place.path_of(&entry.name);
    match skipped(place, &entry) {
        Ok(false) => {}
        Ok(true) => {
            add(&run.progress.skipped, 1);
            add(&run.progress.skipped_bytes, entry.size);
            return;
        }
        Err(e) => return run.failed(&path, io(e)),
    }
    if let Some(id) = entry.link() {
        match run.links.turn(id, place, &entry) {
            Turn::First => {}
            Turn::Waits => return,
            Turn::Link(restored) => return link(place, entry, data, &restored),
        }
    }
    restore_data(place, entry, data);
}

/// Makes an entry another name of a file that is there, or restores it by itself where that cannot be.
fn link(place: &Arc<Place>, entry: Entry, data: Option<Bytes>, restored: &Restored) {
    let run = &place.run;
    let linked = prepare(place, &entry).and_then(|()| match run.root.get() {
        Some(root) => restored.link_to(root, &place.fd, &entry.name),
        None => Ok(false),
    });
    match linked {
        Ok(true) => count(place, &entry, 0),
        Ok(false) => {
            run.note(format!(
                "{}: restored as a file of its own",
                String::from_utf8_lossy(&place.path_of(&entry.name))
            ));
            restore_data(place, entry, data);
        }
        Err(e) => run.failed(&place.path_of(&entry.name), io(e)),
    }
}

fn restore_data(place: &Arc<Place>, entry: Entry, data: Option<Bytes>) {
    match (entry.kind, data) {
        (Kind::File, None) => restore_large(place, entry),
        (Kind::File, Some(data)) => {
            let size = data.len() as u64;
            let restored = NewFile::create(place, &entry, size).and_then(|file| {
                file.write(&data, 0, place.run.options.write_sparse_files)
                    .and_then(|()| file.finish(place, &entry))
                    .inspect_err(|_| file.discard(place, &entry))
            });
            finished(place, &entry, restored, size);
        }
        (Kind::Symlink, Some(target)) => finished(place, &entry, make_link(place, &entry, &target), 0),
        _ => {
            let made = prepare(place, &entry)
                .and_then(|()| target::make_special(&place.fd, &entry.name, entry.kind))
                .and_then(|()| set_attributes(place, &entry));
            match made {
                // Only root makes devices; everything else is restored.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !place.run.is_root => {
                    add(&place.run.progress.attribute_errors, 1);
                    let path = place.path_of(&entry.name);
                    place.run.note(format!("{}: only root can restore this: {e}", String::from_utf8_lossy(&path)));
                    finish_links(place, &entry, false);
                }
                other => finished(place, &entry, other, 0),
            }
        }
    }
}

/// What is to be told, counted and done when an entry is there, or cannot be.
fn finished(place: &Arc<Place>, entry: &Entry, restored: io::Result<()>, bytes: u64) {
    let good = restored.is_ok();
    match restored {
        Ok(()) => count(place, entry, bytes),
        Err(e) => place.run.failed(&place.path_of(&entry.name), io(e)),
    }
    finish_links(place, entry, good);
}

fn finish_links(place: &Arc<Place>, entry: &Entry, restored: bool) {
    for (place, entry) in place.run.links.finished(place, entry, restored) {
        // Such an entry was not fetched, or what was fetched is gone by now.
        rayon::spawn(move || {
            restore_batch(&place, vec![entry], 0);
            place.done();
        });
    }
}

fn count(place: &Place, entry: &Entry, bytes: u64) {
    let progress = &place.run.progress;
    add(if entry.kind == Kind::Symlink { &progress.symlinks } else { &progress.files }, 1);
    add(&progress.bytes, bytes);
}

/// Whether an entry is left as it is in the target.
fn skipped(place: &Place, entry: &Entry) -> io::Result<bool> {
    if !place.run.options.skip_existing {
        return Ok(false);
    }
    let Some(there) = target::existing(&place.fd, &entry.name)? else { return Ok(false) };
    Ok(match entry.kind {
        Kind::File => {
            there.kind == Kind::File
                && there.size == entry.size
                && there.mtime.duration_since(entry.mtime).abs() < SAME_TIME
        }
        kind => there.kind == kind,
    })
}

/// Makes room for an entry, or fails where the options say that it must not be.
fn prepare(place: &Place, entry: &Entry) -> io::Result<()> {
    check_free(place, entry)?;
    target::clear(&place.fd, &entry.name)
}

/// Fails when something is in the way that must stay.
fn check_free(place: &Place, entry: &Entry) -> io::Result<()> {
    let Some(there) = target::existing(&place.fd, &entry.name)? else { return Ok(()) };
    let options = &place.run.options;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    let name = &entry.name;
    match entry.kind {
        Kind::Symlink if there.kind != Kind::Symlink => {
            return refuse(format!("unable to create {name:?}, it already exists and is not a symbolic link"));
        }
        Kind::Symlink if !options.overwrite_symlinks => {
            return refuse(format!("unable to create {name:?}, it already exists"));
        }
        Kind::Symlink => {}
        _ if !options.overwrite_files => return refuse(format!("unable to create {name:?}, it already exists")),
        _ => {}
    }
    Ok(())
}

fn make_link(place: &Place, entry: &Entry, target: &[u8]) -> io::Result<()> {
    prepare(place, entry)?;
    rustix::fs::symlinkat(target, &place.fd, entry.name.as_bytes())?;
    set_attributes(place, entry)
}

fn set_attributes(place: &Place, entry: &Entry) -> io::Result<()> {
    attributes::set_at(&place.run, &place.fd, &entry.name, entry, &place.path_of(&entry.name))
}

/// A file that is being restored.
struct NewFile {
    file: File,
    /// Under which it is until it is complete.
    temporary: Option<Vec<u8>>,
}

impl NewFile {
    fn create(place: &Place, entry: &Entry, size: u64) -> io::Result<Self> {
        let options = &place.run.options;
        let temporary = options.write_files_atomically.then(|| target::temporary_name(&entry.name)).transpose()?;
        let file = match &temporary {
            Some(temporary) => {
                check_free(place, entry)?;
                target::create_file(&place.fd, temporary)?
            }
            None => {
                prepare(place, entry)?;
                target::create_file(&place.fd, entry.name.as_bytes())?
            }
        };
        file.set_len(size)?;
        Ok(Self { file, temporary })
    }

    fn write(&self, data: &[u8], offset: u64, sparse: bool) -> io::Result<()> {
        if !sparse {
            return self.file.write_all_at(data, offset);
        }
        // The file has its size already, so what is not written reads as zeros. Blocks count from the file's start.
        let first = SPARSE_BLOCK - (offset % SPARSE_BLOCK as u64) as usize;
        let (head, rest) = data.split_at(first.min(data.len()));
        let mut at = offset;
        for block in std::iter::once(head).chain(rest.chunks(SPARSE_BLOCK)) {
            if block.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(block, at)?;
            }
            at += block.len() as u64;
        }
        Ok(())
    }

    /// The data is there: attributes, and the name.
    fn finish(&self, place: &Place, entry: &Entry) -> io::Result<()> {
        attributes::set(&place.run, &self.file, entry, &place.path_of(&entry.name))?;
        if place.run.options.flush_files {
            self.file.sync_all()?;
        }
        match &self.temporary {
            Some(temporary) => Ok(rustix::fs::renameat(&place.fd, &temporary[..], &place.fd, entry.name.as_bytes())?),
            None => Ok(()),
        }
    }

    /// Removes a file that cannot be completed: half of one could be taken for the whole.
    fn discard(&self, place: &Place, entry: &Entry) {
        let name = self.temporary.clone().map_or_else(|| entry.name.clone(), Name::from);
        // The reason for this is the error to tell.
        let _ = target::clear(&place.fd, &name);
    }
}

/// A file whose pieces are restored by several tasks.
struct LargeFile {
    place: Arc<Place>,
    entry: Entry,
    file: NewFile,
    object: Object,
    waiting: AtomicUsize,
    failed: AtomicBool,
}

fn restore_large(place: &Arc<Place>, entry: Entry) {
    let run = &place.run;
    let begun = run
        .runtime
        .block_on(Object::open(&run.contents, entry.object))
        .map_err(SnapshotError::from)
        .and_then(|object| Ok((NewFile::create(place, &entry, object.len()).map_err(io)?, object)));
    let (file, object) = match begun {
        Ok(begun) => begun,
        Err(e) => {
            run.failed(&place.path_of(&entry.name), e);
            return finish_links(place, &entry, false);
        }
    };
    let tasks = tasks(object.pieces());
    place.expect_one();
    let large = Arc::new(LargeFile {
        place: Arc::clone(place),
        entry,
        file,
        object,
        waiting: AtomicUsize::new(tasks.len() + 1),
        failed: AtomicBool::new(false),
    });
    for task in tasks {
        let large = Arc::clone(&large);
        rayon::spawn(move || {
            large.restore_pieces(task);
            large.done();
        });
    }
    large.done();
}

/// Ranges of pieces, each enough for one task.
fn tasks(pieces: &[Piece]) -> Vec<std::ops::Range<usize>> {
    let (mut tasks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (number, piece) in pieces.iter().enumerate() {
        bytes += piece.length;
        if bytes >= TASK_BYTES || number + 1 == pieces.len() {
            tasks.push(start..number + 1);
            (start, bytes) = (number + 1, 0);
        }
    }
    tasks
}

impl LargeFile {
    fn restore_pieces(&self, range: std::ops::Range<usize>) {
        let run = &self.place.run;
        if run.is_over() || self.failed.load(Ordering::Relaxed) {
            self.failed.store(true, Ordering::Relaxed);
            return;
        }
        if let Err(e) = self.try_pieces(self.object.pieces().get(range).unwrap_or_default())
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            run.failed(&self.place.path_of(&self.entry.name), e);
        }
    }

    fn try_pieces(&self, pieces: &[Piece]) -> Result<(), SnapshotError> {
        let run = &self.place.run;
        let length: u64 = pieces.iter().map(|piece| piece.length).sum();
        let _memory = run.budget.take(2 * length);
        let wanted: Vec<IndexEntry> =
            pieces.iter().map(|piece| run.contents.entry(&piece.content)).collect::<Result<_, _>>()?;
        let fetched = run.runtime.block_on(run.contents.fetch(&wanted));
        for ((piece, at), stored) in pieces.iter().zip(&wanted).zip(fetched) {
            let data = piece.check(decode_fetched(run, stored, at)?)?;
            self.file.write(&data, piece.start, run.options.write_sparse_files).map_err(io)?;
            add(&run.progress.bytes, data.len() as u64);
        }
        Ok(())
    }

    fn done(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let (place, entry) = (&self.place, &self.entry);
        if self.failed.load(Ordering::Relaxed) {
            self.file.discard(place, entry);
            finish_links(place, entry, false);
        } else {
            let restored = self.file.finish(place, entry).inspect_err(|_| self.file.discard(place, entry));
            // Its bytes were counted piece by piece.
            finished(place, entry, restored, 0);
        }
        self.place.done();
    }
}
