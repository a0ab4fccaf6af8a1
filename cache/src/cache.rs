//! The cache as its users see it. Nothing here fails: what does not work is a miss, and is counted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::append::{Appender, longest_value};
use crate::backlog::{Backlog, Class, Next};
use crate::evict::records;
use crate::index::{Found, Slot};
use crate::place::Place;
use crate::record::{Key, Mark};
use crate::room::{Options, Refused, make_directory};
use crate::segment::{Located, Queue, Read, Segment};
use crate::stats::{Stats, Sum, Usage, Verified, count};
use crate::view::locked;

/// After which others may append to the segments of this process.
const IDLE: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(1) };
/// How long no segment is sought after a failure.
const PAUSE: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(3) };
/// The same, when others kept the directory locked.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// A directory of values that can be had again elsewhere. Copies are the same cache; the last one that is dropped
/// writes what is still on its way.
#[derive(Clone, Debug)]
pub struct Cache {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    inner: Arc<Inner>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    backlog: Backlog,
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    appender: Appender,
    paused_until: Option<Instant>,
}

impl Cache {
    /// Opens the cache in a directory, which is made when it is not there. Where that cannot be used the cache only
    /// misses, and [`problem`](Self::problem) says why. The limit holds for everything under the directory.
    pub fn open(directory: impl Into<PathBuf>, options: Options) -> Self {
        let place = Place::new(directory.into(), options);
        if let Err(error) = make_directory(place.view.directory()) {
            place.counters.set_problem(Some(describe(place.view.directory(), &Refused::Failed(error))));
        }
        place.view.refresh();
        let inner = Arc::new(Inner { place, backlog: Backlog::default(), writing: Mutex::default() });
        let for_writer = Arc::clone(&inner);
        let spawned = std::thread::Builder::new().name("cache".to_owned()).spawn(move || for_writer.write());
        if let Err(error) = &spawned {
            inner.backlog.end();
            inner.place.counters.set_problem(Some(format!("no thread to write with: {error}")));
        }
        Self { handle: Arc::new(Handle { inner, writer: spawned.ok() }) }
    }

    fn inner(&self) -> &Inner {
        &self.handle.inner
    }

    fn place(&self) -> &Place {
        &self.inner().place
    }

