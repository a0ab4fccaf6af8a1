//! Getting a segment to write to: one that nobody writes to any more, or a new one, for which old ones are evicted.
//!
//! This is S3-FIFO (Yang et al., SOSP 2023) with segments in the place of objects. Data comes into the probation
//! queue, whose oldest segment goes once the queue holds more than a tenth of the data; what somebody has read since
//! moves to the main queue, the rest is dropped, so one scan of anything passes through that tenth. From the main
//! queue what was read moves to its end, up to half of a segment, so that every eviction gives back something.
//! Metadata has a queue of its own, which gives way when it takes more than half of the limit, or when there is no
//! data left.
//!
//! A segment that some process holds locked is never evicted. What is rescued may take one segment more than what
//! is promised; a reserve is kept for that.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::append::{Active, Appender, is_full};
use crate::index::Slot;
use crate::place::Place;
use crate::record::Mark;
use crate::room::{DirectoryLock, Refused, Survey, remove_unfinished};
use crate::segment::{HEADER, Located, Queue, Read, Segment};
use crate::stats::count;
use crate::{scan, table};

/// Victims for one new segment: more are a sign that others write faster than this one evicts.
const MOST_VICTIMS: usize = 64;

impl Appender {
    /// Sees to it that a queue has a segment.
    pub(crate) fn acquire(&mut self, place: &Place, queue: Queue) -> Result<(), Refused> {
        let lock = prepare(place)?;
        let capacity = u64::from(place.room.capacity);
        for _ in 0..MOST_VICTIMS {
            let survey = place.room.survey(&place.view)?;
            if place.room.allows(&survey, 0, 0)
                && let Some(active) = self.adopt(place, queue)
            {
                *self.active(queue) = Some(active);
                return Ok(());
            }
            if place.room.allows(&survey, capacity, capacity) {
                match create(place, queue) {
                    // No inodes, or somebody else has taken the space.
                    Err(e) if is_full(&e) => {}
                    created => {
                        *self.active(queue) = Some(created?);
                        return Ok(());
                    }
                }
            }
            self.evict_one(place, &survey, &lock)?;
            if self.active(queue).is_some() {
                // It was made for what was rescued.
                return Ok(());
            }
        }
        Err(Refused::NoRoom)
    }

    /// Evicts until so many bytes may be written to the directory by others.
    pub(crate) fn make_room(&mut self, place: &Place, bytes: u64) -> Result<(), Refused> {
        let lock = prepare(place)?;
        loop {
            let survey = place.room.survey(&place.view)?;
            if place.room.allows(&survey, bytes, 0) {
                return Ok(());
            }
            self.evict_one(place, &survey, &lock)?;
        }
    }

    /// Removes all segments, those that others write to as well: they notice.
    pub(crate) fn clear(&mut self, place: &Place) -> Result<(), Refused> {
        self.abandon(&place.view);
        let _lock = prepare(place)?;
        for (slot, segment) in segments(place, |_| true) {
            segment.discard(place.view.directory())?;
            place.view.index().forget(slot);
        }
        Ok(())
    }

    /// A segment that nobody writes to any more, cut after its last whole record.
    fn adopt(&self, place: &Place, queue: Queue) -> Option<Active> {
        let unsealed: Vec<_> = {
            let index = place.view.index();
            let of_queue = index.segments().filter(|(slot, known)| {
                known.segment.queue == queue && !known.own && !known.progress.sealed && !self.has_failed(*slot)
            });
            of_queue.map(|(slot, known)| (slot, Arc::clone(&known.segment))).collect()
        };
        unsealed.into_iter().find_map(|(slot, segment)| {
            if !segment.try_lock() {
                return None;
            }
            let adopted = take_over(place, slot, &segment);
            if adopted.is_none() {
                segment.unlock();
            }
            adopted
        })
    }

    /// A segment out of the reserve.
    fn reserve(&self, place: &Place, queue: Queue, _lock: &DirectoryLock) -> Result<Active, Refused> {
        if let Some(active) = self.adopt(place, queue) {
            return Ok(active);
        }
        let survey = place.room.survey(&place.view)?;
        if !place.room.allows(&survey, u64::from(place.room.capacity), 0) {
            return Err(Refused::NoRoom);
        }
        Ok(create(place, queue)?)
    }

