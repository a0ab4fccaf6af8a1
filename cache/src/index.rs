//! The index: where the records are, in memory.
//!
//! An entry takes 20 bytes and one more of the table, and a table is between 7/16 and 7/8 full: 24 to 48 bytes for a
//! record. It holds a hash of the key; the key itself is compared when the record is read. Two keys with one hash
//! push each other out, which costs a miss.
//!
//! When a segment goes its entries stay as ghosts: they tell that a key was here not long ago, so that its value, put
//! again, is data somebody asked for again. There are never more of them than records, apart from a few; the oldest
//! go first.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use crate::segment::{Located, Queue, Segment};

/// Ghosts that are kept however few records there are.
const FEW_GHOSTS: usize = 1024;
const TOUCHED: u32 = 1 << 31;

#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashTable<Entry>,
    segments: BTreeMap<Slot, Known>,
    /// Ghosts of each segment that went.
    gone: BTreeMap<Slot, usize>,
    ghosts: usize,
    next: u32,
}

/// Stands for a segment; of those found later it is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// A segment, and how far this process knows it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) segment: Arc<Segment>,
    pub(crate) progress: Progress,
    /// Records that the index leads to.
    pub(crate) records: usize,
    /// This process appends to it.
    pub(crate) own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Where to look for further records.
    pub(crate) next: u32,
    /// Bytes it had when somebody looked.
    pub(crate) length: u32,
    /// It has its table.
    pub(crate) sealed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    // Halves, so that an entry takes 20 bytes and not 24.
    hash: [u32; 2],
    slot: Slot,
    offset: u32,
    /// The highest bit says that this process has touched it.
    length: u32,
}

impl Entry {
    fn hash(&self) -> u64 {
        let [low, high] = self.hash;
        u64::from(high) << 32 | u64::from(low)
    }

    fn new(slot: Slot, record: Located) -> Self {
        let hash = [record.hash as u32, (record.hash >> 32) as u32];
        Self { hash, slot, offset: record.offset, length: record.length }
    }
}

/// What there is under a hash.
#[derive(Debug)]
pub(crate) enum Found {
    Record {
        slot: Slot,
        segment: Arc<Segment>,
        at: Located,
        touched: bool,
    },
    /// It was evicted.
    Ghost,
    Nothing,
}

