use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::format::testdata;

/// An entry as the vectors and `content list --json` show it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    pack_file: String,
    time: u64,
    original_length: u32,
    length: u32,
    #[serde(default)]
    pack_offset: u32,
    #[serde(default)]
    compression: u32,
    #[serde(rename = "contentID")]
    content_id: String,
    deleted: bool,
    #[serde(default)]
    format_version: u8,
}

impl From<Info> for IndexEntry {
    fn from(info: Info) -> Self {
        Self {
            id: info.content_id.parse().unwrap(),
            timestamp: info.time,
            deleted: info.deleted,
            pack: BlobId::new(&info.pack_file).unwrap(),
            pack_offset: info.pack_offset,
            packed_length: info.length,
            original_length: info.original_length,
            compression: info.compression,
            format_version: info.format_version,
            encryption_key: 0,
        }
    }
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    decoded: Vec<Info>,
    #[serde(default)]
    input_entries_in_insertion_order: Vec<Info>,
    stable_hex: Option<String>,
    stable_length: usize,
    stable_sha256: String,
}

fn read(bytes: Vec<u8>) -> Vec<IndexEntry> {
    let index = Index::open(IndexData::Memory(bytes.into())).unwrap();
    index.check().unwrap();
    (0..index.len()).map(|i| index.entry(i).unwrap()).collect()
}

/// Entries of the two vectors that are too long to be written down.
fn generated(name: &str, version: u8) -> Vec<IndexEntry> {
    let count: u64 = name.split(' ').next().unwrap().parse().unwrap();
    let entry = |i: u64| IndexEntry {
        id: ContentId::from_hash(super::super::id::Prefix::NONE, &testdata::splitmix(1_000_000 + i, 16)).unwrap(),
        timestamp: 1_700_000_000 + i,
        deleted: false,
        pack: BlobId::new(&format!("p{i:032x}")).unwrap(),
        pack_offset: i as u32,
        packed_length: 28 + (i % 1000) as u32,
        original_length: (i % 1000) as u32,
        compression: 0,
        format_version: if version == 1 { 1 } else { 3 },
        encryption_key: 0,
    };
    (0..count).map(entry).collect()
}

fn check_vectors(json: &str, version: u8) {
    let cases: Cases = serde_json::from_str(json).unwrap();
    assert!(cases.cases.len() >= 6);
    for case in cases.cases {
        let input: Vec<IndexEntry> = if case.input_entries_in_insertion_order.is_empty() {
            generated(&case.name, version)
        } else {
            case.input_entries_in_insertion_order.into_iter().map(Into::into).collect()
        };
        let merged = merge(input);
        let encoded = encode(&merged, version).unwrap();
        assert_eq!(encoded.len(), case.stable_length, "{}", case.name);
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &encoded);
        assert_eq!(hex::encode(sum), case.stable_sha256, "{}", case.name);
        if let Some(expected) = case.stable_hex {
            assert_eq!(hex::encode(&encoded), expected, "{}", case.name);
            let decoded: Vec<IndexEntry> = case.decoded.into_iter().map(Into::into).collect();
            let decoded = merge(decoded);
            assert_eq!(read(encoded.clone()), decoded, "{}", case.name);
        } else {
            assert_eq!(read(encoded.clone()), merged, "{}", case.name);
        }
        // Random bytes may follow.
        assert_eq!(read([encoded.clone(), vec![7; 32]].concat()), read(encoded));
    }
}

#[test]
fn version_1_vectors() {
    check_vectors(include_str!("../../../tests/data/vectors/index_v1.json"), 1);
}

#[test]
fn version_2_vectors() {
    check_vectors(include_str!("../../../tests/data/vectors/index_v2.json"), 2);
}

#[test]
fn merge_vectors() {
    #[derive(Deserialize)]
    struct Case {
        a: Info,
        b: Info,
        winner: String,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/data/vectors/index_merge.json")).unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let (a, b): (IndexEntry, IndexEntry) = (case.a.clone().into(), case.b.clone().into());
        let winner = if case.winner == "a" { &a } else { &b };
        assert_eq!(&merge(vec![a.clone(), b.clone()]), std::slice::from_ref(winner), "{:?} {:?}", case.a, case.b);
        assert_eq!(&merge(vec![b.clone(), a.clone()]), std::slice::from_ref(winner), "{:?} {:?}", case.a, case.b);
    }
}

pub(in crate::content) fn some_entries(count: u64) -> Vec<IndexEntry> {
    merge(generated(&format!("{count} "), 2))
}

