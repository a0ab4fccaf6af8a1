//! Directories that cannot be used, or that others tamper with.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::{hits, key, open, put, taken};
use crate::{Cache, Class, Options};

const LIMIT: u64 = 1 << 20;
const LENGTH: usize = 1000;

/// Longer than nothing is admitted after a failure.
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn without_a_directory_it_only_misses() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let cache = open(&file, LIMIT);
    assert!(cache.problem().unwrap().contains("file/chunks"));
    put(&cache, Class::Data, 0..10, LENGTH);
    assert_eq!(hits(&cache, 0..10, LENGTH), 0);
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.dropped, stats.admitted), (10, 10, 0));
    assert!(!cache.clear() && !cache.make_room(0) && !cache.sync());
    assert_eq!((cache.verify().records, cache.usage().files), (0, 0));
    fs::remove_file(&file).unwrap();
    pause();
    put(&cache, Class::Data, 0..10, LENGTH);
    assert_eq!(hits(&cache, 0..10, LENGTH), 10);
    assert_eq!(cache.problem(), None);
}

#[test]
fn a_directory_that_vanished_is_made_again() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("cache");
    let (cache, other) = (open(&root, LIMIT), open(&root, LIMIT));
    for _ in 0..3 {
        put(&cache, Class::Data, 0..100, LENGTH);
        assert_eq!(hits(&cache, 0..100, LENGTH) + hits(&other, 0..100, LENGTH), 200);
        fs::remove_dir_all(&root).unwrap();
        // Until they miss something they do not notice.
        assert!(!cache.contains(&key(1000)) && !other.contains(&key(1000)));
        assert_eq!(hits(&cache, 0..100, LENGTH) + hits(&other, 0..100, LENGTH), 0);
    }
    assert_eq!(cache.stats().damaged + other.stats().damaged, 0);
    put(&cache, Class::Data, 0..100, LENGTH);
    assert!(cache.sync());
    let mode = |path| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("chunks"), mode("chunks/lock")), (0o700, 0o600));
}

#[test]
fn a_directory_that_was_moved_away_is_made_again() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("cache");
    let cache = open(&root, LIMIT);
    put(&cache, Class::Data, 0..10, LENGTH);
    fs::rename(&root, directory.path().join("moved")).unwrap();
    put(&cache, Class::Data, 10..20, LENGTH);
    assert_eq!(hits(&cache, 10..20, LENGTH), 10);
    assert_eq!(hits(&open(&root, LIMIT), 10..20, LENGTH), 10);
    assert_eq!(hits(&open(&directory.path().join("moved"), LIMIT), 0..10, LENGTH), 10);
}

#[test]
fn foreign_files_are_left_alone_and_counted() {
    let directory = TempDir::new().unwrap();
    let chunks = directory.path().join("chunks");
    fs::create_dir(&chunks).unwrap();
    fs::create_dir(chunks.join("segment-0000000000000001")).unwrap();
    symlink("nowhere", chunks.join("segment-0000000000000002")).unwrap();
    fs::write(chunks.join("segment-0000000000000003"), "").unwrap();
    fs::write(chunks.join("segment-0000000000000004"), vec![b'x'; 5000]).unwrap();
    fs::write(chunks.join("new-0000000000000005"), vec![b'x'; 5000]).unwrap();
    fs::write(chunks.join("segment-x"), "mine").unwrap();
    fs::write(directory.path().join("segment-0000000000000006"), vec![b'x'; LIMIT as usize / 2]).unwrap();
    let cache = open(directory.path(), LIMIT);
    put(&cache, Class::Data, 0..2000, LENGTH);
    assert_eq!(cache.problem(), None);
    assert!(hits(&cache, 0..2000, LENGTH) > 300);
    assert!(taken(directory.path()).0 <= LIMIT);
    assert_eq!(fs::read(chunks.join("segment-x")).unwrap(), b"mine");
    assert!(directory.path().join("segment-0000000000000006").exists());
    // What is called as only the cache calls its files, and is of no use, is removed.
    for name in ["segment-0000000000000003", "segment-0000000000000004", "new-0000000000000005"] {
        assert!(!chunks.join(name).exists(), "{name}");
    }
}

#[test]
fn when_others_fill_the_directory_nothing_is_admitted() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    put(&cache, Class::Data, 0..100, LENGTH);
    let other = directory.path().join("log");
    fs::write(&other, vec![b'x'; 2 * LIMIT as usize]).unwrap();
    put(&cache, Class::Data, 100..400, LENGTH);
    assert!(cache.problem().unwrap().contains("no room"));
    // The segment that is being written to was promised its room.
    assert!(cache.stats().dropped > 200);
    fs::remove_file(other).unwrap();
    pause();
    put(&cache, Class::Data, 100..400, LENGTH);
    assert_eq!(hits(&cache, 100..400, LENGTH), 300);
    assert_eq!(cache.problem(), None);
}

#[test]
fn so_much_stays_free_as_was_asked_for() {
    let directory = TempDir::new().unwrap();
    put(&open(directory.path(), LIMIT), Class::Data, 0..500, LENGTH);
    let cache = Cache::open(directory.path(), Options { limit: LIMIT, free_floor: u64::MAX });
    assert_eq!(hits(&cache, 0..500, LENGTH), 500);
    put(&cache, Class::Data, 1000..1010, LENGTH);
    assert!(cache.problem().unwrap().contains("too little space free"));
    assert_eq!(taken(directory.path()), (0, 1));
}

#[test]
fn values_that_can_never_fit_are_dropped() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    let longest = LIMIT as usize / 32 - 40 - 84 - 32;
    cache.put(key(1), Class::Data, vec![1; longest].into());
    cache.put(key(2), Class::Data, vec![1; longest + 1].into());
    cache.put(key(3), Class::Data, Bytes::new());
    cache.flush();
    assert_eq!(cache.get(&key(1)).unwrap().len(), longest);
    assert_eq!((cache.get(&key(2)), cache.get(&key(3))), (None, Some(Vec::new())));
    assert_eq!(cache.stats().dropped, 1);

    let nothing = open(&directory.path().join("none"), 0);
    put(&nothing, Class::Data, 0..10, LENGTH);
    assert_eq!(hits(&nothing, 0..10, LENGTH), 0);
    assert_eq!(taken(&directory.path().join("none")).0, 0);
}
