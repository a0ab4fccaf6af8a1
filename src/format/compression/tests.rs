use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine};
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
    name: String,
    header_id: u32,
    deprecated: bool,
    supported: bool,
    #[serde(default)]
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    input: String,
    input_length: usize,
    input_sha256: String,
    kept: bool,
    stored_base64: String,
    stored_length: usize,
}

/// Every sample that kopia wrote: algorithm, stored bytes, original.
fn samples() -> Vec<(CompressionAlgorithm, Vec<u8>, Vec<u8>)> {
    let vectors: Vectors = vectors::load("compression.json");
    let mut samples = Vec::new();
    for v in vectors.vectors.into_iter().filter(|v| v.supported) {
        let algorithm: CompressionAlgorithm = v.name.parse().unwrap();
        for sample in v.samples {
            let stored = BASE64_STANDARD.decode(sample.stored_base64).unwrap();
            let input = testdata::generate(&sample.input).unwrap();
            assert_eq!((stored.len(), input.len()), (sample.stored_length, sample.input_length));
            assert_eq!(hex::encode(digest(&SHA256, &input)), sample.input_sha256);
            assert_eq!(sample.kept, stored.len() < input.len());
            samples.push((algorithm, stored, input));
        }
    }
    assert_eq!(samples.len(), 17 * 4);
    samples
}

fn compress(algorithm: CompressionAlgorithm, input: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Compressor::new().compress(algorithm, input, &mut out).unwrap().then_some(out)
}

#[test]
fn names_and_header_ids() {
    let vectors: Vectors = vectors::load("compression.json");
    assert_eq!(vectors.vectors.len(), 18);
    for v in vectors.vectors {
        let (by_name, by_id) = (v.name.parse(), CompressionAlgorithm::from_header_id(v.header_id));
        assert_eq!(by_name, by_id);
        if v.supported {
            let algorithm: CompressionAlgorithm = by_name.unwrap();
            assert_eq!((algorithm.to_string(), algorithm.header_id()), (v.name, v.header_id));
            assert_eq!(algorithm.is_deprecated(), v.deprecated);
        } else {
            let error = by_name.unwrap_err();
            assert!(matches!(error, FormatError::Removed { .. }));
            assert!(error.to_string().contains("lz4") && error.to_string().contains("0.22.3"), "{error}");
        }
    }
    assert_eq!(CompressionAlgorithm::from_header_id(0x1203).unwrap(), CompressionAlgorithm::S2Parallel8);
    for id in [0, 0x1003, 0x1104, 0x1600, u32::MAX] {
        let error = CompressionAlgorithm::from_header_id(id).unwrap_err();
        assert!(error.to_string().contains(&format!("{id:x}")), "{error}");
    }
    for name in ["", "none", "ZSTD", "s2-best"] {
        assert_eq!(name.parse::<CompressionAlgorithm>(), Err(FormatError::unknown(WHAT, name)));
    }
}

#[test]
fn samples_written_by_kopia() {
    for (algorithm, stored, input) in samples() {
        for expected in [Some(algorithm), None] {
            for length in [Length::Exact(input.len()), Length::AtMost(input.len()), Length::AtMost(100 << 20)] {
                let decoded = decompress(&stored, expected, length);
                assert_eq!(decoded.as_deref(), Ok(&input[..]), "{algorithm} {length:?}");
            }
        }
    }
}

#[test]
fn other_lengths_than_the_exact_one_are_errors() {
    for (algorithm, stored, input) in samples() {
        let mut wrong = vec![Length::Exact(input.len() + 1), Length::Exact(input.len() + 100_000)];
        if let Some(less) = input.len().checked_sub(1) {
            wrong.extend([Length::Exact(less), Length::AtMost(less), Length::Exact(0), Length::AtMost(0)]);
        }
        for length in wrong {
            let error = decompress(&stored, Some(algorithm), length).unwrap_err();
            assert!(matches!(error, FormatError::Corrupt { .. }), "{algorithm} {length:?}");
        }
    }
}

#[test]
fn cut_streams_and_trailing_bytes_are_errors() {
    for (algorithm, stored, input) in samples().into_iter().filter(|(_, _, input)| input.len() < 1000) {
        let length = Length::Exact(input.len());
        for cut in 0..stored.len() {
            let error = decompress(&stored[..cut], Some(algorithm), length).unwrap_err();
            assert!(matches!(error, FormatError::Corrupt { .. }), "{algorithm} cut at {cut}");
        }
        for trailing in [&[0][..], &[0xff], &[0; 20], b"trailing"] {
            let longer = [&stored, trailing].concat();
            let error = decompress(&longer, Some(algorithm), length).unwrap_err();
            assert!(matches!(error, FormatError::Corrupt { .. }), "{algorithm} {trailing:?}");
        }
        assert_eq!(decompress(&stored, Some(algorithm), length), Ok(input), "{algorithm} after errors");
    }
}

