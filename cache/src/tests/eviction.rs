//! What stays and what goes, and that everything together stays within the limit.

use tempfile::TempDir;

use super::{hits, open, put, taken};
use crate::Class;
use crate::room::{Options, Room};

/// With it segments have 256 KiB.
const LIMIT: u64 = 8 << 20;
const LENGTH: usize = 8000;
const HOT: std::ops::Range<u64> = 0..150;
const METADATA: std::ops::Range<u64> = 1_000_000..1_000_100;

#[test]
fn a_scan_passes_through() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    put(&cache, Class::Metadata, METADATA, LENGTH);
    put(&cache, Class::Data, HOT, LENGTH);
    assert_eq!(hits(&cache, HOT, LENGTH), HOT.count());
    for part in 0..16 {
        let scanned = 10_000 + part * 250..10_000 + (part + 1) * 250;
        put(&cache, Class::Data, scanned, LENGTH);
        let (bytes, files) = taken(directory.path());
        assert!(bytes <= LIMIT && files < 50, "{bytes} bytes in {files} files");
    }
    let stats = cache.stats();
    assert!(stats.evicted > 3000 && stats.dropped == 0, "{stats:?}");
    assert_eq!(hits(&cache, METADATA, LENGTH), METADATA.count());
    assert_eq!(hits(&cache, HOT, LENGTH), HOT.count());
    // It does not keep half of the cache empty.
    let (bytes, _) = taken(directory.path());
    assert!(bytes > LIMIT * 8 / 10, "{bytes}");
    let usage = cache.usage();
    assert_eq!((usage.limit, usage.metadata.records), (LIMIT, METADATA.count() as u64));
    assert!(usage.committed <= LIMIT && usage.data.bytes + usage.metadata.bytes <= bytes, "{usage:?}");
    drop(cache);
    let cache = open(directory.path(), LIMIT);
    assert_eq!(hits(&cache, METADATA, LENGTH) + hits(&cache, HOT, LENGTH), METADATA.count() + HOT.count());
}

#[test]
fn metadata_takes_no_more_than_half_while_there_is_data() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    put(&cache, Class::Data, HOT, LENGTH);
    assert_eq!(hits(&cache, HOT, LENGTH), HOT.count());
    put(&cache, Class::Metadata, 10_000..12_000, LENGTH);
    put(&cache, Class::Data, 1000..3000, LENGTH);
    let usage = cache.usage();
    assert!(usage.metadata.bytes <= LIMIT / 2 && usage.metadata.bytes > LIMIT * 4 / 10, "{usage:?}");
    put(&cache, Class::Metadata, 10_000..12_000, LENGTH);
    let usage = cache.usage();
    assert!(usage.metadata.bytes <= LIMIT * 6 / 10, "{usage:?}");
    assert!(hits(&cache, HOT, LENGTH) > 140);
    assert!(taken(directory.path()).0 <= LIMIT);
}

#[test]
fn what_comes_again_after_it_was_evicted_stays() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    // Old things fill the main queue.
    put(&cache, Class::Data, 0..700, LENGTH);
    hits(&cache, 0..700, LENGTH);
    put(&cache, Class::Data, 10_000..11_000, LENGTH);
    // More than goes through probation at once, again and again.
    for _ in 0..4 {
        let missing = (20_000..20_500).filter(|number| hits(&cache, [*number], LENGTH) == 0);
        put(&cache, Class::Data, missing.collect::<Vec<_>>(), LENGTH);
    }
    let hits = hits(&cache, 20_000..20_500, LENGTH);
    assert!(hits > 450, "{hits}");
}

#[test]
fn what_one_puts_the_others_hit() {
    let directory = TempDir::new().unwrap();
    let (one, other) = (open(directory.path(), LIMIT), open(directory.path(), LIMIT));
    let mut found = 0;
    for number in 0..2000 {
        put(&one, Class::Data, [number], LENGTH);
        found += hits(&other, [number], LENGTH);
    }
    assert!(found >= 1800, "{found}");
    // What is there is not written twice.
    put(&other, Class::Data, 1900..2000, LENGTH);
    assert_eq!(other.stats().admitted, 0);
    assert!(taken(directory.path()).0 <= LIMIT);
    // What one removes, or finds damaged, is gone for the others.
    one.remove(&super::key(1999));
    assert!(!one.contains(&super::key(1999)));
    assert_eq!(hits(&one, [1999], LENGTH) + hits(&other, [1999], LENGTH), 0);
    put(&other, Class::Data, [1999], LENGTH);
    assert_eq!(hits(&one, [1999], LENGTH) + hits(&other, [1999], LENGTH), 2);
    assert!(one.clear());
    assert_eq!(hits(&other, 0..2000, LENGTH), 0);
    put(&other, Class::Data, 0..10, LENGTH);
    assert_eq!(hits(&one, 0..10, LENGTH), 10);
}

