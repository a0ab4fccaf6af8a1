use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::super::testdata::{self, vectors};
use super::*;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    splitter: String,
    input: String,
    input_length: usize,
    max_segment_size: usize,
    cuts: Vec<usize>,
}

/// The cuts of `input` when it arrives in pieces of the given lengths, over and over.
fn cuts(splitter: SplitterAlgorithm, input: &[u8], pieces: &[usize]) -> Vec<usize> {
    let mut pieces = pieces.iter().cycle();
    let (mut start, mut end, mut scanned) = (0, 0, 0);
    let mut cuts = Vec::new();
    while end < input.len() {
        end = input.len().min(end + pieces.next().unwrap());
        while let Some(length) = splitter.find_cut(&input[start..end], scanned) {
            start += length;
            scanned = 0;
            cuts.push(start);
        }
        scanned = end - start;
    }
    cuts
}

/// The definition, byte by byte, with one hash for the whole object.
fn cuts_by_definition(splitter: SplitterAlgorithm, input: &[u8]) -> Vec<usize> {
    let (_, method, average) = splitter.parameters();
    let (mut buzhash, mut rabin_karp) = (Buzhash::ZEROS, RabinKarp::ZEROS);
    let mut count = 0;
    let mut cuts = Vec::new();
    for (i, &entering) in input.iter().enumerate() {
        let leaving = i.checked_sub(WINDOW).map_or(0, |j| input[j]);
        buzhash = buzhash.roll(leaving, entering);
        rabin_karp = rabin_karp.roll(leaving, entering);
        let hash = match method {
            Method::Fixed => 1,
            Method::Buzhash => u64::from(buzhash.0),
            Method::RabinKarp => rabin_karp.0,
        };
        count += 1;
        if count >= splitter.min() && (hash & (average as u64 - 1) == 0 || count >= splitter.max()) {
            cuts.push(i + 1);
            count = 0;
        }
    }
    cuts
}

fn check_vectors(method: Method) {
    let vectors: Vectors = vectors::load("splitters.json");
    let mut inputs = BTreeMap::new();
    let mut checked = 0;
    for v in vectors.vectors {
        let splitter: SplitterAlgorithm = v.splitter.parse().unwrap();
        if splitter.parameters().1 != method {
            continue;
        }
        let input = inputs.entry(v.input.clone()).or_insert_with(|| testdata::generate(&v.input).unwrap());
        assert_eq!(input.len(), v.input_length);
        assert_eq!(splitter.max(), v.max_segment_size);
        assert_eq!(cuts(splitter, input, &[input.len()]), v.cuts, "{splitter} {} whole", v.input);
        let pieces = [1, 100_003, 65_536, 4097, 1_000_000];
        assert_eq!(cuts(splitter, input, &pieces), v.cuts, "{splitter} {} in pieces", v.input);
        checked += 1;
    }
    assert_eq!(checked, if method == Method::RabinKarp { 21 } else { 24 });
}

#[test]
fn vectors_fixed() {
    check_vectors(Method::Fixed);
}

#[test]
fn vectors_buzhash() {
    check_vectors(Method::Buzhash);
}

#[test]
fn vectors_rabin_karp() {
    check_vectors(Method::RabinKarp);
}

#[derive(Deserialize)]
struct RollingVectors {
    states: Vec<RollingState>,
}

#[derive(Deserialize)]
struct RollingState {
    bytes_rolled: usize,
    buzhash32_hex: String,
    rabinkarp64_hex: String,
}

#[test]
fn rolling_hash_vectors() {
    let vectors: RollingVectors = vectors::load("rolling_hash.json");
    let stream = [testdata::zeros(WINDOW), testdata::splitmix(77, 300)].concat();
    assert_eq!(vectors.states.len(), 12);
    for state in vectors.states {
        let (mut buzhash, mut rabin_karp) = (Buzhash::ZEROS, RabinKarp::ZEROS);
        for i in 0..state.bytes_rolled {
            buzhash = buzhash.roll(stream[i], stream[i + WINDOW]);
            rabin_karp = rabin_karp.roll(stream[i], stream[i + WINDOW]);
        }
        assert_eq!(format!("{:08x}", buzhash.0), state.buzhash32_hex);
        assert_eq!(format!("{:016x}", rabin_karp.0), state.rabinkarp64_hex);
        let window = &stream[state.bytes_rolled..][..WINDOW];
        assert_eq!(Buzhash::of_window(window).0, buzhash.0);
        assert_eq!(RabinKarp::of_window(window).0, rabin_karp.0);
    }
}