/// Cuts at the ends of parts of a stream, for which the part itself is complete.
#[test]
fn streams_cut_between_their_parts_are_errors_without_a_length_too() {
    let input = testdata::lines(20_000);
    for algorithm in CompressionAlgorithm::ALL {
        let stored = compress(algorithm, &input).unwrap();
        // S2 has no mark at the end of a stream; there only the length tells.
        if matches!(algorithm.parameters().2, Codec::S2(_)) {
            continue;
        }
        for cut in [0, 4, 5, stored.len() - 9, stored.len() - 8, stored.len() - 4, stored.len() - 1] {
            assert!(decompress(&stored[..cut], None, Length::AtMost(1 << 20)).is_err(), "{algorithm} cut at {cut}");
        }
    }
}

#[test]
fn flipped_bits_do_not_panic() {
    for (algorithm, stored, input) in samples().into_iter().filter(|(_, _, input)| input.len() < 1000) {
        for i in 4..stored.len() {
            for bit in [0, 3, 7] {
                let mut damaged = stored.clone();
                damaged[i] ^= 1 << bit;
                if let Ok(decoded) = decompress(&damaged, Some(algorithm), Length::AtMost(1 << 16)) {
                    assert!(decoded.len() <= 1 << 16);
                }
                if let Ok(decoded) = decompress(&damaged, Some(algorithm), Length::Exact(input.len())) {
                    assert_eq!(decoded.len(), input.len());
                }
            }
        }
    }
}

#[test]
fn the_header_must_be_the_expected_one() {
    let stored = compress(CompressionAlgorithm::Zstd, &testdata::lines(1000)).unwrap();
    let error = decompress(&stored, Some(CompressionAlgorithm::ZstdFastest), Length::Exact(1000)).unwrap_err();
    assert!(error.to_string().contains("0x1100") && error.to_string().contains("0x1101"), "{error}");
    assert!(matches!(decompress(&[0, 0, 0x14, 0, 1], None, Length::AtMost(9)), Err(FormatError::Removed { .. })));
    assert!(matches!(decompress(&[0, 0, 0x16, 0, 1], None, Length::AtMost(9)), Err(FormatError::Unknown { .. })));
    assert!(matches!(decompress(&[0, 0, 0x10], None, Length::AtMost(9)), Err(FormatError::Corrupt { .. })));
}

#[test]
fn only_strictly_shorter_results_are_kept() {
    let mut compressor = Compressor::new();
    for algorithm in CompressionAlgorithm::ALL {
        for input in [vec![], vec![7], vec![7; 4], testdata::splitmix(1, 100), testdata::splitmix(1, 300_000)] {
            let mut out = b"before".to_vec();
            assert_eq!(compressor.compress(algorithm, &input, &mut out), Ok(false), "{algorithm} {}", input.len());
            assert_eq!(out, b"before");
        }
        // Some length in between is the first that gets shorter: by how much must not matter.
        let mut kept = false;
        for length in 0..200 {
            let input = vec![b'x'; length];
            let mut out = b"before".to_vec();
            if compressor.compress(algorithm, &input, &mut out).unwrap() {
                kept = true;
                let stored = out.strip_prefix(b"before").unwrap();
                assert!(stored.len() < length);
                assert_eq!(decompress(stored, Some(algorithm), Length::Exact(length)), Ok(input));
            } else {
                assert_eq!(out, b"before");
            }
        }
        assert!(kept, "{algorithm}");
    }
}

/// zstd and deflate can claim or hold far more than is wanted; memory for it must never be taken.
#[test]
fn bombs_stop_at_the_limit() {
    let input = vec![0; 6 << 20];
    for algorithm in CompressionAlgorithm::ALL {
        let stored = compress(algorithm, &input).unwrap();
        for length in [Length::AtMost(1 << 20), Length::Exact(1 << 20), Length::AtMost((6 << 20) - 1)] {
            let error = decompress(&stored, None, length).unwrap_err();
            assert!(error.to_string().contains("decompresses to more than"), "{algorithm} {error}");
        }
        let decoded = decompress(&stored, None, Length::AtMost(6 << 20)).unwrap();
        assert!(decoded == input, "{algorithm}");
        assert!(decoded.capacity() <= (6 << 20) + 1, "{algorithm} {}", decoded.capacity());
        let decoded = decompress(&stored, None, Length::Exact(6 << 20)).unwrap();
        assert!(decoded.capacity() <= (6 << 20) + 1, "{algorithm} {}", decoded.capacity());
    }
}

