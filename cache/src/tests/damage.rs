//! Every place where a file of the cache can be cut or damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{hits, key, open, put};
use crate::Class;
use crate::evict::records;
use crate::segment::{HEADER, Located, Segment};
use crate::table;

/// With it segments have 16 KiB.
const LIMIT: u64 = 512 << 10;
const LENGTH: usize = 1000;

/// What a cache has left.
struct Left {
    /// All files by name.
    files: Vec<(PathBuf, Vec<u8>)>,
    numbers: u64,
    /// The file that gets the damage.
    victim: usize,
    /// The records in it, in order, with their numbers.
    records: Vec<(u64, Located)>,
    table: Option<u32>,
}

impl Left {
    /// So many records in up to two segments, of which the first is the victim.
    fn by(numbers: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let cache = open(directory.path(), LIMIT);
        put(&cache, Class::Data, 0..numbers, LENGTH);
        assert_eq!(cache.stats().admitted, numbers);
        drop(cache);
        let chunks = directory.path().join("chunks");
        let names = || fs::read_dir(&chunks).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = names().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        let name = |path: &Path| Segment::parse_name(path.file_name().unwrap().to_str().unwrap());
        let segments = files.iter().enumerate().filter_map(|(index, (path, _))| Some((index, name(path)?)));
        let segments = segments.map(|(index, name)| (index, Segment::open(&chunks, name).unwrap().unwrap()));
        let (victim, segment) = segments.min_by_key(|(_, segment)| segment.order).unwrap();
        let length = segment.length().unwrap();
        let of_hash = |hash| (0..numbers).find(|number| key(*number).hash() == hash).unwrap();
        let records = records(&segment, length).into_iter().map(|record| (of_hash(record.hash), record)).collect();
        let table = table::read(&segment, length).map(|(_, start)| start);
        let relative = |path: PathBuf| path.strip_prefix(directory.path()).unwrap().to_owned();
        let files = files.into_iter().map(|(path, bytes)| (relative(path), bytes)).collect();
        Self { files, numbers, victim, records, table }
    }

    /// Opens what is left after some damage: all values must be there but these, none may be wrong, and it goes on.
    fn check(&self, what: &str, damage: impl FnOnce(&mut Vec<u8>), lost: impl IntoIterator<Item = u64>) {
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        fs::create_dir(directory.join("chunks")).unwrap();
        let mut files = self.files.clone();
        damage(&mut files[self.victim].1);
        for (path, bytes) in &files {
            fs::write(directory.join(path), bytes).unwrap();
        }
        let cache = open(directory, LIMIT);
        let lost: BTreeSet<u64> = lost.into_iter().collect();
        for number in 0..self.numbers {
            assert_eq!(hits(&cache, [number], LENGTH) == 1, !lost.contains(&number), "{what}: {number}");
        }
        put(&cache, Class::Data, 0..self.numbers, LENGTH);
        assert_eq!(hits(&cache, 0..self.numbers, LENGTH) as u64, self.numbers, "{what}: afterwards");
        put(&cache, Class::Data, 100..120, LENGTH);
        assert_eq!(hits(&cache, 100..120, LENGTH), 20, "{what}: more");
        drop(cache);
        let cache = open(directory, LIMIT);
        assert_eq!(hits(&cache, 100..120, LENGTH), 20, "{what}: reopened");
        assert_eq!(cache.problem(), None);
    }

    fn check_flip(&self, what: &str, at: u32, lost: impl IntoIterator<Item = u64>) {
        self.check(&format!("{what}, byte {at} flipped"), |bytes| bytes[at as usize] ^= 0x21, lost);
    }

