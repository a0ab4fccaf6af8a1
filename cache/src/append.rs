//! Appending: one segment for each queue, which this process holds locked while it writes to it.
//!
//! A process that has nothing to write gives up the locks but remembers its segments, and goes on with them if
//! nobody else has appended meanwhile. So those who only read keep nobody from anything, and what a killed process
//! was writing to is taken over by the next who needs such a segment.

use std::io;
use std::sync::{Arc, Weak};

use crate::index::{Progress, Slot};
use crate::place::Place;
use crate::record::{Key, LONGEST_HEADER};
use crate::room::Refused;
use crate::segment::{HEADER, Located, Queue, Segment};
use crate::table;
use crate::view::View;

/// The writing side of a cache.
#[derive(Debug, Default)]
pub(crate) struct Appender {
    probation: Option<Active>,
    main: Option<Active>,
    metadata: Option<Active>,
    /// Those that were sealed since the last `sync`. Evicted ones must not be kept open: they would keep their inodes.
    unsynced: Vec<Weak<Segment>>,
    /// Those that could not be written to, though there was room.
    failed: Vec<Slot>,
}

/// A segment that this process appends to.
#[derive(Debug)]
pub(crate) struct Active {
    slot: Slot,
    segment: Arc<Segment>,
    end: u32,
    records: Vec<Located>,
    locked: bool,
}

/// Whether something failed for want of space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The longest value that a segment of this capacity takes.
pub(crate) fn longest_value(capacity: u32) -> u64 {
    u64::from(capacity).saturating_sub(u64::from(HEADER) + LONGEST_HEADER as u64 + table::length(1))
}

impl Active {
    /// One that this process has locked, with the records that end there.
    pub(crate) fn new(slot: Slot, segment: Arc<Segment>, end: u32, records: Vec<Located>) -> Self {
        Self { slot, segment, end, records, locked: true }
    }

    fn fits(&self, length: u64) -> bool {
        let with_table = u64::from(self.end) + length + table::length(self.records.len() + 1);
        with_table <= u64::from(self.segment.capacity)
    }

    /// Makes sure that it is locked, and as it was left.
    fn hold(&mut self, view: &View) -> bool {
        // It may have been moved away with the whole directory.
        if view.index().segment_mut(self.slot).is_none() {
            return false;
        }
        if self.locked {
            return self.segment.length().is_some();
        }
        if !self.segment.try_lock() {
            return false;
        }
        if self.segment.length() != Some(self.end) {
            self.segment.unlock();
            return false;
        }
        self.locked = true;
        if let Some(known) = view.index().segment_mut(self.slot) {
            known.own = true;
        }
        true
    }

    fn release(&mut self, view: &View, sealed: bool) {
        if !std::mem::take(&mut self.locked) {
            return;
        }
        let length = self.segment.length().unwrap_or(self.end);
        if let Some(known) = view.index().segment_mut(self.slot) {
            known.own = false;
            known.progress = Progress { next: self.end, length, sealed };
        }
        self.segment.unlock();
    }

    /// Ends it with its table.
    fn seal(&mut self, view: &View) -> io::Result<()> {
        let written = table::write(&self.segment, self.end, &self.records);
        if written.is_err() {
            // What cannot be cut now is cut by who takes it over.
            let _ = self.segment.cut(self.end);
        }
        self.release(view, written.is_ok());
        written
    }

    fn append(&mut self, view: &View, key: &Key, payload: &[u8]) -> io::Result<()> {
        let record = self.segment.append(self.end, key, payload).inspect_err(|_| {
            let _ = self.segment.cut(self.end);
        })?;
        self.end += record.length;
        self.records.push(record);
        let mut index = view.index();
        index.insert(self.slot, record);
        if let Some(known) = index.segment_mut(self.slot) {
            known.progress.length = self.end;
        }
        Ok(())
    }
}

impl Appender {
    pub(crate) fn active(&mut self, queue: Queue) -> &mut Option<Active> {
        match queue {
            Queue::Probation => &mut self.probation,
            Queue::Main => &mut self.main,
            Queue::Metadata => &mut self.metadata,
        }
    }

    /// Appends a record, in a new segment if it must be.
    pub(crate) fn append(&mut self, place: &Place, queue: Queue, key: &Key, payload: &[u8]) -> Result<(), Refused> {
        let length = (key.header_length() + payload.len()) as u64;
        while !self.is_ready(&place.view, queue, length)? {
            self.acquire(place, queue)?;
        }
        self.append_to_active(&place.view, queue, key, payload)
    }

    /// Whether the queue's segment takes that many bytes more. One that is full is sealed.
    pub(crate) fn is_ready(&mut self, view: &View, queue: Queue, length: u64) -> io::Result<bool> {
        let Some(mut active) = self.active(queue).take() else { return Ok(false) };
        if !active.hold(view) {
            active.release(view, false);
            return Ok(false);
        }
        if active.fits(length) {
            *self.active(queue) = Some(active);
            return Ok(true);
        }
        self.unsynced.retain(|segment| segment.strong_count() > 0);
        self.unsynced.push(Arc::downgrade(&active.segment));
        active.seal(view)?;
        Ok(false)
    }

    pub(crate) fn append_to_active(
        &mut self,
        view: &View,
        queue: Queue,
        key: &Key,
        payload: &[u8],
    ) -> Result<(), Refused> {
        let Some(mut active) = self.active(queue).take() else { return Err(Refused::NoRoom) };
        let appended = active.append(view, key, payload);
        match &appended {
            Ok(()) => *self.active(queue) = Some(active),
            Err(error) => {
                active.release(view, false);
                if !is_full(error) {
                    self.failed.push(active.slot);
                }
            }
        }
        Ok(appended?)
    }

    /// Whether it is better to leave a segment to others.
    pub(crate) fn has_failed(&self, slot: Slot) -> bool {
        self.failed.contains(&slot)
    }

    /// Lets others append to the segments of this process.
    pub(crate) fn release(&mut self, view: &View) {
        for active in [&mut self.probation, &mut self.main, &mut self.metadata].into_iter().flatten() {
            active.release(view, false);
        }
    }

    /// Forgets a segment that others may append to, for it is to go.
    pub(crate) fn forget(&mut self, slot: Slot) {
        for active in [&mut self.probation, &mut self.main, &mut self.metadata] {
            active.take_if(|active| active.slot == slot);
        }
    }

    /// Gives the segments up.
    pub(crate) fn abandon(&mut self, view: &View) {
        self.release(view);
        *self = Self::default();
    }

    /// Makes what was appended outlive a power loss.
    pub(crate) fn sync(&mut self, view: &View) -> io::Result<()> {
        let actives = [&self.probation, &self.main, &self.metadata].into_iter().flatten();
        let actives = actives.map(|active| Arc::clone(&active.segment));
        for segment in actives.chain(self.unsynced.iter().filter_map(Weak::upgrade)) {
            segment.sync()?;
        }
        self.unsynced.clear();
        match std::fs::File::open(view.directory()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            directory => directory?.sync_all(),
        }
    }
}
