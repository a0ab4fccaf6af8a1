//! Storing what is not a directory.
//!
//! A small file is read whole and stored by one task, together with others, of which the system is told beforehand so
//! that a disk need not be waited for at each. A large one is read, cut and hashed by one
//! task, its *reader*, which hands the chunks to whoever is free, and stores one itself when nobody is: so reading
//! never runs far ahead of storing. Above the policy's `parallelUploadAboveSize` a file is cut into parts of that size first,
//! each with a reader and a splitter of its own (format page 20 §5).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::Advice;

use super::links::Inode;
use super::node::{Node, compressor};
use super::{Run, add};
use crate::content::id::{ContentId, Prefix};
use crate::object::{
    Chunker, ListEntry, ObjectError, ObjectId, ObjectOptions, chunk_ids, put_bytes, put_chunk, put_list, put_stream,
};
use crate::policy::Policy;
use crate::snapshot::entry::{Entry, Kind, Name, PARTIAL_PREFIX, Rare, Xattrs};
use crate::snapshot::local::{LocalDirectory, Metadata, RangeReader};
use crate::sync::{Taken, lock};

/// Files above this size, in bytes, have a task of their own.
const LARGE: u64 = 4 << 20;
/// Small files that are open before it is their turn, in each task.
const OPEN_AHEAD: usize = 16;

/// A file, link or special file to be stored.
pub(super) struct SmallFile {
    pub(super) name: Name,
    pub(super) metadata: Metadata,
    pub(super) link: Option<Arc<Inode>>,
}

pub(super) fn is_large(metadata: &Metadata) -> bool {
    metadata.kind == Kind::File && metadata.size > LARGE
}

/// What became of reading something.
enum Stored {
    As {
        object: ObjectId,
        size: u64,
    },
    /// It is gone.
    Vanished,
}

/// Takes the data of an earlier snapshot, and the attributes of now.
pub(super) fn take_over(node: &Arc<Node>, directory: &LocalDirectory, file: SmallFile, base: &Entry) {
    let run = &node.run;
    add(&run.progress.cached_files, 1);
    add(&run.progress.cached_bytes, file.metadata.size);
    let mut stats = lock(&run.stats);
    stats.cached_files += 1;
    stats.total_size += file.metadata.size;
    drop(stats);
    add_entry(node, directory, file, base.object, None);
}

/// Stores small files, one after the other.
pub(super) fn store_batch(node: &Arc<Node>, directory: &LocalDirectory, files: Vec<SmallFile>) {
    let mut files = files.into_iter();
    let mut ahead = VecDeque::new();
    loop {
        ahead.extend(files.by_ref().take(OPEN_AHEAD - ahead.len()).map(|file| {
            // What has several names may be stored by another one before its turn comes.
            let is_sure = file.metadata.kind == Kind::File && file.link.is_none();
            // An error is met again when it is its turn.
            let open = if is_sure { directory.open_file(&file.name).ok().flatten() } else { None };
            open.iter().for_each(read_ahead);
            (file, open)
        }));
        match ahead.pop_front() {
            Some((file, open)) => store_small(node, directory, file, open),
            None => return,
        }
    }
}

/// Has the system read a file while we do something else.
fn read_ahead(file: &File) {
    // Only a hint: where it is not understood, the file is read when it is needed.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::WillNeed);
}

/// Stores a small file, a link, or something special.
fn store_small(node: &Arc<Node>, directory: &LocalDirectory, file: SmallFile, open: Option<File>) {
    if node.run.is_over() {
        node.cut_short.store(true, Ordering::Relaxed);
        return;
    }
    if let Some(object) = stored_by_another_name(&node.run, &file) {
        return add_entry(node, directory, file, object, None);
    }
    let stored = match file.metadata.kind {
        Kind::File => store_file(node, directory, &file, open),
        Kind::Symlink => store_link(&node.run, directory, &file),
        _ => match node.run.empty_object() {
            Ok(object) => {
                lock(&node.run.stats).non_cached_files += 1;
                Ok(Stored::As { object, size: 0 })
            }
            Err(e) => return node.run.fail(e),
        },
    };
    match stored {
        Ok(Stored::As { object, size }) => add_entry(node, directory, file, object, Some(size)),
        Ok(Stored::Vanished) => {}
        Err(ObjectError::Input(e)) => node.fail(&file.name, file.metadata.kind, format!("unable to read file: {e}")),
        Err(e) => node.run.fail(e),
    }
}