    /// The value of a key, if it is there and whole.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let counters = &self.place().counters;
        let value = self.inner().backlog.get(key).map(|value| value.to_vec()).or_else(|| self.read(key));
        match &value {
            Some(value) => {
                count(&counters.hits, 1);
                count(&counters.hit_bytes, value.len());
            }
            None => count(&counters.misses, 1),
        }
        value
    }

    /// Whether a value is there, as far as the index knows.
    pub fn contains(&self, key: &Key) -> bool {
        let hash = key.hash();
        let is_there = || matches!(self.place().view.index().find(hash), Found::Record { .. });
        self.inner().backlog.contains(key) || is_there() || {
            self.place().view.refresh();
            is_there()
        }
    }

    /// Keeps a value, unless there is one under the key already, or no time or room for it. Never waits. What the
    /// value is a part of stays in memory until it is written.
    pub fn put(&self, key: Key, class: Class, value: Bytes) {
        let place = self.place();
        if matches!(place.view.index().find(key.hash()), Found::Record { .. }) {
            return;
        }
        let too_long = value.len() as u64 > longest_value(place.room.capacity);
        if too_long || !self.inner().backlog.offer(key, class, value) {
            count(&place.counters.dropped, 1);
        }
    }

    /// Forgets a value that turned out to be useless.
    pub fn remove(&self, key: &Key) {
        self.inner().backlog.flush();
        let mut index = self.place().view.index();
        if let Found::Record { slot, segment, at, .. } = index.find(key.hash()) {
            index.remove(slot, at);
            drop(index);
            if segment.header(at).is_some_and(|header| header.key == *key) {
                segment.mark(at.offset, Mark::Removed);
            }
        }
    }

    /// Waits until everything that was put before is written, or dropped.
    pub fn flush(&self) {
        self.inner().backlog.flush();
    }

    /// The same, and makes it outlive a power loss; says whether that is so.
    pub fn sync(&self) -> bool {
        self.flush();
        let synced = locked(&self.inner().writing).appender.sync(&self.place().view);
        if let Err(error) = &synced {
            self.place().counters.set_problem(Some(error.to_string()));
        }
        synced.is_ok()
    }

    /// Removes everything, also what other processes have put; says whether that was possible.
    pub fn clear(&self) -> bool {
        self.inner().backlog.clear();
        self.with_appender(Appender::clear)
    }

    /// Evicts until so many bytes more may lie under the directory, for who is about to write them; says whether that
    /// was possible.
    pub fn make_room(&self, bytes: u64) -> bool {
        self.with_appender(|appender, place| appender.make_room(place, bytes))
    }

    fn with_appender(&self, act: impl FnOnce(&mut Appender, &Place) -> Result<(), Refused>) -> bool {
        let place = self.place();
        let acted = act(&mut locked(&self.inner().writing).appender, place);
        if let Err(refused) = &acted {
            place.counters.set_problem(Some(describe(place.view.directory(), refused)));
        }
        acted.is_ok()
    }

    /// Reads everything, and drops what is damaged.
    pub fn verify(&self) -> Verified {
        self.flush();
        let view = &self.place().view;
        view.refresh();
        let segments: Vec<_> =
            view.index().segments().map(|(slot, known)| (slot, Arc::clone(&known.segment))).collect();
        let mut verified = Verified::default();
        for (slot, segment) in segments {
            let Some(length) = segment.length() else { continue };
            for at in records(&segment, length) {
                if !view.index().leads_to(slot, at) {
                    continue;
                }
                match segment.read_any(at) {
                    Read::Value(value, _) => {
                        verified.records += 1;
                        verified.bytes += value.len() as u64;
                    }
                    // Removed by another process, or evicted.
                    Read::Other => view.index().remove(slot, at),
                    Read::Gone => view.index().forget(slot),
                    Read::Damaged => {
                        verified.damaged += 1;
                        self.drop_damaged(slot, &segment, at);
                    }
                }
            }
        }
        verified
    }

    /// What there is, whoever put it.
    pub fn usage(&self) -> Usage {
        let place = self.place();
        place.view.refresh();
        let survey = place.room.survey(&place.view).unwrap_or_default();
        let index = place.view.index();
        let sum = |queues: &[Queue]| {
            let sums = queues.iter().map(|queue| index.sums(*queue));
            let (bytes, records) = sums.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            Sum { bytes, records }
        };
        Usage {
            limit: place.room.limit(),
            committed: survey.committed,
            files: survey.files,
            data: sum(&[Queue::Probation, Queue::Main]),
            metadata: sum(&[Queue::Metadata]),
        }
    }

    /// What this process has done.
    pub fn stats(&self) -> Stats {
        self.place().counters.stats()
    }

    /// Why nothing was admitted the last time, if that is so.
    pub fn problem(&self) -> Option<String> {
        self.place().counters.problem()
    }

    /// From the disk.
    fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let hash = key.hash();
        self.read_known(key, hash).or_else(|| {
            self.place().view.refresh();
            self.read_known(key, hash)
        })
    }

    /// From where the index leads to.
    fn read_known(&self, key: &Key, hash: u64) -> Option<Vec<u8>> {
        let place = self.place();
        let found = place.view.index().find(hash);
        let Found::Record { slot, segment, at, touched } = found else { return None };
        match segment.read(at, key) {
            Read::Value(value, mark) => {
                if !touched {
                    if mark == Mark::Fresh {
                        segment.mark(at.offset, Mark::Touched);
                    }
                    place.view.index().touch(slot, at);
                }
                return Some(value);
            }
            Read::Other => place.view.index().remove(slot, at),
            Read::Gone => place.view.index().forget(slot),
            Read::Damaged => self.drop_damaged(slot, &segment, at),
        }
        None
    }

    /// Forgets a record for good: whoever finds it again later must not take it for the one that replaced it.
    fn drop_damaged(&self, slot: Slot, segment: &Segment, at: Located) {
        count(&self.place().counters.damaged, 1);
        self.place().view.index().remove(slot, at);
        // Where no record begins there is nothing to note it in, and nothing to be found.
        if segment.header(at).is_some() {
            segment.mark(at.offset, Mark::Removed);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.backlog.close();
        if let Some(writer) = self.writer.take() {
            // It has nothing to say.
            let _ = writer.join();
        }
    }
}

