//! The limit: how much there is under the whole directory, and whether there is room for more.
//!
//! A segment that still takes records counts with its full capacity from the moment it is made, so that appending to
//! it, which asks nobody, never leads over the limit. Everything else counts with what it takes: other files under
//! the directory too, whoever wrote them. Segments are made under a lock of the directory, which no reader waits for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::index::Index;
use crate::segment::{Queue, UNFINISHED};
use crate::view::View;

const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const LOCK_NAME: &str = "lock";

const SMALLEST_SEGMENT: u64 = 16 << 20;
/// File systems give out space in these.
const BLOCK: u64 = 4096;
const LARGEST_SEGMENT: u64 = 1 << 30;

/// Limits of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that everything under the directory may take.
    pub limit: u64,
    /// Bytes that stay free in the file system.
    pub free_floor: u64,
}

/// Where the limit holds, and what it is.
#[derive(Debug)]
pub(crate) struct Room {
    /// Of everything, the segments among it.
    root: PathBuf,
    options: Options,
    /// Of the segments that are made.
    pub(crate) capacity: u32,
}

/// Why something was not admitted.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Others keep the directory locked.
    Busy,
    /// Nothing can be evicted any more.
    NoRoom,
    Failed(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Held while segments are made and evicted.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

/// What there is, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survey {
    /// Taken, or promised to segments that are not full.
    pub(crate) committed: u64,
    /// The part of it that is promised only.
    promised: u64,
    free: u64,
    pub(crate) probation: u64,
    pub(crate) main: u64,
    pub(crate) metadata: u64,
    pub(crate) files: u64,
}

impl Room {
    pub(crate) fn new(root: PathBuf, options: Options) -> Self {
        // A few hundred segments whatever the limit, and enough of them to choose from when it is small.
        let largest = LARGEST_SEGMENT.max(options.limit / 256);
        let capacity = (options.limit / 128).clamp(SMALLEST_SEGMENT, largest).min(options.limit / 32);
        let whole_blocks = if capacity < BLOCK { capacity } else { capacity / BLOCK * BLOCK };
        Self { root, options, capacity: u32::try_from(whole_blocks).unwrap_or(u32::MAX / BLOCK as u32 * BLOCK as u32) }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.options.limit
    }

    /// Locks the directory of the segments, which is made when it is not there.
    pub(crate) fn lock(&self, directory: &Path) -> Result<DirectoryLock, Refused> {
        for attempt in 0..LOCK_ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(LOCK_PAUSE);
            }
            make_directory(directory)?;
            let path = directory.join(LOCK_NAME);
            let opened = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = match opened {
                // The directory was removed just now.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => continue,
                Err(fs::TryLockError::Error(e)) => return Err(e.into()),
            }
            // It may have been removed and made again between opening and locking.
            let still_there = fs::metadata(&path).ok().zip(file.metadata().ok());
            if still_there.is_some_and(|(named, open)| (named.dev(), named.ino()) == (open.dev(), open.ino())) {
                return Ok(DirectoryLock { _file: file });
            }
        }
        Err(Refused::Busy)
    }

    /// Adds everything up.
    pub(crate) fn survey(&self, view: &View) -> io::Result<Survey> {
        let mut survey = Survey::default();
        // In this order, as segments grow meanwhile: what is counted twice does no harm.
        survey.add_segments(&view.index());
        survey.add_directory(&self.root)?;
        let statistics = rustix::fs::statvfs(&self.root)?;
        survey.free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
        Ok(survey)
    }

    /// Whether so many bytes more may be promised, with a reserve that need not be free.
    pub(crate) fn allows(&self, survey: &Survey, more: u64, reserve: u64) -> bool {
        survey.committed.saturating_add(more).saturating_add(reserve) <= self.options.limit
            && survey.free >= self.options.free_floor.saturating_add(survey.promised).saturating_add(more)
    }
}

impl Survey {
    fn add_directory(&mut self, directory: &Path) -> io::Result<()> {
        for entry in missing_is_empty(fs::read_dir(directory).map(Some))?.into_iter().flatten() {
            let Some(entry) = missing_is_empty(entry.map(Some))? else { continue };
            // Files come and go meanwhile; links are not followed.
            let Some(metadata) = missing_is_empty(entry.metadata().map(Some))? else { continue };
            self.committed += metadata.len().max(metadata.blocks() * 512);
            if metadata.is_dir() {
                self.add_directory(&entry.path())?;
            } else {
                self.files += 1;
            }
        }
        Ok(())
    }

    fn add_segments(&mut self, index: &Index) {
        for (_, known) in index.segments() {
            let length = known.segment.length().unwrap_or(0);
            let promised = if known.progress.sealed { 0 } else { known.segment.capacity.saturating_sub(length) };
            self.committed += u64::from(promised);
            self.promised += u64::from(promised);
            let sum = match known.segment.queue {
                Queue::Probation => &mut self.probation,
                Queue::Main => &mut self.main,
                Queue::Metadata => &mut self.metadata,
            };
            *sum += u64::from(length) + u64::from(promised);
        }
    }
}

fn missing_is_empty<T>(result: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result,
    }
}

pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Removes what was left by processes that were killed while they made a segment; for the holder of the lock.
pub(crate) fn remove_unfinished(directory: &Path, _lock: &DirectoryLock) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
