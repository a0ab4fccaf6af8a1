//! Gets and puts values of a cache for some time, checks every byte that comes back, and prints what happened.
//!
//!     hammer DIRECTORY SECONDS LIMIT SEED
//!
//! Any number of these may share a directory. Exits with 1 when a value was not the one that was put. A line is printed
//! every second, so that something is known of those that are killed.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use larder_cache::{Cache, Class, Key, Options};

/// Keys there are; their values take about five times what the tests give the cache.
const KEYS: u64 = 16_000;
const LONGEST: u64 = 40_000;
/// Between two pauses, so that several of these leave time to others.
const CALLS_AT_ONCE: u64 = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, numbers @ ..] = arguments.as_slice() else { return usage() };
    let numbers: Result<Vec<u64>, _> = numbers.iter().map(|number| number.parse()).collect();
    let Ok(Ok([seconds, limit, seed])) = numbers.map(<[u64; 3]>::try_from) else { return usage() };

    let cache = Cache::open(directory, Options { limit, free_floor: 0 });
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut told = Instant::now();
    let (mut random, mut gets, mut wrong) = (Random(seed), 0_u64, 0_u64);
    while Instant::now() < end {
        for _ in 0..CALLS_AT_ONCE {
            // Half of the calls go to a tenth of the keys.
            let number = if random.below(2) == 0 { random.below(KEYS / 10) } else { random.below(KEYS) };
            let Some(key) = Key::new(&number.to_le_bytes()) else { continue };
            gets += 1;
            match cache.get(&key) {
                Some(found) if found != value(number) => {
                    wrong += 1;
                    eprintln!("wrong bytes under {number}: {} of them", found.len());
                }
                Some(_) => {}
                None => {
                    let class = if number.is_multiple_of(8) { Class::Metadata } else { Class::Data };
                    cache.put(key, class, value(number).into());
                }
            }
        }
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            tell(&cache, gets, wrong);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    cache.flush();
    tell(&cache, gets, wrong);
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("usage: hammer DIRECTORY SECONDS LIMIT SEED");
    ExitCode::from(2)
}

fn tell(cache: &Cache, gets: u64, wrong: u64) {
    let stats = cache.stats();
    let problem = cache.problem().unwrap_or_default();
    let line = format!(
        "gets={gets} hits={} wrong={wrong} admitted={} dropped={} evicted={} rescued={} damaged={} problem={problem:?}\n",
        stats.hits, stats.admitted, stats.dropped, stats.evicted, stats.rescued, stats.damaged
    );
    // Whoever started this may not listen.
    let _ = io::stdout().write_all(line.as_bytes());
}

/// What stands under a key.
fn value(number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x1234_5678_9abc_def1));
    let length = random.below(LONGEST) as usize;
    let words = (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    words.take(length).collect()
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
