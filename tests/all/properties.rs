//! Properties of what goes through a whole repository in memory: random contents, objects and manifests, compared with
//! what was put in.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use larder::blob::{BlobRange, list_all};
use larder::content::Scratch;
use larder::content::id::{ContentId, Prefix};
use larder::content::index::{Index, IndexData, IndexEntry};
use larder::content::pack::Postamble;
use larder::format::testdata::{lines, splitmix};
use larder::format::{CompressionAlgorithm, Crypto, FormatVersion, SplitterAlgorithm};
use larder::manifest::document::{self, Version};
use larder::manifest::{ManifestId, ManifestSet};
use larder::object::{ListEntry, Object, ObjectOptions, put_bytes, put_list, put_stream};
use larder::repo::{Repository, Writer};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;

use crate::support::TestRepository;

/// Runs a property with repositories of some versions, one of each for all cases.
fn with_repositories<S: Strategy>(cases: u32, strategy: &S, property: impl AsyncFn(&TestRepository, S::Value)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for version in [FormatVersion::V1, FormatVersion::V3] {
        let repository = runtime.block_on(TestRepository::with_version(version));
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(larder::format::testdata::cases(cases))
        };
        let run = |value| {
            runtime.block_on(property(&repository, value));
            Ok(())
        };
        TestRunner::new(config).run(strategy, run).unwrap();
    }
}

/// Runs what may block.
fn blocking<T>(run: impl FnOnce(&mut Scratch) -> T) -> T {
    tokio::task::block_in_place(|| run(&mut Scratch::default()))
}

async fn writer(repository: &TestRepository) -> (Repository, Writer) {
    let open = repository.open().await;
    let writer = open.writer().await.unwrap();
    (open, writer)
}

fn compressor() -> impl Strategy<Value = Option<CompressionAlgorithm>> {
    prop::option::of(prop::sample::select(&CompressionAlgorithm::ALL[..]))
}

/// Bytes that compress more or less well.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    match seed % 3 {
        0 => vec![seed as u8; length],
        1 => lines(length),
        _ => splitmix(seed, length),
    }
}

/// Everything that was put is read back, in any order; and the packs alone tell as much as the indexes.
#[test]
fn contents_come_back_from_their_packs() {
    let prefixes = prop::sample::select(vec![Prefix::NONE, Prefix::DIRECTORY, Prefix::MANIFEST, Prefix::LAST]);
    let content = (prefixes, compressor(), any::<u64>(), 0_usize..100_000, prop::bool::weighted(0.1));
    let contents = prop::collection::vec(content, 1..30);
    with_repositories(12, &(contents, any::<u64>()), async |repository, (contents, order)| {
        let (_open, writer) = writer(repository).await;
        let mut put: BTreeMap<ContentId, Vec<u8>> = BTreeMap::new();
        for (prefix, compression, seed, length, flush) in contents {
            let data = bytes(seed, length);
            let id = blocking(|scratch| writer.contents().put(prefix, &data, compression, scratch)).unwrap();
            put.insert(id, data);
            if flush {
                writer.flush().await.unwrap();
            }
        }
        writer.commit().await.unwrap();

        let fresh = repository.open().await;
        let mut entries: Vec<IndexEntry> = put.keys().map(|id| fresh.contents().entry(id).unwrap()).collect();
        entries.sort_by_key(|entry| splitmix(order ^ u64::from(entry.pack_offset), 8));
        for (entry, stored) in entries.iter().zip(fresh.contents().fetch(&entries).await) {
            let plain = fresh.contents().decode(entry, &stored.unwrap()).unwrap();
            assert_eq!(plain, put[&entry.id]);
            assert_eq!(entry.original_length as usize, plain.len());
        }
        let recovered = local_indexes(repository, &fresh).await;
        for entry in entries {
            assert!(recovered.contains(&entry), "{entry:?}");
        }
    });
}

/// All entries of the local indexes at the ends of packs.
async fn local_indexes(repository: &TestRepository, open: &Repository) -> Vec<IndexEntry> {
    let crypto = Crypto::new(open.parameters()).unwrap();
    let mut entries = Vec::new();
    for prefix in ["p", "q"] {
        for pack in list_all(&*repository.storage, prefix).await.unwrap() {
            let bytes = repository.storage.get(&pack.id, BlobRange::All).await.unwrap();
            let place = Postamble::decode(&bytes[bytes.len().saturating_sub(256)..]).unwrap();
            let stored = &bytes[place.offset as usize..][..place.length as usize];
            let local = crypto.cipher.open(&place.iv, stored).unwrap();
            let index = Index::open(IndexData::Memory(local.into())).unwrap();
            index.check().unwrap();
            entries.extend((0..index.len()).map(|position| index.entry(position).unwrap()));
        }
    }
    entries
}