#[test]
fn names_and_lengths() {
    for splitter in SplitterAlgorithm::ALL {
        assert_eq!(splitter.to_string().parse(), Ok(splitter));
        assert!(splitter.min() > WINDOW && splitter.min() <= splitter.max() && splitter.max() <= 16 << 20);
    }
    assert_eq!(SplitterAlgorithm::default().name(), "DYNAMIC-4M-BUZHASH");
    assert_eq!((SplitterAlgorithm::Dynamic.min(), SplitterAlgorithm::Dynamic.max()), (2 << 20, 8 << 20));
    assert_eq!((SplitterAlgorithm::Fixed.min(), SplitterAlgorithm::Fixed.max()), (4 << 20, 4 << 20));
    for name in ["", "FIXED-16M", "DYNAMIC-4M", "dynamic"] {
        assert_eq!(name.parse::<SplitterAlgorithm>(), Err(FormatError::unknown("splitter", name)));
    }
}

#[test]
fn a_chunk_at_its_longest_is_cut_whatever_was_scanned() {
    for splitter in [SplitterAlgorithm::Fixed128K, SplitterAlgorithm::Dynamic128KRabinKarp] {
        let chunk = vec![0; splitter.max() + 5];
        for scanned in [splitter.max() - 1, splitter.max(), chunk.len(), usize::MAX - 1] {
            assert_eq!(splitter.find_cut(&chunk, scanned), Some(splitter.max()), "{scanned}");
        }
        assert_eq!(splitter.find_cut(&[], 0), None);
    }
}

/// Many matches close together, in every lane and at the segments' edges: the first one must win.
#[test]
fn the_first_match_wins() {
    let long = LANES * LONG_SEGMENT;
    let short = LANES * SHORT_SEGMENT;
    let input = testdata::splitmix(3, long + 2 * short + 500);
    let ranges = [
        (65, 65),
        (65, 66),
        (100, 64 + short),
        (65, 64 + short),
        (65, 65 + short),
        (1000, 7000),
        (65, 64 + long),
        (65, input.len()),
    ];
    for (first, last) in ranges {
        for mask in (0..18).map(|bits| (1usize << bits) - 1) {
            let zero = |&length: &usize| Buzhash::of_window(&input[length - WINDOW..length]).is_zero_in(mask as u32);
            let expected = (first..=last).find(zero);
            assert_eq!(find_zero_bits::<Buzhash>(&input, first, last, mask), expected, "{first} {last} {mask}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testdata::cases(24)))]

    #[test]
    fn cuts_do_not_depend_on_feeding(
        splitter in prop::sample::select(&[
            SplitterAlgorithm::Fixed128K,
            SplitterAlgorithm::Dynamic128KBuzhash,
            SplitterAlgorithm::Dynamic128KRabinKarp,
            SplitterAlgorithm::Dynamic256KBuzhash,
        ][..]),
        seed: u64,
        length in 0usize..1_500_000,
        zeros in 0usize..400_000,
        pieces in prop::collection::vec(
            prop_oneof![3 => 1usize..200_000, 1 => 60_000usize..70_000, 1 => 1usize..1000], 1..20),
    ) {
        // A run of zeros brings cuts at the shortest length and matches at every place.
        let mut input = testdata::splitmix(seed, length);
        let middle = length / 2;
        input.splice(middle..middle, testdata::zeros(zeros));
        prop_assert_eq!(cuts(splitter, &input, &pieces), cuts_by_definition(splitter, &input));
    }
}
