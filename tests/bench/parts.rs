//! How fast one core does each part of the work: what the sum of them allows is what whole commands can reach.
//!
//!     cargo bench                       all of it
//!     cargo bench -- hash               one part

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use larder::blob::BlobId;
use larder::content::id::{ContentId, Prefix};
use larder::content::index::{self, Index, IndexData, IndexEntry};
use larder::format::testdata::{lines, splitmix};
use larder::format::{
    Cipher, CompressionAlgorithm, Compressor, EncryptionAlgorithm, HashAlgorithm, Hasher, Length, NONCE_LEN, OVERHEAD,
    SplitterAlgorithm, decompress,
};
use larder::snapshot::directory::{Directory, encode};

const MIB: usize = 1 << 20;

fn main() {
    divan::main();
}

/// One content after the other.
#[divan::bench(args = HashAlgorithm::ALL)]
fn hash(bencher: Bencher, algorithm: HashAlgorithm) {
    let hasher = Hasher::new(algorithm, b"secret").unwrap();
    let data = splitmix(1, 4 * MIB);
    bencher.counter(BytesCount::new(data.len())).bench(|| hasher.hash(black_box(&data)));
}

/// Four contents at once.
#[divan::bench(args = [HashAlgorithm::Blake2b256_128, HashAlgorithm::Blake2s128])]
fn hash_four(bencher: Bencher, algorithm: HashAlgorithm) {
    let hasher = Hasher::new(algorithm, b"secret").unwrap();
    let data = splitmix(1, 4 * MIB);
    let contents: Vec<&[u8]> = data.chunks(MIB).collect();
    bencher.counter(BytesCount::new(data.len())).bench(|| hasher.hash_many(black_box(&contents)));
}

#[divan::bench(args = EncryptionAlgorithm::ALL)]
fn encrypt(bencher: Bencher, algorithm: EncryptionAlgorithm) {
    let cipher = Cipher::new(algorithm, &[7; 32]);
    let data = splitmix(1, 4 * MIB);
    let mut stored = Vec::with_capacity(data.len() + OVERHEAD);
    bencher.counter(BytesCount::new(data.len())).bench_local(|| {
        stored.clear();
        stored.resize(NONCE_LEN, 0);
        stored.extend_from_slice(black_box(&data));
        cipher.seal_in_place(&[1; 16], &mut stored);
    });
}

#[divan::bench(args = EncryptionAlgorithm::ALL)]
fn decrypt(bencher: Bencher, algorithm: EncryptionAlgorithm) {
    let cipher = Cipher::new(algorithm, &[7; 32]);
    let stored = cipher.seal(&[1; 16], &splitmix(1, 4 * MIB));
    bencher
        .counter(BytesCount::new(stored.len()))
        .with_inputs(|| stored.clone())
        .bench_local_refs(|stored| cipher.open_in_place(&[1; 16], stored).unwrap());
}

#[divan::bench(args = CompressionAlgorithm::ALL)]
fn compress(bencher: Bencher, algorithm: CompressionAlgorithm) {
    let data = lines(4 * MIB);
    let (mut compressor, mut compressed) = (Compressor::new(), Vec::new());
    bencher.counter(BytesCount::new(data.len())).bench_local(|| {
        compressed.clear();
        compressor.compress(algorithm, black_box(&data), &mut compressed).unwrap()
    });
}

#[divan::bench(args = CompressionAlgorithm::ALL)]
fn decompress_to(bencher: Bencher, algorithm: CompressionAlgorithm) {
    let data = lines(4 * MIB);
    let mut compressed = Vec::new();
    assert!(Compressor::new().compress(algorithm, &data, &mut compressed).unwrap());
    bencher
        .counter(BytesCount::new(data.len()))
        .bench(|| decompress(black_box(&compressed), Some(algorithm), Length::Exact(data.len())).unwrap());
}

#[divan::bench(args = ["FIXED-4M", "DYNAMIC-4M-BUZHASH", "DYNAMIC-4M-RABINKARP"])]
fn split(bencher: Bencher, name: &str) {
    let splitter: SplitterAlgorithm = name.parse().unwrap();
    let data = splitmix(1, 32 * MIB);
    bencher.counter(BytesCount::new(data.len())).bench(|| {
        let (mut rest, mut cuts) = (black_box(data.as_slice()), 0);
        while let Some(cut) = splitter.find_cut(rest, 0) {
            rest = &rest[cut..];
            cuts += 1;
        }
        cuts
    });
}

fn directory(entries: usize) -> Vec<u8> {
    let entry = |number: usize| {
        format!(
            r#"{{"name":"file-{number:06}","type":"f","mode":"0644","size":{number},"mtime":"2026-01-02T03:04:05.678901234Z","uid":1000,"gid":1000,"obj":"{number:032x}"}}"#
        )
    };
    let entries: Vec<String> = (0..entries).map(entry).collect();
    let summary = r#"{"size":0,"files":1000,"symlinks":0,"dirs":1,"maxTime":"2026-01-02T03:04:05Z","numFailed":0}"#;
    format!(r#"{{"stream":"kopia:directory","entries":[{}],"summary":{summary}}}"#, entries.join(",")).into_bytes()
}

#[divan::bench]
fn directory_parse(bencher: Bencher) {
    let stored = directory(1000);
    bencher.counter(ItemsCount::new(1000_usize)).bench(|| Directory::parse(black_box(&stored)).unwrap());
}

#[divan::bench]
fn directory_encode(bencher: Bencher) {
    let Directory { mut entries, summary } = Directory::parse(&directory(1000)).unwrap();
    let summary = summary.unwrap();
    bencher.counter(ItemsCount::new(1000_usize)).bench_local(|| encode(black_box(&mut entries), &summary));
}

/// In an index of a million contents.
#[divan::bench]
fn index_lookup(bencher: Bencher) {
    const CONTENTS: usize = 1_000_000;
    const LOOKUPS: usize = 1000;
    let hasher = Hasher::new(HashAlgorithm::Blake3_256_128, b"secret").unwrap();
    let id = |number: usize| ContentId::new(Prefix::NONE, &hasher.hash(&number.to_le_bytes()));
    let ids: Vec<ContentId> = (0..CONTENTS).map(id).collect();
    let pack = BlobId::new("p0123456789abcdef0123456789abcdef-s0123456789abcdef001").unwrap();
    let entry = |id: &ContentId| IndexEntry {
        id: *id,
        timestamp: 1_700_000_000,
        deleted: false,
        pack: pack.clone(),
        pack_offset: 0,
        packed_length: 1000,
        original_length: 2000,
        compression: 0,
        format_version: 3,
        encryption_key: 0,
    };
    let encoded = index::encode(&index::merge(ids.iter().map(entry).collect()), 2).unwrap();
    let index = Index::open(IndexData::Memory(encoded.into())).unwrap();
    bencher.counter(ItemsCount::new(LOOKUPS)).bench(|| {
        let found = ids.iter().step_by(CONTENTS / LOOKUPS).filter(|id| index.find(id).unwrap().is_some());
        assert_eq!(found.count(), LOOKUPS);
    });
}
