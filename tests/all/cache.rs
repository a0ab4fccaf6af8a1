//! What was read is kept: through whole repositories, with the requests to their storage counted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::blob::Storage;
use larder::blob::faulty::{Action, Faulty, Operation};
use larder::content::cache::{CacheOptions, DiskCache, DiskCacheOptions};
use larder::content::id::{ContentId, Prefix};
use larder::format::testdata::splitmix;
use larder::repo::Repository;
use larder::snapshot::Stop;
use larder::snapshot::contents::contents_below;
use larder::snapshot::entry::Entry;
use larder::snapshot::restore::{self, RestoreOptions};
use larder::snapshot::verify::{self, Root, VerifyOptions};
use tempfile::TempDir;

use crate::support::{TestRepository, make_snapshot, root, write_files};

const LIMIT: u64 = 1 << 30;

/// A repository with a snapshot, and a storage in front of it that counts reads of packs.
struct Stage {
    repository: TestRepository,
    files: BTreeMap<PathBuf, Vec<u8>>,
    root: Entry,
    storage: Arc<dyn Storage>,
    requests: Arc<AtomicU64>,
    directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let repository = TestRepository::new().await;
        let source = TempDir::new().unwrap();
        let contents: Vec<(String, Vec<u8>)> =
            (0..12).map(|i| (format!("d{}/{i}", i % 3), splitmix(i, 10_000 * (i as usize + 1)))).collect();
        let files: Vec<(&str, &[u8])> = contents.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
        write_files(source.path(), &files);
        write_files(source.path(), &[("large", &splitmix(99, 900_000))]);
        let root = root(&make_snapshot(&repository.open().await, source.path(), &[]).await.unwrap()).clone();
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        let storage = Faulty::new(Arc::clone(&repository.storage), move |call| {
            if call.operation == Operation::Get && call.name.starts_with(['p', 'q']) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            Action::Pass
        });
        let files = read_files(source.path());
        Self { repository, files, root, storage: Arc::new(storage), requests, directory: TempDir::new().unwrap() }
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache/larder")
    }

    async fn open(&self, disk: Option<DiskCacheOptions>) -> Repository {
        self.repository.open_caching(Arc::clone(&self.storage), CacheOptions { disk, memory: 1 << 20 }).await
    }

    async fn open_cached(&self) -> Repository {
        self.open(Some(DiskCacheOptions::new(self.cache(), LIMIT))).await
    }

    /// Restores everything, compares it, and says how many requests that took.
    async fn restore(&self, repository: &Repository) -> u64 {
        let before = self.requests.load(Ordering::SeqCst);
        let target = TempDir::new().unwrap();
        let contents = Arc::clone(repository.contents());
        let (progress, stop) = (Arc::default(), Stop::default());
        let options = RestoreOptions::default();
        restore::restore(contents, self.root.clone(), target.path(), options, progress, stop).await.unwrap();
        assert!(read_files(target.path()) == self.files);
        // Which also waits until everything is written.
        repository.contents().cache_stats().await;
        self.requests.load(Ordering::SeqCst) - before
    }

    /// What a restore takes that finds nothing but what it has read itself.
    async fn restore_anew(&self) -> u64 {
        self.restore(&self.open(None).await).await
    }
}

fn read_files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    found
}

