//! What this process knows of the directory, kept up with what others do there.
//!
//! Others add segments and remove them, which the directory's time of modification tells; and they append to those
//! that have no table yet, which their length tells. So to look costs a few calls that read nothing, and it is done
//! at every miss: what comes next for the caller is a storage far away.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::index::{Index, Progress, Slot};
use crate::segment::{HEADER, Located, Segment, Unnamed};
use crate::{scan, table};

/// Two changes of a directory so close to each other may leave one and the same time.
const CLOCK_TICK: Duration = Duration::from_millis(50);
/// Records that are entered in one go, so that readers do not wait long.
const ENTERED_AT_ONCE: usize = 1024;

#[derive(Debug)]
pub(crate) struct View {
    /// Where the segments are.
    directory: PathBuf,
    index: Mutex<Index>,
    watch: Mutex<Watch>,
}

/// What was seen when the directory was last read. Locked before the index, when both are.
#[derive(Debug, Default)]
struct Watch {
    stamp: Option<Stamp>,
    /// Files that are called segments and are none.
    junk: BTreeSet<u64>,
}

/// Changes when a name comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(directory: &Path) -> Option<Self> {
        let metadata = fs::metadata(directory).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { device: metadata.dev(), inode: metadata.ino(), modified })
    }

    /// Whether a later change gets another time.
    fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = self.modified;
        let since = UNIX_EPOCH + Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        SystemTime::now().duration_since(since).is_ok_and(|age| age > CLOCK_TICK)
    }
}

impl View {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, index: Mutex::default(), watch: Mutex::default() }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        locked(&self.index)
    }

    /// Learns what others have done since the last time.
    pub(crate) fn refresh(&self) {
        let mut watch = locked(&self.watch);
        self.follow();
        let stamp = Stamp::of(&self.directory);
        if stamp.is_none() || stamp != watch.stamp {
            // Read after the time: what comes in between is seen once more.
            watch.stamp = self.read_directory(&mut watch.junk).ok().and(stamp).filter(Stamp::is_settled);
        }
    }

    /// The same, whatever the times say.
    pub(crate) fn refresh_fully(&self) {
        locked(&self.watch).stamp = None;
        self.refresh();
    }

    /// Gives a new segment its name.
    pub(crate) fn add_own(&self, segment: Unnamed) -> io::Result<(Slot, Arc<Segment>)> {
        // Nobody must find it and take it for somebody else's.
        let _watch = locked(&self.watch);
        let segment = Arc::new(segment.finish(&self.directory)?);
        let progress = Progress { next: HEADER, length: HEADER, sealed: false };
        Ok((self.index().add(Arc::clone(&segment), progress, true), segment))
    }

    /// Forgets the files that are called segments and are none; gives their names.
    pub(crate) fn take_junk(&self) -> Vec<PathBuf> {
        let junk = std::mem::take(&mut locked(&self.watch).junk);
        junk.into_iter().map(|name| self.directory.join(Segment::file_name(name))).collect()
    }

    /// Reads what was appended to others' segments.
    fn follow(&self) {
        let followed: Vec<_> = {
            let index = self.index();
            let others = index.segments().filter(|(_, known)| !known.own && !known.progress.sealed);
            others.map(|(slot, known)| (slot, Arc::clone(&known.segment), known.progress)).collect()
        };
        for (slot, segment, progress) in followed {
            match segment.length() {
                None => self.index().forget(slot),
                Some(length) if length == progress.length => {}
                Some(length) => self.read_segment(slot, &segment, progress.next.min(length), length),
            }
        }
    }

    fn read_directory(&self, junk: &mut BTreeSet<u64>) -> io::Result<()> {
        let mut names = BTreeSet::new();
        match fs::read_dir(&self.directory) {
            Ok(entries) => {
                for entry in entries {
                    names.extend(entry?.file_name().to_str().and_then(Segment::parse_name));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let known: HashMap<u64, Slot> =
            self.index().segments().map(|(slot, known)| (known.segment.name, slot)).collect();
        for slot in known.iter().filter(|(name, _)| !names.contains(name)).map(|(_, slot)| *slot) {
            self.index().forget(slot);
        }
        junk.retain(|name| names.contains(name));
        let mut new = Vec::new();
        for name in names.into_iter().filter(|name| !known.contains_key(name)) {
            match Segment::open(&self.directory, name) {
                Ok(Some(segment)) => new.push(Arc::new(segment)),
                Ok(None) => {
                    junk.insert(name);
                }
                // Evicted meanwhile, or not readable: its records are not there for us.
                Err(_) => {}
            }
        }
        // A record that was written again later lies in a later segment.
        new.sort_by_key(|segment| segment.order);
        for segment in new {
            let progress = Progress { next: HEADER, length: HEADER, sealed: false };
            let slot = self.index().add(Arc::clone(&segment), progress, false);
            match segment.length() {
                Some(length) => self.read_segment(slot, &segment, HEADER, length),
                None => self.index().forget(slot),
            }
        }
        Ok(())
    }

    /// Enters the records of a segment that begin at an offset or later.
    fn read_segment(&self, slot: Slot, segment: &Segment, from: u32, length: u32) {
        let (records, progress) = match table::read(segment, length) {
            Some((mut records, start)) => {
                // What was found before may have been removed from the index since.
                records.retain(|record| record.offset >= from);
                (records, Progress { next: start, length, sealed: true })
            }
            None => {
                let mut records = Vec::new();
                let scanned = scan::scan_kept(segment, from, length, &mut records);
                // What cannot be read now is tried again when it has grown.
                let next = scanned.map_or(from, |scanned| scanned.next);
                (records, Progress { next, length, sealed: false })
            }
        };
        self.enter(slot, &records);
        if let Some(known) = self.index().segment_mut(slot).filter(|known| !known.own) {
            known.progress = progress;
        }
    }

    pub(crate) fn enter(&self, slot: Slot, records: &[Located]) {
        for some in records.chunks(ENTERED_AT_ONCE) {
            let mut index = self.index();
            for record in some {
                index.insert(slot, *record);
            }
        }
    }
}

/// What a thread that panicked has left is taken as it is: nothing here is trusted without a checksum.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