/// The data of a file that was read under another of its names.
fn stored_by_another_name(run: &Run, file: &SmallFile) -> Option<ObjectId> {
    let object = file.link.as_ref()?.stored(&file.metadata)?;
    let mut stats = lock(&run.stats);
    stats.non_cached_files += 1;
    stats.total_size += file.metadata.size;
    Some(object)
}

fn store_file(
    node: &Node,
    directory: &LocalDirectory,
    file: &SmallFile,
    open: Option<File>,
) -> Result<Stored, ObjectError> {
    let run = &node.run;
    let open =
        open.map_or_else(|| directory.open_file(&file.name).map_err(ObjectError::Input), |open| Ok(Some(open)))?;
    let Some(open) = open else { return Ok(Stored::Vanished) };
    let mut reader = RangeReader::new(open, 0, None, file.metadata.sparse);
    check_kind(&reader).map_err(ObjectError::Input)?;
    add(&run.progress.hashing_files, 1);
    let options = file_options(run, node.policy.policy(), &file.name, file.metadata.size);
    let stored = run.workers.with(|worker| {
        let buffer = &mut worker.buffer;
        buffer.clear();
        // One byte more than expected tells whether the file has grown.
        let expected = file.metadata.size + 1;
        buffer.reserve(expected as usize);
        reader.by_ref().take(expected).read_to_end(buffer).map_err(ObjectError::Input)?;
        if (buffer.len() as u64) < expected {
            let object = put_bytes(&run.contents, &options, buffer, &mut worker.scratch)?;
            return Ok((object, buffer.len() as u64));
        }
        let mut whole = Cursor::new(&*buffer).chain(&mut reader);
        put_stream(&run.contents, &options, &mut whole, &mut worker.scratch)
    });
    add(&run.progress.hashing_files, 0_u64.wrapping_sub(1));
    let (object, size) = stored?;
    count_read(run, size);
    lock(&run.stats).file_count += 1;
    warn_of_change(node, &file.name, &file.metadata, &reader);
    if let Some(inode) = &file.link {
        inode.set_stored(file.metadata, object);
    }
    Ok(Stored::As { object, size })
}

fn store_link(run: &Run, directory: &LocalDirectory, file: &SmallFile) -> Result<Stored, ObjectError> {
    let Some(target) = directory.read_link(&file.name).map_err(ObjectError::Input)? else {
        return Ok(Stored::Vanished);
    };
    let options = ObjectOptions {
        prefix: Prefix::NONE,
        compression: None,
        metadata_compression: None,
        splitter: run.contents.parameters().splitter,
    };
    let object = run.workers.with(|worker| put_bytes(&run.contents, &options, &target, &mut worker.scratch))?;
    Ok(Stored::As { object, size: target.len() as u64 })
}

/// What took the name since it was listed must be a file still.
fn check_kind(reader: &RangeReader) -> std::io::Result<()> {
    match reader.metadata()?.kind {
        Kind::File => Ok(()),
        _ => Err(std::io::Error::other("it is not a regular file any more")),
    }
}

fn warn_of_change(node: &Node, name: &Name, before: &Metadata, reader: &RangeReader) {
    let changed = reader.metadata().is_ok_and(|after| (after.mtime, after.size) != (before.mtime, before.size));
    if changed {
        node.warn(name, "it changed while it was read".to_owned());
    }
}

fn count_read(run: &Run, bytes: u64) {
    add(&run.progress.hashed_files, 1);
    add(&run.progress.hashed_bytes, bytes);
    let mut stats = lock(&run.stats);
    stats.non_cached_files += 1;
    stats.total_size += bytes;
}

