//! Damage: every class of blob, damaged in every way. The repository opens wherever that is possible, what is damaged
//! is named, and all else reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::sync::Arc;

use larder::blob::faulty::{Action, Faulty, Operation};
use larder::blob::{BlobId, BlobRange, PutOptions, Storage, list_all};
use larder::content::Scratch;
use larder::content::id::{ContentId, Prefix};
use larder::format::testdata::splitmix;
use larder::object::Object;
use larder::policy::{Policy, SourceInfo, store};
use larder::repo::Repository;
use larder::snapshot::directory::Directory;
use larder::snapshot::entry::Entry;
use larder::snapshot::verify::{Progress, Root, VerifyOptions, verify};
use larder::snapshot::{SnapshotError, Stop};
use tempfile::TempDir;

use crate::support::{TestRepository, make_snapshot, root, write_files};

/// What happens to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Missing,
    Empty,
    Half,
    /// A bit in the middle.
    Flipped,
    /// The medium gives an error.
    Unreadable,
}

const EVERY: [Damage; 5] = [Damage::Missing, Damage::Empty, Damage::Half, Damage::Flipped, Damage::Unreadable];

impl Damage {
    /// What is left of the bytes; None where nothing can be read at all.
    fn apply(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        match self {
            Self::Missing | Self::Unreadable => return None,
            Self::Empty => bytes.clear(),
            Self::Half => bytes.truncate(middle),
            Self::Flipped => bytes[middle] ^= 0x10,
        }
        Some(bytes)
    }
}

/// A repository with two snapshots of several sessions, and what its files depend on.
struct Stage {
    repository: TestRepository,
    source: TempDir,
    roots: Vec<Entry>,
    /// Of every file, by snapshot and path: its bytes and all contents it takes to read it, directories included.
    files: BTreeMap<(usize, String), (Vec<u8>, BTreeSet<ContentId>)>,
    /// Where every content is.
    places: BTreeMap<ContentId, (BlobId, Range<usize>)>,
    /// The contents of each index blob.
    indexes: BTreeMap<BlobId, BTreeSet<ContentId>>,
}

impl Stage {
    async fn new() -> Self {
        let repository = TestRepository::new().await;
        let source = TempDir::new().unwrap();
        let open = repository.open().await;
        let writer = open.writer().await.unwrap();
        store::set(&writer, &SourceInfo::global(), &Policy::default_global()).unwrap();
        writer.commit().await.unwrap();
        let mut roots = Vec::new();
        for round in 0..2_u64 {
            for file in 0..6 {
                let seed = if file < 3 { file } else { round * 10 + file };
                let name = format!("d{}/{file}", file % 2);
                write_files(source.path(), &[(&name, &splitmix(seed, 20_000 * (file as usize + 1)))]);
            }
            // In several pieces, with a list of them.
            write_files(source.path(), &[("d0/large", &splitmix(99, 700_000))]);
            roots.push(root(&make_snapshot(&open, source.path(), &[]).await.unwrap()).clone());
        }
        let mut stage = Self {
            repository,
            source,
            roots,
            files: BTreeMap::new(),
            places: BTreeMap::new(),
            indexes: BTreeMap::new(),
        };
        stage.take_note(&open).await;
        stage
    }

    async fn take_note(&mut self, open: &Repository) {
        let indexes = open.contents().indexes();
        for layer in &indexes.layers {
            let [blob] = &*layer.covers else { panic!("a layer for each index blob") };
            let ids = (0..layer.index.len()).map(|i| layer.index.id(i).unwrap()).collect();
            self.indexes.insert(blob.clone(), ids);
        }
        for entry in indexes.entries(Prefix::NONE..=Prefix::LAST) {
            let entry = entry.unwrap();
            let start = entry.pack_offset as usize;
            self.places.insert(entry.id, (entry.pack, start..start + entry.packed_length as usize));
        }
        for (number, root) in self.roots.iter().enumerate() {
            let mut todo = vec![(String::new(), root.clone(), BTreeSet::new())];
            while let Some((path, entry, mut needed)) = todo.pop() {
                let object = Object::open(open.contents(), entry.object).await.unwrap();
                // An indirect object has a list, too.
                needed.insert(entry.object.content);
                needed.extend(object.pieces().iter().map(|piece| piece.content));
                if entry.kind.is_directory() {
                    for child in Directory::read(open.contents(), entry.object).await.unwrap().entries {
                        todo.push((format!("{path}/{}", child.name), child, needed.clone()));
                    }
                } else {
                    let bytes = object.read(open.contents()).await.unwrap().to_vec();
                    self.files.insert((number, path), (bytes, needed));
                }
            }
        }
        assert_eq!(self.files.len(), 14);
    }