    fn evict_one(&mut self, place: &Place, survey: &Survey, lock: &DirectoryLock) -> Result<(), Refused> {
        let data = if survey.probation > (survey.probation + survey.main) / 10 {
            [Queue::Probation, Queue::Main]
        } else {
            [Queue::Main, Queue::Probation]
        };
        let [first, second] = data;
        let order = if survey.metadata > place.room.limit() / 2 {
            [Queue::Metadata, first, second]
        } else {
            [first, second, Queue::Metadata]
        };
        for queue in order {
            let mut candidates = segments(place, |candidate| candidate == queue);
            candidates.sort_by_key(|(_, segment)| segment.order);
            for (slot, segment) in candidates {
                if segment.try_lock() {
                    return self.evict(place, slot, &segment, lock);
                }
            }
        }
        Err(Refused::NoRoom)
    }

    /// Evicts a segment that this process has locked.
    fn evict(&mut self, place: &Place, slot: Slot, victim: &Segment, lock: &DirectoryLock) -> Result<(), Refused> {
        self.forget(slot);
        let length = victim.length().unwrap_or(HEADER);
        let (mut budget, queue) = match victim.queue {
            Queue::Probation => (u64::MAX, Queue::Main),
            queue => (u64::from(length) / 2, queue),
        };
        for record in records(victim, length) {
            if !place.view.index().leads_to(slot, record) {
                continue;
            }
            if u64::from(record.length) <= budget && self.rescue(place, victim, record, queue, lock) {
                budget -= u64::from(record.length);
                count(&place.counters.rescued, 1);
            } else {
                count(&place.counters.evicted, 1);
                count(&place.counters.evicted_bytes, record.length as usize);
            }
        }
        let discarded = victim.discard(place.view.directory());
        place.view.index().forget(slot);
        victim.unlock();
        Ok(discarded?)
    }

    /// Appends a record that somebody has read to a queue; says whether that was done.
    fn rescue(&mut self, place: &Place, victim: &Segment, at: Located, queue: Queue, lock: &DirectoryLock) -> bool {
        let Some(header) = victim.header(at).filter(|header| header.mark == Mark::Touched) else { return false };
        let Read::Value(payload, _) = victim.read(at, &header.key) else { return false };
        let mut append = || {
            while !self.is_ready(&place.view, queue, u64::from(at.length))? {
                *self.active(queue) = Some(self.reserve(place, queue, lock)?);
            }
            self.append_to_active(&place.view, queue, &header.key, &payload)
        };
        // Where it cannot be written it is evicted.
        append().is_ok()
    }
}

/// Locks the directory, and learns what is there.
fn prepare(place: &Place) -> Result<DirectoryLock, Refused> {
    let directory = place.view.directory();
    let lock = place.room.lock(directory)?;
    place.view.refresh_fully();
    remove_unfinished(directory, &lock)?;
    for path in place.view.take_junk() {
        remove_unlocked(&path)?;
    }
    Ok(lock)
}

/// Removes a file, unless somebody has locked it.
fn remove_unlocked(path: &Path) -> io::Result<()> {
    let removed = File::options().write(true).open(path).and_then(|file| match file.try_lock() {
        Ok(()) => file.set_len(0).and_then(|()| fs::remove_file(path)),
        Err(_) => Ok(()),
    });
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn create(place: &Place, queue: Queue) -> io::Result<Active> {
    let last = place.view.index().segments().map(|(_, known)| known.segment.order).max();
    let order = last.unwrap_or(0) + 1;
    let unnamed = Segment::create(place.view.directory(), queue, place.room.capacity, order)?;
    let (slot, segment) = place.view.add_own(unnamed)?;
    Ok(Active::new(slot, segment, HEADER, Vec::new()))
}

fn take_over(place: &Place, slot: Slot, segment: &Arc<Segment>) -> Option<Active> {
    let length = segment.length()?;
    if table::read(segment, length).is_some() {
        return None;
    }
    let mut records = Vec::new();
    let scanned = scan::scan_kept(segment, HEADER, length, &mut records).ok()?;
    segment.cut(scanned.end).ok()?;
    place.view.enter(slot, &records);
    if let Some(known) = place.view.index().segment_mut(slot) {
        known.own = true;
    }
    Some(Active::new(slot, Arc::clone(segment), scanned.end, records))
}

/// Segments that this process does not append to.
fn segments(place: &Place, wanted: impl Fn(Queue) -> bool) -> Vec<(Slot, Arc<Segment>)> {
    let index = place.view.index();
    let others = index.segments().filter(|(_, known)| !known.own && wanted(known.segment.queue));
    others.map(|(slot, known)| (slot, Arc::clone(&known.segment))).collect()
}

/// All records of a segment, those that nothing leads to as well.
pub(crate) fn records(segment: &Segment, length: u32) -> Vec<Located> {
    if let Some((records, _)) = table::read(segment, length) {
        return records;
    }
    let mut records = Vec::new();
    // What cannot be read is not found.
    let _ = scan::scan_kept(segment, HEADER, length, &mut records);
    records
}