/// An object is its bytes however they are put in, and each piece is the slice that it says it is.
#[test]
fn objects_are_their_bytes() {
    let splitters = prop::sample::select(vec![
        SplitterAlgorithm::Fixed128K,
        SplitterAlgorithm::Dynamic128KBuzhash,
        SplitterAlgorithm::Dynamic128KRabinKarp,
    ]);
    let kind = prop::sample::select(vec![Prefix::NONE, Prefix::DIRECTORY]);
    let strategy = (splitters, kind, compressor(), compressor(), any::<u64>(), 0_usize..1_500_000, 0_usize..1_500_000);
    with_repositories(12, &strategy, async |repository, (splitter, prefix, compression, lists, seed, length, cut)| {
        let (_open, writer) = writer(repository).await;
        let options = ObjectOptions { prefix, compression, metadata_compression: lists, splitter };
        let data = bytes(seed, length);
        let contents = writer.contents();
        let (id, joined) = blocking(|scratch| {
            let id = put_bytes(contents, &options, &data, scratch).unwrap();
            let (again, put) = put_stream(contents, &options, &mut data.as_slice(), scratch).unwrap();
            assert_eq!((again, put), (id, data.len() as u64));
            // Two halves, each stored by itself, as parts of a large file are.
            let halves = data.split_at(cut.min(length));
            let halves = [halves.0, halves.1].map(|half| ListEntry {
                length: half.len() as u64,
                object: put_bytes(contents, &options, half, scratch).unwrap(),
            });
            (id, put_list(contents, &options, &halves, scratch).unwrap())
        });
        writer.commit().await.unwrap();
        let fresh = repository.open().await;
        for id in [id, joined] {
            let object = Object::open(fresh.contents(), id).await.unwrap();
            assert_eq!(object.len(), data.len() as u64);
            assert_eq!(object.read(fresh.contents()).await.unwrap(), data);
            let mut end = 0;
            for piece in object.pieces() {
                assert_eq!(piece.start, end);
                end += piece.length;
                let slice = &data[piece.start as usize..end as usize];
                assert_eq!(piece.read(fresh.contents()).await.unwrap(), slice);
            }
            assert_eq!(end, data.len() as u64);
        }
    });
}

/// Of all versions of a manifest, wherever they were written, the newest counts; a tombstone that is the newest hides it.
#[test]
fn the_newest_version_of_a_manifest_counts() {
    let version = (0_u8..4, 0_i64..5, prop::bool::weighted(0.3), any::<u32>());
    let documents = prop::collection::vec(prop::collection::vec(version, 1..5), 1..8);
    with_repositories(12, &(any::<u64>(), documents), async |repository, (case, documents)| {
        // Ids of this case only: one repository serves all.
        let id_of = |number: u8| -> ManifestId { format!("{case:016x}{number:016x}").parse().unwrap() };
        let (_open, writer) = writer(repository).await;
        let mut written: BTreeMap<ContentId, Vec<Version>> = BTreeMap::new();
        for versions in documents {
            let versions: Vec<Version> = versions
                .into_iter()
                .map(|(number, second, deleted, value)| Version {
                    id: id_of(number),
                    labels: (!deleted).then(|| [("type".to_owned(), "test".to_owned())].into()),
                    modified: Timestamp::from_second(second).unwrap(),
                    deleted,
                    data: (!deleted).then(|| RawValue::from_string(value.to_string()).unwrap()),
                })
                .collect();
            let content = document::encode(&versions).unwrap();
            let put = |scratch: &mut Scratch| writer.contents().put(Prefix::MANIFEST, &content, None, scratch);
            written.insert(blocking(put).unwrap(), versions);
        }
        writer.commit().await.unwrap();

        // Contents are read in the order of their ids, and of equally new versions the first stays.
        let mut newest: BTreeMap<ManifestId, &Version> = BTreeMap::new();
        for version in written.values().flatten() {
            if newest.get(&version.id).is_none_or(|known| version.modified > known.modified) {
                newest.insert(version.id, version);
            }
        }
        let fresh = repository.open().await;
        let set = ManifestSet::load(fresh.contents()).await.unwrap();
        let seen: BTreeSet<ManifestId> = set.iter().map(|manifest| manifest.id).collect();
        for number in 0..4 {
            let id = id_of(number);
            let expected = newest.get(&id).filter(|version| !version.deleted);
            let found = set.get(id);
            assert_eq!(found.map(|m| m.data.get()), expected.and_then(|v| v.data.as_ref()).map(|data| data.get()));
            assert_eq!(found.map(|m| m.modified), expected.map(|v| v.modified));
            assert_eq!(seen.contains(&id), expected.is_some());
        }
    });
}