fn file_options(run: &Run, policy: &Policy, name: &Name, size: u64) -> ObjectOptions {
    let own = policy.splitter().and_then(|name| name.parse().ok());
    ObjectOptions {
        prefix: Prefix::NONE,
        compression: compressor(policy.compressor_for(name.as_bytes(), size)),
        metadata_compression: compressor(policy.metadata_compressor()),
        splitter: own.unwrap_or(run.contents.parameters().splitter),
    }
}

/// Adds the entry of something that was stored; `size`: the bytes that were read, if it was read now.
fn add_entry(node: &Arc<Node>, directory: &LocalDirectory, file: SmallFile, object: ObjectId, size: Option<u64>) {
    let xattrs = directory.xattrs_of(&file.name).unwrap_or_else(|e| {
        node.warn(&file.name, format!("unable to read extended attributes: {e}"));
        Xattrs::new()
    });
    let entry = entry(file.name, &file.metadata, object, size.unwrap_or(file.metadata.size), xattrs);
    match file.link {
        Some(inode) => inode.add_entry(node, entry),
        None => node.add_entry(entry),
    }
}

fn entry(name: Name, metadata: &Metadata, object: ObjectId, size: u64, xattrs: Xattrs) -> Entry {
    Entry {
        name,
        kind: metadata.kind,
        mode: metadata.mode,
        size,
        mtime: metadata.mtime,
        uid: metadata.uid,
        gid: metadata.gid,
        object,
        summary: None,
        rare: (!xattrs.is_empty()).then(|| Box::new(Rare { xattrs, ..Rare::default() })),
    }
}

/// A file whose chunks are stored by several tasks.
pub(super) struct LargeFile {
    node: Arc<Node>,
    input: Input,
    name: Name,
    metadata: Metadata,
    options: ObjectOptions,
    /// The chunks of every part, in order. None: not stored yet.
    parts: Vec<Mutex<Vec<Option<ListEntry>>>>,
    /// Readers and chunks that are not done.
    waiting: AtomicUsize,
    outcome: Mutex<Outcome>,
}

enum Input {
    File {
        directory: Arc<LocalDirectory>,
        link: Option<Arc<Inode>>,
    },
    /// Only its reader has it.
    Stream,
}

/// A chunk of a large file that is not stored yet.
struct Chunk {
    bytes: Vec<u8>,
    _slot: Taken,
}

/// Whether a large file can be stored; the worst that happened counts.
enum Outcome {
    Good,
    /// It is gone, or the upload is to end.
    Dropped,
    Failed(std::io::Error),
}

/// Makes tasks of a large file.
pub(super) fn store_large(node: &Arc<Node>, directory: &Arc<LocalDirectory>, file: SmallFile) {
    if let Some(object) = stored_by_another_name(&node.run, &file) {
        return add_entry(node, directory, file, object, None);
    }
    let policy = node.policy.policy();
    let size = file.metadata.size;
    let part_size = policy.parallel_upload_above_size().filter(|part| size > *part);
    let parts = part_size.map_or(1, |part| size / part + 1);
    let input = Input::File { directory: Arc::clone(directory), link: file.link };
    let large = LargeFile::begin(node, input, file.name, file.metadata, parts as usize);
    for number in 0..parts {
        let large = Arc::clone(&large);
        let start = number * part_size.unwrap_or(0);
        let end = part_size.filter(|_| number + 1 < parts).map(|part| start + part);
        node.run.spawn_large(move || {
            large.read_part(number as usize, start, end);
            large.done();
        });
    }
}

/// Stores a stream of unknown length.
pub(super) fn store_stream(node: &Arc<Node>, name: Name, metadata: Metadata, mut input: Box<dyn Read + Send>) {
    let large = LargeFile::begin(node, Input::Stream, name, metadata, 1);
    large.read_chunks(0, &mut *input);
    large.done();
}