fn segments(cache: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(cache.join("chunks")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.to_str().unwrap().contains("segment-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_has_read_all_others_find() {
    let stage = Stage::new().await;
    let (first, second) = (stage.open_cached().await, stage.open_cached().await);
    assert!(stage.restore(&first).await > 0);
    assert_eq!(stage.restore(&second).await, 0);
    let stats = second.contents().cache_stats().await.disk.unwrap();
    assert_eq!((stats.misses, stats.admitted, stats.damaged), (0, 0, 0));
    assert!(stats.hits > 12 && stats.hit_bytes > 900_000, "{stats:?}");
    drop((first, second));
    assert_eq!(stage.restore(&stage.open_cached().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_cache_is_only_fetched_again() {
    let stage = Stage::new().await;
    let cold = stage.restore(&stage.open_cached().await).await;
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.iter_mut().skip(5000).step_by(9000).for_each(|byte| *byte ^= 1),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| bytes.fill(0),
    ];
    for damage in damages {
        for path in segments(&stage.cache()) {
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        let requests = stage.restore(&stage.open_cached().await).await;
        assert!(requests > 0 && requests <= 2 * cold + 20, "{requests}");
        // Damage that is found while somebody takes its file over is noted at the next time only.
        stage.restore(&stage.open_cached().await).await;
        assert_eq!(stage.restore(&stage.open_cached().await).await, 0);
    }
}

/// A cache that holds under every key what belongs under another, as if storage had given wrong bytes once.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_open_is_dropped_and_fetched_again() {
    let stage = Stage::new().await;
    let repository = stage.open_cached().await;
    stage.restore(&repository).await;
    let found = contents_of(&repository).await;
    let entries: Vec<_> = found.iter().map(|id| repository.contents().entry(id).unwrap()).collect();
    for entry in &entries {
        let wrong = vec![7_u8; entry.packed_length as usize].into();
        assert!(repository.contents().decode(entry, &wrong).is_err());
    }
    let stats = repository.contents().cache_stats().await;
    assert_eq!(stats.rejected, entries.len() as u64);
    assert!(stage.restore(&repository).await > 0);
    assert_eq!(stage.restore(&repository).await, 0);
}

async fn contents_of(repository: &Repository) -> Vec<ContentId> {
    let mut all = repository.contents().metadata_ids().await.unwrap();
    all.retain(|id| id.prefix() != Prefix::MANIFEST);
    all.extend(repository.contents().ids_of(Prefix::NONE).await.unwrap().0);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_only_costs_time() {
    let stage = Stage::new().await;
    let anew = stage.restore_anew().await;
    // A file where the directory should be: nobody can write there, not even root.
    fs::write(stage.directory.path().join("cache"), "").unwrap();
    let repository = stage.open_cached().await;
    assert_eq!(stage.restore(&repository).await, anew);
    assert_eq!(stage.restore(&repository).await, anew);
    assert!(repository.contents().cache_stats().await.problem.is_some());
    drop(repository);

    // One that goes while it is in use, and comes again.
    fs::remove_file(stage.directory.path().join("cache")).unwrap();
    let repository = stage.open_cached().await;
    assert_eq!(stage.restore(&repository).await, anew);
    fs::remove_dir_all(stage.cache()).unwrap();
    stage.restore(&repository).await;
    drop(repository);
    let repository = stage.open_cached().await;
    stage.restore(&repository).await;
    assert_eq!(stage.restore(&repository).await, 0);
    drop(repository);

    let set_mode = |mode| {
        for path in [stage.cache(), stage.cache().join("chunks"), stage.cache().join("index")] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set_mode(0o500);
    stage.restore(&stage.open_cached().await).await;
    set_mode(0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_that_was_not_asked_for() {
    let stage = Stage::new().await;
    let anew = stage.restore_anew().await;
    assert_eq!(stage.restore(&stage.open(None).await).await, anew);
    assert!(!stage.cache().exists());
    // Metadata only: the files are read again, their directories are not.
    let metadata = DiskCacheOptions { data: false, ..DiskCacheOptions::new(stage.cache(), LIMIT) };
    stage.restore(&stage.open(Some(metadata.clone())).await).await;
    let again = stage.restore(&stage.open(Some(metadata.clone())).await).await;
    assert!(0 < again && again < anew, "{again} of {anew}");
    let usage = DiskCache::open(&metadata).usage();
    assert!(usage.data.records == 0 && usage.metadata.records > 0, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_for_contents_and_indexes_together() {
    let stage = Stage::new().await;
    for limit in [0, 10_000, 200_000, 1 << 20] {
        let small = DiskCacheOptions::new(stage.cache(), limit);
        stage.restore(&stage.open(Some(small.clone())).await).await;
        let usage = DiskCache::open(&small).usage();
        // Its empty directories and its lock take some blocks whatever the limit.
        assert!(usage.committed <= limit.max(5 * 4096), "{usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_want_the_same_share_a_request() {
    let stage = Stage::new().await;
    let slow = Faulty::new(Arc::clone(&stage.storage), |_| Action::Delay(Duration::from_millis(20)));
    let repository = stage.repository.open_caching(Arc::new(slow), CacheOptions::default()).await;
    let id = *repository.contents().ids_of(Prefix::NONE).await.unwrap().0.first().unwrap();
    let before = stage.requests.load(Ordering::SeqCst);
    let requests = |before| stage.requests.load(Ordering::SeqCst) - before;
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let contents = Arc::clone(repository.contents());
            tokio::spawn(async move { contents.get(&id).await.unwrap() })
        })
        .collect();
    let mut got = Vec::new();
    for one in asked {
        got.push(one.await.unwrap());
    }
    assert!(got.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(requests(before), 1);
    // And is kept in memory, but not by those who read everything once.
    repository.contents().get(&id).await.unwrap();
    assert_eq!(requests(before), 1);
    let scan = repository.contents().for_scan();
    let other = *scan.ids_of(Prefix::NONE).await.unwrap().0.last().unwrap();
    scan.get(&other).await.unwrap();
    scan.get(&other).await.unwrap();
    assert_eq!(requests(before), 3);
    let stats = repository.contents().cache_stats().await;
    assert!(stats.memory_hits > 0 && stats.memory_misses > 0 && stats.disk.is_none(), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_is_tried_again_by_the_next() {
    let stage = Stage::new().await;
    let fails = Arc::new(Mutex::new(true));
    let for_script = Arc::clone(&fails);
    let flaky = Faulty::new(Arc::clone(&stage.storage), move |call| {
        let is_pack = call.operation == Operation::Get && call.name.starts_with('p');
        if is_pack && *for_script.lock().unwrap() { Action::Fail } else { Action::Pass }
    });
    let repository = stage.repository.open_caching(Arc::new(flaky), CacheOptions::default()).await;
    let id = *repository.contents().ids_of(Prefix::NONE).await.unwrap().0.first().unwrap();
    let (one, other) = tokio::join!(repository.contents().get(&id), repository.contents().get(&id));
    assert!(one.is_err() && other.is_err());
    *fails.lock().unwrap() = false;
    repository.contents().get(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_verifies_the_storage_neither_uses_the_cache_nor_fills_it() {
    let stage = Stage::new().await;
    let verify = async |repository: &Repository, files_percent| {
        let before = stage.requests.load(Ordering::SeqCst);
        let options = VerifyOptions { parallel: 2, file_parallel: 2, file_queue: 10, files_percent, max_errors: None };
        let progress = Arc::new(verify::Progress::default());
        let roots = vec![Root { name: "root".into(), entry: stage.root.clone() }];
        let contents = Arc::clone(repository.contents());
        verify::verify(contents, roots, options, Arc::clone(&progress), Stop::default()).await.unwrap();
        (stage.requests.load(Ordering::SeqCst) - before, progress.errors())
    };
    let repository = stage.open_cached().await;
    let (cold, errors) = verify(&repository, 100.0).await;
    assert!(cold > 0 && errors.is_empty());
    assert_eq!(repository.contents().cache_stats().await.disk.unwrap().admitted, 0);
    stage.restore(&repository).await;
    assert_eq!(verify(&repository, 100.0).await.0, cold);
    // What is damaged there is found, though the cache has it.
    for blob in larder::blob::list_all(&*stage.repository.storage, "p").await.unwrap() {
        let bytes = stage.repository.storage.get(&blob.id, larder::blob::BlobRange::All).await.unwrap();
        let mut bytes = bytes.to_vec();
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        stage.repository.memory.replace(&blob.id, bytes);
    }
    assert!(!verify(&repository, 100.0).await.1.is_empty());
    assert_eq!(stage.restore(&repository).await, 0);
    // Without reading files only directories are read, and those may come from the cache.
    assert_eq!(verify(&repository, 0.0).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_ahead_is_there() {
    let stage = Stage::new().await;
    let repository = stage.open_cached().await;
    let contents = repository.contents();
    let metadata = contents.metadata_ids().await.unwrap();
    let done = contents.prefetch(&metadata, 4).await;
    assert_eq!((done.fetched, done.skipped, done.dropped), (metadata.len() as u64, 0, 0));
    assert!(done.errors.is_empty() && done.bytes > 0);
    let again = contents.prefetch(&metadata, 4).await;
    assert_eq!((again.fetched, again.skipped), (0, metadata.len() as u64));

    let root = (stage.root.object, true);
    let before = stage.requests.load(Ordering::SeqCst);
    let all = contents_below(contents, vec![root], &Stop::default()).await.unwrap();
    assert_eq!(stage.requests.load(Ordering::SeqCst), before, "its directories are there");
    let done = contents.prefetch(&all, 4).await;
    assert!(done.fetched > 12 && done.errors.is_empty() && done.dropped == 0, "{done:?}");
    assert_eq!(stage.restore(&repository).await, 0);

    let nowhere = stage.open(None).await;
    assert!(!nowhere.contents().keeps_contents());
    assert_eq!(nowhere.contents().prefetch(&all, 4).await.skipped, all.len() as u64);
    let missing: ContentId = "00112233445566778899aabbccddeeff".parse().unwrap();
    assert_eq!(contents.prefetch(&[missing], 4).await.errors.len(), 1);
    let stop = Stop::default();
    stop.set();
    assert!(contents_below(contents, vec![root], &stop).await.is_err());
}
