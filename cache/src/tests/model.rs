//! Any calls by up to three users of one directory, compared with what was put.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{key, open, taken, value};
use crate::{Cache, Class};

/// With it segments have 16 KiB.
const LIMIT: u64 = 512 << 10;
const KEYS: u64 = 120;
const USERS: usize = 3;

#[derive(Clone, Debug)]
enum Call {
    Put(u64),
    PutMany(u64),
    Get(u64),
    GetMany(u64),
    Remove(u64),
    Flush,
    Idle,
    Reopen,
    Clear,
    Verify,
    Foreign(u64),
}

fn call() -> impl Strategy<Value = (usize, Call)> {
    let call = prop_oneof![
        8 => (0..KEYS).prop_map(Call::Put),
        8 => (0..KEYS).prop_map(Call::PutMany),
        8 => (0..KEYS).prop_map(Call::Get),
        8 => (0..KEYS).prop_map(Call::GetMany),
        2 => (0..KEYS).prop_map(Call::Remove),
        4 => Just(Call::Flush),
        1 => Just(Call::Idle),
        3 => Just(Call::Reopen),
        1 => Just(Call::Clear),
        1 => Just(Call::Verify),
        1 => (0..100_000_u64).prop_map(Call::Foreign),
    ];
    (0..USERS, call)
}

/// Of values some of which are too long.
fn length(number: u64) -> usize {
    (number * number * 7 % 17_000) as usize
}

fn class(number: u64) -> Class {
    if number.is_multiple_of(5) { Class::Metadata } else { Class::Data }
}

fn put(cache: &Cache, number: u64) {
    cache.put(key(number), class(number), value(number, length(number)).into());
}

fn check(cache: &Cache, number: u64, was_put: &BTreeSet<u64>) -> Result<(), TestCaseError> {
    if let Some(found) = cache.get(&key(number)) {
        prop_assert!(found == value(number, length(number)), "wrong bytes under {}", number);
        prop_assert!(was_put.contains(&number), "{} was never put", number);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn what_is_got_was_put(calls in prop::collection::vec(call(), 1..80)) {
        let directory = TempDir::new().unwrap();
        let root = directory.path();
        let mut caches: Vec<Cache> = (0..USERS).map(|_| open(root, LIMIT)).collect();
        let mut was_put = BTreeSet::new();
        for (user, call) in calls {
            let cache = &caches[user];
            match call {
                Call::Put(number) => {
                    was_put.insert(number);
                    put(cache, number);
                }
                Call::PutMany(first) => {
                    for number in (first..KEYS).take(40) {
                        was_put.insert(number);
                        put(cache, number);
                    }
                }
                Call::Get(number) => check(cache, number, &was_put)?,
                Call::GetMany(first) => {
                    for number in (first..KEYS).take(40) {
                        check(cache, number, &was_put)?;
                    }
                }
                Call::Remove(number) => cache.remove(&key(number)),
                Call::Flush => cache.flush(),
                Call::Idle => std::thread::sleep(std::time::Duration::from_millis(60)),
                Call::Reopen => caches[user] = open(root, LIMIT),
                Call::Clear => {
                    caches.iter().for_each(Cache::flush);
                    prop_assert!(caches[user].clear());
                    was_put.clear();
                }
                Call::Verify => {
                    let verified = cache.verify();
                    prop_assert_eq!(verified.damaged, 0);
                }
                Call::Foreign(bytes) => {
                    // Nobody else must take the room meanwhile; and a file takes whole blocks.
                    caches.iter().for_each(Cache::flush);
                    if caches[user].make_room(bytes + 4096) {
                        fs::write(root.join("foreign"), vec![1; bytes as usize]).unwrap();
                    }
                }
            }
            let (bytes, _) = taken(root);
            prop_assert!(bytes <= LIMIT, "{} bytes", bytes);
        }
        for cache in &caches {
            for number in 0..KEYS {
                check(cache, number, &was_put)?;
            }
            prop_assert_eq!(cache.stats().damaged, 0);
        }
    }
}

/// Fewer than usual, as each of them opens files and starts threads.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(32)
}