    async fn bytes(&self, blob: &BlobId) -> Vec<u8> {
        self.repository.storage.get(blob, BlobRange::All).await.unwrap().to_vec()
    }

    /// The same blobs, but for the damaged one.
    async fn damage(&self, blob: &BlobId, damage: Damage) -> Arc<dyn Storage> {
        let copy = Arc::new(self.repository.memory.duplicate());
        match damage.apply(&self.bytes(blob).await) {
            Some(bytes) => copy.replace(blob, bytes),
            None if damage == Damage::Missing => copy.delete(blob).await.unwrap(),
            None => {
                let name = blob.to_string();
                return Arc::new(Faulty::new(copy, move |call| {
                    if call.operation == Operation::Get && call.name == name { Action::Rot } else { Action::Pass }
                }));
            }
        }
        copy
    }

    /// Contents that the damage takes away: for a pack those whose bytes are not as they were, for an index all that
    /// no other one has.
    async fn lost(&self, blob: &BlobId, damage: Damage) -> BTreeSet<ContentId> {
        if let Some(of_index) = self.indexes.get(blob) {
            let others = || self.indexes.iter().filter(|(other, _)| *other != blob).map(|(_, ids)| ids);
            return of_index.iter().filter(|id| !others().any(|ids| ids.contains(id))).copied().collect();
        }
        let before = self.bytes(blob).await;
        let after = damage.apply(&before);
        let in_pack = self.places.iter().filter(|(_, (pack, _))| pack == blob);
        let is_lost = |range: &Range<usize>| {
            after.as_ref().and_then(|after| after.get(range.clone())) != before.get(range.clone())
        };
        in_pack.filter(|(_, (_, range))| is_lost(range)).map(|(id, _)| *id).collect()
    }

    /// Every file whose contents are all there reads as it was, and every other one fails with the name of the blob.
    async fn check_files(&self, open: &Repository, blob: &BlobId, damage: Damage) {
        let lost = self.lost(blob, damage).await;
        for ((snapshot, path), (bytes, needed)) in &self.files {
            let found = read(open, &self.roots[*snapshot], path).await;
            match found {
                Ok(found) => {
                    assert!(needed.is_disjoint(&lost), "{path} can be read, though {blob} is {damage:?}");
                    assert!(found == *bytes, "{path} is not as it was");
                }
                Err(e) => {
                    let text = larder::error::chain(&e);
                    assert!(!needed.is_disjoint(&lost), "{path} is lost, though it does not need {blob}: {text}");
                    // An index that is not there any more has no name.
                    let named = text.contains(blob.as_str());
                    let unknown = damage == Damage::Missing && self.indexes.contains_key(blob);
                    assert!(named != unknown, "{path}, {blob} {damage:?}: {text}");
                }
            }
        }
        self.check_verify(open, &lost).await;
    }

    /// Verification finds the same.
    async fn check_verify(&self, open: &Repository, lost: &BTreeSet<ContentId>) {
        let root = |entry: &Entry| Root { name: "root".into(), entry: entry.clone() };
        let roots: Vec<Root> = self.roots.iter().map(root).collect();
        let options =
            VerifyOptions { parallel: 2, file_parallel: 2, file_queue: 10, files_percent: 100.0, max_errors: None };
        let progress = Arc::new(Progress::default());
        verify(Arc::clone(open.contents()), roots, options, Arc::clone(&progress), Stop::default()).await.unwrap();
        let is_lost = self.files.values().any(|(_, needed)| !needed.is_disjoint(lost));
        assert_eq!(!progress.errors().is_empty(), is_lost, "{:?}", progress.errors());
    }

    async fn blobs(&self, prefix: &str) -> Vec<BlobId> {
        list_all(&*self.repository.storage, prefix).await.unwrap().into_iter().map(|blob| blob.id).collect()
    }
}