impl Inner {
    /// What the writer does.
    fn write(&self) {
        /// Nobody must wait for a writer that is no more.
        struct Ending<'a>(&'a Backlog);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let _ending = Ending(&self.backlog);
        let mut patience = None;
        loop {
            match self.backlog.next(patience) {
                Next::Write(key, class, value) => {
                    self.admit(&key, class, &value);
                    self.backlog.finish(&key);
                    patience = Some(IDLE);
                }
                Next::Idle => {
                    locked(&self.writing).appender.release(&self.place.view);
                    patience = None;
                }
                Next::Closed => break,
            }
        }
        locked(&self.writing).appender.abandon(&self.place.view);
    }

    fn admit(&self, key: &Key, class: Class, value: &[u8]) {
        let (view, counters) = (&self.place.view, &self.place.counters);
        // Another process may have fetched the same meanwhile.
        view.refresh();
        let queue = match (class, view.index().find(key.hash())) {
            (_, Found::Record { .. }) => return,
            (Class::Metadata, _) => Queue::Metadata,
            (Class::Data, Found::Ghost) => Queue::Main,
            (Class::Data, Found::Nothing) => Queue::Probation,
        };
        let mut writing = locked(&self.writing);
        let is_paused = writing.paused_until.is_some_and(|until| Instant::now() < until);
        let length = (key.header_length() + value.len()) as u64;
        if is_paused && !matches!(writing.appender.is_ready(view, queue, length), Ok(true)) {
            count(&counters.dropped, 1);
            return;
        }
        match writing.appender.append(&self.place, queue, key, value) {
            Ok(()) => {
                count(&counters.admitted, 1);
                count(&counters.admitted_bytes, value.len());
                if !is_paused && writing.paused_until.take().is_some() {
                    counters.set_problem(None);
                }
            }
            Err(refused) => {
                count(&counters.dropped, 1);
                let pause = if matches!(refused, Refused::Busy) { SHORT_PAUSE } else { PAUSE };
                writing.paused_until = Some(Instant::now() + pause);
                counters.set_problem(Some(describe(view.directory(), &refused)));
            }
        }
    }
}

fn describe(directory: &Path, refused: &Refused) -> String {
    let directory = directory.display();
    match refused {
        Refused::Busy => format!("{directory}: locked by others"),
        Refused::NoRoom => format!("{directory}: no room within the limit, or too little space free"),
        Refused::Failed(error) => format!("{directory}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn nobody_waits_for_the_disk() {
        let directory = TempDir::new().unwrap();
        let cache = Cache::open(directory.path(), Options { limit: 256 << 20, free_floor: 0 });
        let key = |number: u64| Key::new(&number.to_le_bytes()).unwrap();
        let value = |number: u64| vec![number as u8; 1 << 20];
        let disk_is_slow = locked(&cache.inner().writing);
        for number in 0..100 {
            cache.put(key(number), Class::Data, value(number).into());
        }
        let queued = (0..100).filter(|number| cache.get(&key(*number)) == Some(value(*number))).count();
        assert!((10..20).contains(&queued), "{queued}");
        assert!(cache.contains(&key(0)));
        assert_eq!((cache.stats().dropped, cache.stats().admitted), (100 - queued as u64, 0));
        drop(disk_is_slow);
        cache.flush();
        assert_eq!(cache.stats().admitted, queued as u64);
        assert_eq!((0..100).filter(|number| cache.get(&key(*number)) == Some(value(*number))).count(), queued);
        assert_eq!(cache.stats().hits, 2 * queued as u64);
    }
}