#[test]
fn gzip_members_are_joined() {
    let (first, second) = (testdata::lines(5000), testdata::lines(300));
    let mut stored = compress(CompressionAlgorithm::Gzip, &first).unwrap();
    stored.extend_from_slice(&compress(CompressionAlgorithm::GzipBestSpeed, &second).unwrap()[4..]);
    let joined = [first, second].concat();
    assert_eq!(decompress(&stored, None, Length::Exact(5300)), Ok(joined.clone()));
    assert_eq!(decompress(&stored, None, Length::AtMost(6000)), Ok(joined));
    assert!(decompress(&stored, None, Length::Exact(5000)).is_err());
    assert!(decompress(&stored, None, Length::AtMost(5299)).is_err());
}

/// A frame header that asks for a window of 2^29 bytes, as kopia's reader would accept: one raw block, no content size.
#[test]
fn zstd_windows_are_not_allocated() {
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (29 - 10) << 3, 0x19, 0x00, 0x00, b'a', b'b', b'c'];
    let stored = [&0x1100u32.to_be_bytes()[..], &frame].concat();
    assert_eq!(decompress(&stored, None, Length::Exact(3)), Ok(b"abc".to_vec()));
    assert_eq!(decompress(&stored, None, Length::AtMost(100)), Ok(b"abc".to_vec()));
}

/// An index entry may be wrong about a length, and what it says is not to be taken out of a small machine at once.
#[test]
fn memory_is_asked_for_as_the_data_comes() {
    assert_eq!(Length::Exact(1000).capacity_for(b"any"), 1000);
    assert!(Length::Exact(usize::MAX).capacity_for(&[0; 100]) <= 16 << 20);
    assert_eq!(Length::Exact(1 << 30).capacity_for(&vec![0; 8 << 20]), 32 << 20);
    for algorithm in CompressionAlgorithm::ALL {
        let mut stored = Vec::new();
        assert!(Compressor::new().compress(algorithm, &testdata::lines(5000), &mut stored).unwrap());
        assert!(decompress(&stored, Some(algorithm), Length::Exact(usize::MAX)).is_err(), "{algorithm}");
        assert_eq!(
            decompress(&stored, Some(algorithm), Length::AtMost(usize::MAX)),
            Ok(testdata::lines(5000)),
            "{algorithm}"
        );
    }
    // Longer than what is asked for at first.
    let long = testdata::zeros(20 << 20);
    for algorithm in [CompressionAlgorithm::Zstd, CompressionAlgorithm::Gzip, CompressionAlgorithm::S2Default] {
        let mut stored = Vec::new();
        assert!(Compressor::new().compress(algorithm, &long, &mut stored).unwrap());
        assert!(decompress(&stored, Some(algorithm), Length::Exact(long.len())).as_ref() == Ok(&long), "{algorithm}");
    }
}

/// Readers of kopia take windows of at most 8 MiB from a stream of known size without question.
#[test]
fn zstd_frames_ask_for_modest_windows() {
    let input = testdata::lines(20 << 20);
    for algorithm in CompressionAlgorithm::ALL {
        if !matches!(algorithm.parameters().2, Codec::Zstd(_)) {
            continue;
        }
        let stored = compress(algorithm, &input).unwrap();
        let (descriptor, window) = (stored[8], stored[9]);
        assert_eq!(descriptor & 0x20, 0, "{algorithm}: has a window descriptor");
        let base = 1u64 << (10 + (window >> 3));
        let window = base + base / 8 * u64::from(window & 7);
        assert!(window <= 8 << 20, "{algorithm}: {window}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testdata::cases(64)))]

    /// One compressor, many algorithms and inputs after each other.
    #[test]
    fn compressed_bytes_decompress_to_the_input(
        jobs in prop::collection::vec((prop::sample::select(&CompressionAlgorithm::ALL[..]), any::<u64>(), 0usize..40_000), 1..6),
        alphabet in 1u8..=255,
        run in 1usize..40,
    ) {
        let mut compressor = Compressor::new();
        let mut out = Vec::new();
        for (algorithm, seed, length) in jobs {
            // Runs of a small alphabet: something that compresses more or less well.
            let random = testdata::splitmix(seed, length);
            let input: Vec<u8> = random.chunks(run).flat_map(|c| vec![c[0] % alphabet; c.len()]).collect();
            let start = out.len();
            if compressor.compress(algorithm, &input, &mut out).unwrap() {
                prop_assert!(out.len() - start < input.len());
                let decoded = decompress(&out[start..], Some(algorithm), Length::Exact(input.len()));
                prop_assert_eq!(decoded, Ok(input));
            } else {
                prop_assert_eq!(out.len(), start);
            }
        }
    }
}