impl LargeFile {
    /// The node waits for it from now on, and it for as many readers as it has parts.
    fn begin(node: &Arc<Node>, input: Input, name: Name, metadata: Metadata, parts: usize) -> Arc<Self> {
        let options = file_options(&node.run, node.policy.policy(), &name, metadata.size);
        let large = Arc::new(Self {
            node: Arc::clone(node),
            input,
            name: name.clone(),
            metadata,
            options,
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            waiting: AtomicUsize::new(parts),
            outcome: Mutex::new(Outcome::Good),
        });
        node.expect_one();
        node.state().files.insert(name, Arc::clone(&large));
        add(&node.run.progress.hashing_files, 1);
        large
    }

    fn read_part(self: &Arc<Self>, number: usize, start: u64, end: Option<u64>) {
        let Input::File { directory, .. } = &self.input else { return };
        match directory.open_file(&self.name) {
            Ok(Some(file)) => {
                let mut reader = RangeReader::new(file, start, end, self.metadata.sparse);
                match check_kind(&reader) {
                    Ok(()) => self.read_chunks(number, &mut reader),
                    Err(e) => self.fail(e),
                }
                if number + 1 == self.parts.len() {
                    warn_of_change(&self.node, &self.name, &self.metadata, &reader);
                }
            }
            Ok(None) => self.drop_it(),
            Err(e) => self.fail(e),
        }
    }