#[test]
fn lookups() {
    let entries = some_entries(1000);
    for version in [1, 2] {
        let written: Vec<IndexEntry> = read(encode(&entries, version).unwrap());
        let index = Index::open(IndexData::Memory(encode(&entries, version).unwrap().into())).unwrap();
        for (position, entry) in written.iter().enumerate() {
            assert_eq!(index.find(&entry.id).unwrap().as_ref(), Some(entry));
            assert_eq!(index.id(position).unwrap(), entry.id);
        }
        for missing in ["00000000000000000000000000000000", "k0123456789abcdef0123456789abcdef", "zff", "0123"] {
            assert_eq!(index.find(&missing.parse().unwrap()).unwrap(), None);
        }
        assert_eq!(index.first_at_or_after(0, &[]).unwrap(), 0);
        assert_eq!(index.first_at_or_after(b'g', &[]).unwrap(), 1000);
    }
}

#[test]
fn empty_indexes() {
    let empty = encode(&[], 1).unwrap();
    assert_eq!(empty, [1, 255, 0, 20, 0, 0, 0, 0]);
    assert!(read(empty).is_empty());
    assert!(encode(&[], 2).is_err());
}

#[test]
fn what_does_not_fit_is_not_written() {
    let entry = some_entries(1).remove(0);
    for (version, wrong) in [
        (1, IndexEntry { compression: 0x1100, ..entry.clone() }),
        (1, IndexEntry { pack_offset: 1 << 31, ..entry.clone() }),
        (1, IndexEntry { timestamp: 1 << 48, ..entry.clone() }),
        (2, IndexEntry { pack_offset: 1 << 30, ..entry.clone() }),
        (2, IndexEntry { packed_length: 1 << 28, ..entry.clone() }),
        (2, IndexEntry { original_length: 1 << 28, ..entry.clone() }),
        (2, IndexEntry { timestamp: 1 << 32, ..entry.clone() }),
    ] {
        assert!(encode(&[wrong], version).is_err());
    }
    let shorter = IndexEntry { id: "00ff".parse().unwrap(), ..entry.clone() };
    for version in [1, 2] {
        assert!(encode(&[shorter.clone(), entry.clone()], version).is_err(), "keys of two lengths");
    }
}

#[test]
fn shards() {
    let entries = some_entries(1000);
    assert_eq!(shard(Vec::new(), 10), Vec::<Vec<IndexEntry>>::new());
    assert_eq!(shard(entries.clone(), 1000), [entries.as_slice()]);
    let three = shard(entries.clone(), 400);
    assert_eq!(three.len(), 3);
    assert!(three.iter().all(|shard| shard.is_sorted_by_key(|e| e.id)));
    assert_eq!(merge(three.concat()), entries);
    assert_eq!(fnv1a32(b"foobar"), 0xbf9c_f968);
}

#[test]
fn a_bad_entry_spoils_only_itself() {
    let entries = some_entries(10);
    let mut bytes = encode(&entries, 2).unwrap();
    // The pack number of the third entry: 2 × (17 + 16) for the entries before, 17 of its key, 14 into its value.
    let at = v2::HEADER + 2 * 33 + 17 + 14;
    bytes[at] = 0xff;
    let index = Index::open(IndexData::Memory(bytes.into())).unwrap();
    index.check().unwrap();
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(index.find(&entry.id).is_err(), i == 2);
    }
}

proptest! {
    /// Whatever the bytes: an error or entries, never a panic.
    #[test]
    fn damaged_bytes_never_panic(
        version in 1..=2_u8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        header: bool,
    ) {
        let mut bytes = encode(&some_entries(20), version).unwrap();
        let reach = if header { 20 } else { bytes.len() };
        for (at, value) in changes {
            bytes[at.index(reach)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(index) = Index::open(IndexData::Memory(bytes.into())) {
            let _ = index.check();
            for i in 0..index.len().min(100) {
                let _ = index.entry(i);
                let _ = index.id(i).map(|id| index.find(&id));
            }
        }
    }

    #[test]
    fn merging_in_any_order_is_the_same(
        picks in prop::collection::vec((0..5_u8, 0..3_u64, any::<bool>(), 0..3_u8), 0..30),
        seed in any::<u64>(),
    ) {
        let entry = |(id, time, deleted, pack): &(u8, u64, bool, u8)| IndexEntry {
            id: ContentId::from_hash(super::super::id::Prefix::NONE, &[*id]).unwrap(),
            timestamp: *time,
            deleted: *deleted,
            pack: BlobId::new(&format!("p{pack}")).unwrap(),
            ..some_entries(1).remove(0)
        };
        let entries: Vec<_> = picks.iter().map(entry).collect();
        let mut shuffled = entries.clone();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, (seed.rotate_left(i as u32) % (i as u64 + 1)) as usize);
        }
        let whole = merge(entries.clone());
        prop_assert_eq!(&merge(shuffled), &whole);
        // In pieces, merged piece by piece.
        let (a, b) = entries.split_at(entries.len() / 2);
        prop_assert_eq!(merge([merge(a.to_vec()), merge(b.to_vec())].concat()), whole);
    }
}