impl Index {
    pub(crate) fn add(&mut self, segment: Arc<Segment>, progress: Progress, own: bool) -> Slot {
        let slot = Slot(self.next);
        self.next += 1;
        self.segments.insert(slot, Known { segment, progress, records: 0, own });
        slot
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = (Slot, &Known)> {
        self.segments.iter().map(|(slot, known)| (*slot, known))
    }

    pub(crate) fn segment_mut(&mut self, slot: Slot) -> Option<&mut Known> {
        self.segments.get_mut(&slot)
    }

    /// Notes that a segment went.
    pub(crate) fn forget(&mut self, slot: Slot) {
        let Some(known) = self.segments.remove(&slot) else { return };
        if known.records > 0 {
            self.gone.insert(slot, known.records);
            self.ghosts += known.records;
        }
        let enough = FEW_GHOSTS.max(self.entries.len().saturating_sub(self.ghosts) / 2);
        if self.ghosts > 2 * enough {
            while self.ghosts > enough
                && let Some((_, number)) = self.gone.pop_first()
            {
                self.ghosts -= number;
            }
            let (segments, gone) = (&self.segments, &self.gone);
            self.entries.retain(|entry| segments.contains_key(&entry.slot) || gone.contains_key(&entry.slot));
            if self.entries.capacity() > 4 * self.entries.len() {
                self.entries.shrink_to(2 * self.entries.len(), Entry::hash);
            }
        }
    }

    /// Notes that a record is in a segment that is known; it takes the place of one that was found before.
    pub(crate) fn insert(&mut self, slot: Slot, record: Located) {
        let Some(known) = self.segments.get_mut(&slot) else { return };
        let entry = Entry::new(slot, record);
        match self.entries.entry(record.hash, |e| e.hash == entry.hash, Entry::hash) {
            TableEntry::Occupied(mut occupied) => {
                let old = *occupied.get();
                if (old.slot, old.offset) == (slot, record.offset) {
                    return;
                }
                known.records += 1;
                *occupied.get_mut() = entry;
                self.left(old.slot);
            }
            TableEntry::Vacant(vacant) => {
                known.records += 1;
                vacant.insert(entry);
            }
        }
    }

    pub(crate) fn find(&self, hash: u64) -> Found {
        let Some(entry) = self.entries.find(hash, |e| e.hash() == hash) else { return Found::Nothing };
        let Some(known) = self.segments.get(&entry.slot) else { return Found::Ghost };
        let at = Located { hash, offset: entry.offset, length: entry.length & !TOUCHED };
        let touched = entry.length & TOUCHED != 0;
        Found::Record { slot: entry.slot, segment: Arc::clone(&known.segment), at, touched }
    }

    /// Whether it is this record that the index leads to.
    pub(crate) fn leads_to(&self, slot: Slot, record: Located) -> bool {
        let entry = self.entries.find(record.hash, |e| e.hash() == record.hash);
        entry.is_some_and(|entry| (entry.slot, entry.offset) == (slot, record.offset))
    }

    pub(crate) fn touch(&mut self, slot: Slot, record: Located) {
        let entry = self.entries.find_mut(record.hash, |e| e.hash() == record.hash);
        if let Some(entry) = entry.filter(|entry| (entry.slot, entry.offset) == (slot, record.offset)) {
            entry.length |= TOUCHED;
        }
    }

    /// Forgets a record, if it is the one that the index leads to.
    pub(crate) fn remove(&mut self, slot: Slot, record: Located) {
        let found = |entry: &Entry| entry.hash() == record.hash && (entry.slot, entry.offset) == (slot, record.offset);
        if let Ok(entry) = self.entries.find_entry(record.hash, found) {
            entry.remove();
            self.left(slot);
        }
    }

    /// Counts one entry of a segment less.
    fn left(&mut self, slot: Slot) {
        if let Some(known) = self.segments.get_mut(&slot) {
            known.records -= 1;
        } else if let Some(number) = self.gone.get_mut(&slot) {
            *number -= 1;
            self.ghosts -= 1;
            if *number == 0 {
                self.gone.remove(&slot);
            }
        }
    }

    /// Bytes and records of the segments of a queue.
    pub(crate) fn sums(&self, queue: Queue) -> (u64, u64) {
        let of_queue = self.segments.values().filter(|known| known.segment.queue == queue);
        of_queue.fold((0, 0), |(bytes, records), known| {
            (bytes + u64::from(known.progress.length), records + known.records as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const START: Progress = Progress { next: 0, length: 0, sealed: false };

    fn segment() -> Arc<Segment> {
        let directory = TempDir::new().unwrap();
        Arc::new(Segment::create(directory.path(), Queue::Main, 1 << 16, 1).unwrap().finish(directory.path()).unwrap())
    }

    fn record(hash: u64, offset: u32) -> Located {
        Located { hash, offset, length: 10 }
    }

    #[test]
    fn an_entry_takes_20_bytes() {
        assert_eq!(size_of::<Entry>(), 20);
    }

    #[test]
    fn the_record_found_last_counts() {
        let mut index = Index::default();
        let (a, b) = (index.add(segment(), START, false), index.add(segment(), START, false));
        index.insert(a, record(1, 40));
        index.touch(a, record(1, 40));
        index.insert(a, record(1, 40));
        let Found::Record { slot, at, touched, .. } = index.find(1) else { panic!() };
        assert_eq!((slot, at, touched), (a, record(1, 40), true));
        index.insert(b, record(1, 80));
        assert!(index.leads_to(b, record(1, 80)) && !index.leads_to(a, record(1, 40)));
        assert_eq!(index.sums(Queue::Main), (0, 1));
        index.remove(a, record(1, 40));
        assert!(matches!(index.find(1), Found::Record { touched: false, .. }));
        index.remove(b, record(1, 80));
        assert!(matches!(index.find(1), Found::Nothing));
        assert_eq!(index.sums(Queue::Main), (0, 0));
    }

    #[test]
    fn ghosts_stay_for_a_while() {
        let mut index = Index::default();
        for generation in 0..10 {
            let slot = index.add(segment(), START, false);
            for number in 0..500 {
                index.insert(slot, record(generation << 32 | number, 40));
            }
            assert!(matches!(index.find(generation << 32 | 1), Found::Record { .. }));
            index.forget(slot);
            index.forget(slot);
            assert!(matches!(index.find(generation << 32 | 1), Found::Ghost));
            assert!(index.entries.len() <= 2 * FEW_GHOSTS + 500, "{}", index.entries.len());
            assert_eq!(index.entries.len(), index.ghosts);
        }
        assert!(matches!(index.find(1), Found::Nothing));
        let slot = index.add(segment(), START, false);
        let ghosts = index.ghosts;
        index.insert(slot, record(9 << 32 | 1, 40));
        assert_eq!(index.ghosts, ghosts - 1);
    }
}