async fn read(open: &Repository, root: &Entry, path: &str) -> Result<Vec<u8>, SnapshotError> {
    let path: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let entry = larder::snapshot::resolve::descend(open.contents(), root.clone(), &path).await?;
    let object = Object::open(open.contents(), entry.object).await?;
    Ok(object.read(open.contents()).await?.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_spoils_only_what_lies_in_its_damaged_part() {
    let stage = Stage::new().await;
    let packs = [stage.blobs("p").await, stage.blobs("q").await].concat();
    assert!(packs.len() >= 5, "{packs:?}");
    for blob in packs {
        for damage in EVERY {
            let open = stage.repository.open_through(stage.damage(&blob, damage).await).await;
            assert!(open.contents().indexes().damaged.is_empty());
            stage.check_files(&open, &blob, damage).await;
            let lost = stage.lost(&blob, damage).await;
            let manifests = open.manifests().await.unwrap();
            let unreadable: BTreeSet<ContentId> = manifests.unreadable.iter().filter_map(|u| u.content).collect();
            let of_manifests: BTreeSet<ContentId> =
                lost.iter().filter(|id| id.to_string().starts_with('m')).copied().collect();
            assert_eq!(unreadable, of_manifests, "{blob} {damage:?}");
            assert!(manifests.unreadable.iter().all(|u| u.why.contains(blob.as_str())), "{:?}", manifests.unreadable);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_keeps_nobody_out() {
    let stage = Stage::new().await;
    for blob in stage.blobs("xn").await {
        for damage in EVERY {
            let open = stage.repository.open_through(stage.damage(&blob, damage).await).await;
            let damaged: Vec<BlobId> = open.contents().indexes().damaged.iter().map(|d| d.blob.clone()).collect();
            if damage == Damage::Missing {
                assert_eq!(damaged, []);
            } else {
                assert_eq!(damaged, std::slice::from_ref(&blob), "{damage:?}");
            }
            stage.check_files(&open, &blob, damage).await;
            assert!(open.manifests().await.unwrap().unreadable.is_empty());
            // One can go on, too: what cannot be found is stored again.
            let made = make_snapshot(&open, stage.source.path(), &[]).await.unwrap();
            let fresh = stage.repository.open_through(Arc::clone(open.storage())).await;
            for ((snapshot, path), (bytes, _)) in stage.files.iter().filter(|((snapshot, _), _)| *snapshot == 1) {
                assert!(read(&fresh, root(&made), path).await.unwrap() == *bytes, "{snapshot} {path}");
            }
        }
    }
}

/// A tombstone must stay as long as what it deletes may come back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_stays_so_when_an_index_comes_back() {
    for is_missing in [false, true] {
        let repository = TestRepository::new().await;
        let set = async |days: i64| {
            let writer = repository.open().await.writer().await.unwrap();
            let mut policy = Policy::default();
            policy.retention.keep_daily = Some(days);
            store::set(&writer, &SourceInfo::global(), &policy).unwrap();
            writer.commit().await.unwrap();
        };
        set(0).await;
        let first = list_all(&*repository.storage, "xn").await.unwrap().remove(0).id;
        for days in 1..15 {
            set(days).await;
        }
        // The index with the first policy cannot be read for a while, in which others write, and would compact.
        let whole = repository.storage.get(&first, BlobRange::All).await.unwrap();
        if is_missing {
            repository.storage.delete(&first).await.unwrap();
        } else {
            repository.memory.replace(&first, "damaged");
        }
        for days in 15..18 {
            set(days).await;
        }
        let contents = repository.open().await.manifests().await.unwrap().contents().len();
        assert_eq!(contents > 3, !is_missing, "{contents} contents: what is missing cannot be known of");
        repository.memory.replace(&first, whole);
        let (policies, errors) = store::load(&repository.open().await.manifests().await.unwrap());
        assert!(errors.is_empty());
        let days: Vec<_> = policies.iter().map(|p| p.policy.retention.keep_daily).collect();
        assert_eq!(days, [Some(17)]);
    }
}

/// Damage of the copies that a client keeps for itself never matters.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_local_copies_of_indexes_are_made_anew() {
    let repository = TestRepository::new().await;
    let writing = repository.open().await;
    let writer = writing.writer().await.unwrap();
    let ids: Vec<ContentId> = tokio::task::block_in_place(|| {
        let mut scratch = Scratch::default();
        let mut put = |i: u64| writer.contents().put(Prefix::NONE, &splitmix(i, 20), None, &mut scratch).unwrap();
        (0..8000).map(&mut put).collect()
    });
    store::set(&writer, &SourceInfo::global(), &Policy::default_global()).unwrap();
    writer.commit().await.unwrap();
    let cache = TempDir::new().unwrap();
    repository.open_with_cache(cache.path()).await;
    let run = fs::read_dir(cache.path().join("index")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&run).unwrap();
    assert!(whole.len() > 4 << 16, "{} bytes: several blocks", whole.len());
    for position in 0..8 {
        for damage in [Damage::Flipped, Damage::Half, Damage::Empty, Damage::Missing] {
            let at = position * whole.len() / 8;
            let mut damaged = whole.clone();
            match damage {
                Damage::Flipped => damaged[at] ^= 1,
                // Blocks that the file system never wrote.
                Damage::Half => damaged[at..][..4096].fill(0),
                Damage::Empty => damaged.truncate(at),
                _ => damaged.extend_from_slice(b"more"),
            }
            fs::write(&run, damaged).unwrap();
            let open = repository.open_with_cache(cache.path()).await;
            assert_eq!(open.manifests().await.unwrap().iter().count(), 1);
            for id in ids.iter().step_by(7) {
                assert!(open.contents().entry(id).is_ok(), "{damage:?} at {at}");
            }
            assert!(ids.iter().all(|id| open.contents().has(id)));
        }
    }
}

/// Nothing that is read depends on these.
#[tokio::test(flavor = "multi_thread")]
async fn damage_of_what_is_not_data_harms_nobody() {
    let stage = Stage::new().await;
    let put = async |name: &str, bytes: &'static [u8]| {
        let id = BlobId::new(name).unwrap();
        stage.repository.storage.put(&id, bytes.into(), PutOptions::default()).await.unwrap();
        id
    };
    let blobs = [
        put("s00112233445566778899aabbccddeeff-s0123456789abcdef147", b"an encrypted marker").await,
        put("kopia.maintenance", b"an encrypted schedule").await,
        put("xe1", b"epoch-marker").await,
        put("xw1700000000", b"deletion-watermark").await,
        put("_log_20261121013649_abcd_1_2_1_00112233445566778899aabbccddeeff", b"an encrypted log").await,
    ];
    for blob in blobs {
        for damage in EVERY {
            let open = stage.repository.open_through(stage.damage(&blob, damage).await).await;
            assert!(open.contents().indexes().damaged.is_empty());
            assert!(open.manifests().await.unwrap().unreadable.is_empty());
            stage.check_files(&open, &blob, damage).await;
            make_snapshot(&open, stage.source.path(), &[]).await.unwrap();
        }
    }
}

/// How new blobs are to be locked is not needed to read; without knowing it, nothing must be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_configuration_keeps_nobody_from_reading() {
    let stage = Stage::new().await;
    let blob = BlobId::new("kopia.blobcfg").unwrap();
    for damage in EVERY {
        let open = stage.repository.open_through(stage.damage(&blob, damage).await).await;
        stage.check_files(&open, &blob, damage).await;
        let written = make_snapshot(&open, stage.source.path(), &[]).await;
        if damage == Damage::Missing {
            // It means the same as an empty one.
            written.unwrap();
            continue;
        }
        let why = larder::error::chain(&written.unwrap_err());
        assert!(why.contains("kopia.blobcfg"), "{damage:?}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_format_block_is_told_from_a_missing_repository() {
    let stage = Stage::new().await;
    let blob = BlobId::new("kopia.repository").unwrap();
    for damage in EVERY {
        let storage = stage.damage(&blob, damage).await;
        let why = larder::error::chain(&stage.repository.try_open_through(storage).await.unwrap_err());
        // A password cannot be told from the bytes it should fit to.
        let expected = match damage {
            Damage::Missing => "kopia.repository is missing",
            Damage::Flipped if why == "invalid repository password" => continue,
            Damage::Empty | Damage::Half | Damage::Flipped => "corrupt kopia.repository",
            Damage::Unreadable => "blob kopia.repository is damaged",
        };
        assert!(why.contains(expected), "{damage:?}: {why}");
    }
}