#[test]
fn what_others_read_stays() {
    let directory = TempDir::new().unwrap();
    let (one, other) = (open(directory.path(), LIMIT), open(directory.path(), LIMIT));
    put(&one, Class::Data, 0..300, LENGTH);
    assert_eq!(hits(&other, HOT, LENGTH), HOT.count());
    put(&one, Class::Data, 10_000..12_000, LENGTH);
    assert!(one.stats().rescued >= HOT.count() as u64);
    assert_eq!(hits(&one, HOT, LENGTH), HOT.count());
    assert_eq!(hits(&other, HOT, LENGTH), HOT.count());
    assert_eq!(hits(&other, HOT.end..300, LENGTH), 0);
}

#[test]
fn who_is_idle_leaves_its_segments_to_others() {
    let directory = TempDir::new().unwrap();
    let caches: Vec<_> = (0..5).map(|_| open(directory.path(), LIMIT)).collect();
    for round in 0..4 {
        for (number, cache) in (0..).zip(&caches) {
            put(cache, Class::Data, [round * 10 + number], LENGTH);
            std::thread::sleep(std::time::Duration::from_millis(80));
        }
    }
    // One segment, and the lock.
    assert_eq!(taken(directory.path()).1, 2);
    for cache in &caches {
        let all = (0..4).flat_map(|round| round * 10..round * 10 + 5);
        assert_eq!(hits(cache, all, LENGTH), 20);
    }
}

#[test]
fn several_writers_stay_within_the_limit() {
    let directory = TempDir::new().unwrap();
    let caches: Vec<_> = (0..4).map(|_| open(directory.path(), LIMIT)).collect();
    std::thread::scope(|scope| {
        for (number, cache) in (0_u64..).zip(&caches) {
            scope.spawn(move || {
                for round in 0..8 {
                    let start = number * 10_000 + round * 100;
                    put(cache, Class::Data, start..start + 100, LENGTH);
                    put(cache, Class::Metadata, start + 5000..start + 5020, LENGTH);
                    hits(cache, start..start + 100, LENGTH);
                }
            });
        }
        for _ in 0..100 {
            let (bytes, _) = taken(directory.path());
            assert!(bytes <= LIMIT, "{bytes}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let sum = caches.iter().map(|cache| cache.stats().admitted).sum::<u64>();
    assert!(sum > 3000, "{sum}");
}

#[test]
fn others_get_room_when_they_ask() {
    let directory = TempDir::new().unwrap();
    let cache = open(directory.path(), LIMIT);
    put(&cache, Class::Data, 0..1000, LENGTH);
    assert!(cache.make_room(LIMIT / 2));
    assert!(taken(directory.path()).0 <= LIMIT / 2);
    std::fs::write(directory.path().join("index"), vec![1; LIMIT as usize / 2]).unwrap();
    put(&cache, Class::Data, 2000..3000, LENGTH);
    assert!(hits(&cache, 2000..3000, LENGTH) > 100);
    assert!(taken(directory.path()).0 <= LIMIT);
    assert!(!cache.make_room(LIMIT));
    assert!(cache.problem().is_some());
}

#[test]
fn a_lower_limit_holds_from_the_next_segment_on() {
    let directory = TempDir::new().unwrap();
    put(&open(directory.path(), LIMIT), Class::Data, 0..900, LENGTH);
    let cache = open(directory.path(), LIMIT / 4);
    assert!(cache.make_room(0));
    assert!(taken(directory.path()).0 <= LIMIT / 4);
    put(&cache, Class::Data, 1000..1100, LENGTH);
    assert!(taken(directory.path()).0 <= LIMIT / 4);
    assert!(hits(&cache, 1000..1100, LENGTH) > 50);
}

#[test]
fn there_are_a_few_hundred_segments_at_most() {
    for bits in 20..46 {
        let limit = 1_u64 << bits;
        let capacity = u64::from(Room::new("".into(), Options { limit, free_floor: 0 }).capacity);
        let segments = limit / capacity;
        assert!((32..=256).contains(&segments) || bits > 40, "{segments} for a limit of 2^{bits}");
    }
}