    fn check_everywhere(&self) {
        self.check("nothing", |_| (), []);
        let all = || self.records.iter().map(|(number, _)| *number);
        for at in 0..HEADER {
            self.check_flip("segment header", at, all());
        }
        for (number, record) in &self.records {
            let head = key(*number).header_length() as u32;
            for at in 0..head {
                // Neither the mark nor the two bytes behind it carry anything that could be lost.
                let lost = (!(13..16).contains(&at)).then_some(*number);
                self.check_flip("record header", record.offset + at, lost);
            }
            for at in [head, head + 500, record.length - 1] {
                self.check_flip("payload", record.offset + at, [*number]);
            }
            for cut in [record.offset.saturating_sub(1), record.offset, record.offset + 1] {
                self.check_cut(cut);
            }
            self.check_power_loss(record.offset);
            self.check_power_loss(record.offset + head + 1);
        }
        let end = self.files[self.victim].1.len() as u32;
        for at in self.table.unwrap_or(end)..end {
            self.check_flip("table", at, []);
        }
        for cut in self.table.unwrap_or(end) - 1..=end {
            self.check_cut(cut);
        }
        for cut in [0, 1, HEADER - 1] {
            self.check_cut(cut);
        }
    }

    /// The file has got its length, and its last bytes were never written.
    fn check_power_loss(&self, from: u32) {
        let lost = self.records.iter().filter(|(_, record)| record.offset + record.length > from);
        let lost = lost.map(|(number, _)| *number);
        self.check(&format!("zeros from {from}"), |bytes| bytes[from as usize..].fill(0), lost);
    }

    fn check_cut(&self, cut: u32) {
        let lost = self.records.iter().filter(|(_, record)| cut < HEADER || record.offset + record.length > cut);
        let lost = lost.map(|(number, _)| *number);
        self.check(&format!("cut to {cut}"), |bytes| bytes.truncate(cut as usize), lost);
    }
}

#[test]
fn damage_to_a_segment_without_a_table() {
    let left = Left::by(8);
    assert!(left.table.is_none() && left.records.len() == 8);
    left.check_everywhere();
}

#[test]
fn damage_to_a_segment_with_a_table() {
    let left = Left::by(20);
    assert!(left.table.is_some() && (10..20).contains(&left.records.len()));
    left.check_everywhere();
}

#[test]
fn a_check_finds_what_is_damaged() {
    let left = Left::by(20);
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    fs::create_dir(directory.join("chunks")).unwrap();
    for (index, (path, bytes)) in left.files.iter().enumerate() {
        let mut bytes = bytes.clone();
        if index == left.victim {
            bytes[left.records[3].1.offset as usize + 100] ^= 1;
            bytes[left.records[5].1.offset as usize] ^= 1;
        }
        fs::write(directory.join(path), bytes).unwrap();
    }
    let cache = open(directory, LIMIT);
    let verified = cache.verify();
    assert_eq!((verified.records, verified.bytes, verified.damaged), (18, 18 * LENGTH as u64, 2));
    assert_eq!(cache.verify().damaged, 0);
    assert_eq!((cache.stats().damaged, hits(&cache, 0..20, LENGTH)), (2, 18));
}

#[test]
fn what_was_damaged_is_kept_once_it_is_put_again() {
    for numbers in [8, 20] {
        let left = Left::by(numbers);
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        fs::create_dir(directory.join("chunks")).unwrap();
        for (index, (path, bytes)) in left.files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if index == left.victim {
                for (_, record) in &left.records {
                    bytes[record.offset as usize + 100] ^= 1;
                }
            }
            fs::write(directory.join(path), bytes).unwrap();
        }
        let cache = open(directory, LIMIT);
        assert_eq!(hits(&cache, 0..numbers, LENGTH), numbers as usize - left.records.len());
        put(&cache, Class::Data, 0..numbers, LENGTH);
        assert_eq!(hits(&cache, 0..numbers, LENGTH), numbers as usize, "of {numbers}");
        drop(cache);
        assert_eq!(hits(&open(directory, LIMIT), 0..numbers, LENGTH), numbers as usize, "of {numbers}, opened anew");
    }
}

#[test]
fn what_was_removed_is_kept_once_it_is_put_again() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    put(&cache, Class::Data, 0..8, LENGTH);
    drop(cache);
    let cache = open(directory.path(), LIMIT);
    (0..8).for_each(|number| cache.remove(&key(number)));
    assert_eq!(hits(&cache, 0..8, LENGTH), 0);
    put(&cache, Class::Data, 0..8, LENGTH);
    assert_eq!(hits(&cache, 0..8, LENGTH), 8);
    drop(cache);
    assert_eq!(hits(&open(directory.path(), LIMIT), 0..8, LENGTH), 8);
}
