//! Tests of the cache as a whole.

mod damage;
mod eviction;
mod faults;
mod model;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Cache, Class, Key, Options};

fn key(number: u64) -> Key {
    Key::new(format!("key-{number}").as_bytes()).unwrap()
}

/// What stands under a key.
fn value(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(number | 1) >> 3) as u8 ^ number as u8).collect()
}

fn open(directory: &Path, limit: u64) -> Cache {
    Cache::open(directory, Options { limit, free_floor: 0 })
}

/// Puts values, none of which is dropped for want of time.
fn put(cache: &Cache, class: Class, numbers: impl IntoIterator<Item = u64>, length: usize) {
    for (count, number) in numbers.into_iter().enumerate() {
        cache.put(key(number), class, value(number, length).into());
        if count % 64 == 63 {
            cache.flush();
        }
    }
    cache.flush();
}

/// How many of the values are there. Those that are must be right.
fn hits(cache: &Cache, numbers: impl IntoIterator<Item = u64>, length: usize) -> usize {
    let is_there = |number: &u64| match cache.get(&key(*number)) {
        Some(found) => {
            assert!(found == value(*number, length), "wrong bytes under {number}");
            true
        }
        None => false,
    };
    numbers.into_iter().filter(is_there).count()
}

/// Bytes and number of all files under a directory.
fn taken(directory: &Path) -> (u64, usize) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let (bytes, files) =
            if metadata.is_dir() { taken(&entry.path()) } else { (metadata.len().max(metadata.blocks() * 512), 1) };
        sum = (sum.0 + bytes, sum.1 + files);
    }
    sum
}