    /// Cuts a part into chunks, and has them stored.
    fn read_chunks(self: &Arc<Self>, part: usize, input: &mut dyn Read) {
        let run = &self.node.run;
        let mut chunker = Chunker::new(self.options.splitter);
        loop {
            let (chunks, end) = self.cut_some(&mut chunker, input);
            let views: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.bytes.as_slice()).collect();
            let ids = chunk_ids(&run.contents, &self.options, &views);
            for (chunk, id) in chunks.into_iter().zip(ids) {
                self.hand_over(part, chunk, id);
            }
            match end {
                None => {}
                Some(Ok(())) => return,
                Some(Err(e)) => return self.fail(e),
            }
        }
    }

    /// As many chunks as are hashed at once, or fewer when memory is short, and how the input ended, if it did.
    fn cut_some(&self, chunker: &mut Chunker, input: &mut dyn Read) -> (Vec<Chunk>, Option<std::io::Result<()>>) {
        let run = &self.node.run;
        let mut chunks = Vec::new();
        while chunks.len() < run.contents.hash_lanes() {
            let slot = if chunks.is_empty() { Some(run.chunk_slots.take(1)) } else { run.chunk_slots.try_take(1) };
            let Some(slot) = slot else { break };
            if run.is_over() {
                self.node.cut_short.store(true, Ordering::Relaxed);
                self.drop_it();
                return (chunks, Some(Ok(())));
            }
            let mut bytes = lock(&run.buffers).pop().unwrap_or_default();
            match chunker.next(input, &mut bytes) {
                Ok(true) => {}
                Ok(false) => {
                    lock(&run.buffers).push(bytes);
                    return (chunks, Some(Ok(())));
                }
                Err(e) => return (chunks, Some(Err(e))),
            }
            add(&run.progress.hashed_bytes, bytes.len() as u64);
            chunks.push(Chunk { bytes, _slot: slot });
        }
        (chunks, None)
    }

    /// Has a chunk stored by whoever is free.
    fn hand_over(self: &Arc<Self>, part: usize, chunk: Chunk, id: Option<ContentId>) {
        let run = &self.node.run;
        let Some(pieces) = self.parts.get(part) else { return };
        let number = {
            let mut pieces = lock(pieces);
            pieces.push(None);
            pieces.len() - 1
        };
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let reserved = run.queued_chunks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |queued| {
            (queued < run.most_queued_chunks).then_some(queued + 1)
        });
        if reserved.is_err() {
            // Everybody is busy: lend a hand.
            return self.store_chunk((part, number), chunk, id);
        }
        let large = Arc::clone(self);
        rayon::spawn(move || {
            large.node.run.queued_chunks.fetch_sub(1, Ordering::SeqCst);
            large.store_chunk((part, number), chunk, id);
        });
    }

    fn store_chunk(self: &Arc<Self>, (part, number): (usize, usize), chunk: Chunk, id: Option<ContentId>) {
        let run = &self.node.run;
        if !run.has_failed.load(Ordering::Relaxed) {
            let stored = run
                .workers
                .with(|worker| put_chunk(&run.contents, &self.options, &chunk.bytes, id, &mut worker.scratch));
            match stored {
                Ok(object) => {
                    let piece = ListEntry { length: chunk.bytes.len() as u64, object };
                    if let Some(place) = self.parts.get(part).map(lock).as_mut().and_then(|p| p.get_mut(number)) {
                        *place = Some(piece);
                    }
                }
                Err(e) => run.fail(e),
            }
        }
        lock(&run.buffers).push(chunk.bytes);
        self.done();
    }

    /// One reader or chunk less to wait for; the last one makes the object and the entry.
    fn done(self: &Arc<Self>) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let (node, run) = (&self.node, &self.node.run);
        add(&run.progress.hashing_files, 0_u64.wrapping_sub(1));
        node.state().files.remove(&self.name);
        if !run.has_failed.load(Ordering::Relaxed) {
            match std::mem::replace(&mut *lock(&self.outcome), Outcome::Dropped) {
                Outcome::Good => self.add_entry(),
                Outcome::Dropped => {}
                Outcome::Failed(e) => match self.input {
                    Input::File { .. } => {
                        node.fail(&self.name, Kind::File, format!("unable to read file: {e}"));
                    }
                    // Half a stream must not look like a snapshot.
                    Input::Stream => run.fail(ObjectError::Input(e)),
                },
            }
        }
        node.done();
    }

    fn add_entry(&self) {
        let (node, run) = (&self.node, &self.node.run);
        let pieces: Vec<ListEntry> = self.parts.iter().flat_map(|part| lock(part).clone()).flatten().collect();
        let size = pieces.iter().map(|piece| piece.length).sum();
        let object = run.workers.with(|worker| put_list(&run.contents, &self.options, &pieces, &mut worker.scratch));
        let object = match object {
            Ok(object) => object,
            Err(e) => return run.fail(e),
        };
        // The bytes were counted while they were read.
        count_read(run, 0);
        let mut stats = lock(&run.stats);
        stats.total_size += size;
        stats.file_count += self.parts.len() as u64;
        drop(stats);
        match &self.input {
            Input::File { directory, link } => {
                if let Some(inode) = link {
                    inode.set_stored(self.metadata, object);
                }
                let file = SmallFile { name: self.name.clone(), metadata: self.metadata, link: link.clone() };
                add_entry(node, directory, file, object, Some(size));
            }
            Input::Stream => node.add_entry(entry(self.name.clone(), &self.metadata, object, size, Xattrs::new())),
        }
    }

    fn fail(&self, e: std::io::Error) {
        *lock(&self.outcome) = Outcome::Failed(e);
    }

    fn drop_it(&self) {
        let mut outcome = lock(&self.outcome);
        if matches!(*outcome, Outcome::Good) {
            *outcome = Outcome::Dropped;
        }
    }

    /// An entry of the chunks that are stored so far, up to the first that is not. None when there are none.
    pub(super) fn checkpoint(&self) -> Result<Option<Entry>, ObjectError> {
        let mut pieces = Vec::new();
        for part in &self.parts {
            let part = lock(part);
            let stored = part.iter().map_while(|piece| *piece);
            let whole = part.iter().all(Option::is_some);
            pieces.extend(stored);
            if !whole {
                break;
            }
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let run = &self.node.run;
        let object = run.workers.with(|worker| put_list(&run.contents, &self.options, &pieces, &mut worker.scratch))?;
        // A name that no file has, so that nobody takes it for the whole one.
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| ObjectError::Input(std::io::Error::other(e)))?;
        let name = [PARTIAL_PREFIX.as_bytes(), self.name.as_bytes(), b".", uuid(random).as_bytes()].concat();
        // Of a stream, or a file that grows, there may be more already than it was said to have.
        let size = self.metadata.size.max(pieces.iter().map(|piece| piece.length).sum());
        Ok(Some(entry(Name::from(name), &self.metadata, object, size, Xattrs::new())))
    }
}

/// A random UUID (RFC 9562, version 4) of these bits.
fn uuid(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let digits = hex::encode(random);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
