//! Operations that may end early, and what must hold afterwards, however they ended: shared by all tests that stop
//! them, here and in `integration/`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use larder::blob::Storage;
use larder::blob::faulty::Operation::Put;
use larder::blob::faulty::{Action, Faulty};
use larder::clock::Clock;
use larder::format::testdata::splitmix;
use larder::format::{FormatKey, FormatVersion, KeyDerivation, Parameters, SecretBytes};
use larder::manifest::ManifestId;
use larder::object::Object;
use larder::policy::{Policy, SourceInfo, store};
use larder::repo::{CreateOptions, Credential, Identity, OpenOptions, Repository, Writer, create};
use larder::snapshot::create::{CreateOptions as SnapshotOptions, create as snapshot};
use larder::snapshot::directory::Directory;
use larder::snapshot::entry::Entry;
use larder::snapshot::manifest::{Snapshot, find};
use larder::snapshot::upload::Source;
use larder::snapshot::verify::{Progress, Root, VerifyOptions, verify};
use larder::snapshot::{Stop, labels_of_all};
use tempfile::TempDir;

/// Contents with manifests from which on a session begins with compacting them.
const COMPACT_FROM: usize = 16;
const STREAM: &str = "/streams/dump";
pub(crate) const PASSWORD: &str = "interrupted";

/// What is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Of a directory, with several packs, and several indexes as time passes quickly.
    Snapshot,
    /// Of a stream that takes its time, with a checkpoint on the way.
    Stream,
    Delete,
    /// With so many manifests before it that they are compacted first.
    SetPolicy,
}

impl Operation {
    pub(crate) const ALL: [Self; 4] = [Self::Snapshot, Self::Stream, Self::Delete, Self::SetPolicy];
}

/// Names and bytes of all files.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// A repository with two acknowledged snapshots and a policy, and a source that has changed since.
pub(crate) struct Stage {
    key: FormatKey,
    sources: TempDir,
    started: Timestamp,
    kept: (ManifestId, Tree),
    doomed: (ManifestId, Tree),
}

/// A minute passes whenever somebody looks at it, so that what is due after some minutes happens in a test.
#[derive(Debug)]
struct Hurried {
    start: Timestamp,
    minutes: AtomicI64,
}

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        self.start + SignedDuration::from_mins(self.minutes.fetch_add(1, Ordering::Relaxed))
    }
}

/// Gives a little at a time, so that a checkpoint comes in between.
struct Slow(Box<dyn Read + Send>);

impl Read for Slow {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_millis(3));
        let most = out.len().min(100_000);
        self.0.read(&mut out[..most])
    }
}

/// `pack_size` in bytes; a small one makes many packs of a small snapshot.
pub(crate) fn create_options(pack_size: u32) -> CreateOptions {
    let parameters = Parameters {
        splitter: "DYNAMIC-128K-BUZHASH".parse().unwrap(),
        max_pack_size: pack_size,
        ..Parameters::new(FormatVersion::LATEST).unwrap()
    };
    CreateOptions { parameters, key_derivation: KeyDerivation::default(), retention: None }
}

pub(crate) fn password() -> SecretBytes {
    SecretBytes::new(PASSWORD.into())
}

fn stream_data() -> Vec<u8> {
    splitmix(77, 2_000_000)
}

impl Stage {
    /// Prepares an empty storage.
    pub(crate) async fn prepare(storage: &Arc<dyn Storage>, pack_size: u32) -> Self {
        let key = create(storage, &password(), &create_options(pack_size)).await.unwrap();
        let sources = TempDir::new().unwrap();
        let nobody = ("00".repeat(16).parse::<ManifestId>().unwrap(), Tree::new());
        let started = Timestamp::now() - SignedDuration::from_hours(30 * 24);
        let mut stage = Self { key, sources, started, kept: nobody.clone(), doomed: nobody };
        let repository = stage.open(storage, 0).await;
        let writer = repository.writer().await.unwrap();
        store::set(&writer, &SourceInfo::global(), &Policy::default_global()).unwrap();
        store::set(&writer, &stage.source(), &policy(1)).unwrap();
        writer.commit().await.unwrap();
        for number in 0..20 {
            stage.write(&format!("d{}/{number}", number % 3), number, 10_000 + 1000 * number as usize);
        }
        stage.kept = stage.snapshot_now(&repository).await;
        stage.write("d0/0", 100, 30_000);
        stage.doomed = stage.snapshot_now(&repository).await;
        // So many contents with manifests that the next session has to compact them.
        while stage.open(storage, 0).await.manifests().await.unwrap().contents().len() < COMPACT_FROM {
            let writer = repository.writer().await.unwrap();
            store::set(&writer, &stage.source(), &policy(1)).unwrap();
            writer.commit().await.unwrap();
        }
        for number in 10..30 {
            stage.write(&format!("d{}/{number}", number % 4), 1000 + number, 10_000 + 1000 * number as usize);
        }
        stage
    }

    pub(crate) fn source_path(&self) -> PathBuf {
        self.sources.path().join("source")
    }

    fn write(&self, name: &str, seed: u64, length: usize) {
        let path = self.source_path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, splitmix(seed, length)).unwrap();
    }

    fn source(&self) -> SourceInfo {
        source(self.source_path().to_str().unwrap())
    }

    /// Opens the repository, some days after it was begun.
    pub(crate) async fn open(&self, storage: &Arc<dyn Storage>, days: i64) -> Repository {
        self.try_open(storage, days).await.unwrap()
    }

    async fn try_open(
        &self,
        storage: &Arc<dyn Storage>,
        days: i64,
    ) -> Result<Repository, larder::repo::RepositoryError> {
        let start = self.started + SignedDuration::from_hours(24 * days);
        let options = OpenOptions {
            identity: Identity { username: "user".into(), hostname: "host".into() },
            cache: Default::default(),
            clock: Arc::new(Hurried { start, minutes: AtomicI64::new(0) }),
        };
        Repository::open(Arc::clone(storage), &Credential::Key(self.key.clone()), options).await
    }

    async fn snapshot_now(&self, repository: &Repository) -> (ManifestId, Tree) {
        let input = Source::Path(self.source_path());
        let writer = repository.writer().await.unwrap();
        let made = make(&writer, &self.source(), input, SnapshotOptions::default()).await.unwrap();
        let tree = tree(repository, made.root_entry.as_ref().unwrap()).await;
        (made.id.unwrap(), tree)
    }

    /// Does the operation on a storage that may fail, as a client of its own.
    pub(crate) async fn run(&self, operation: Operation, storage: &Arc<dyn Storage>) -> Result<(), String> {
        let failed = |e: &(dyn std::error::Error + 'static)| larder::error::chain(e);
        let slow = Arc::new(Faulty::new(Arc::clone(storage), |call| match call.operation {
            Put if call.name.starts_with('p') => Action::Delay(Duration::from_millis(6)),
            _ => Action::Pass,
        }));
        let repository = self.try_open(&(slow as Arc<dyn Storage>), 4).await.map_err(|e| failed(&e))?;
        let writer = repository.writer().await.map_err(|e| failed(&e))?;
        match operation {
            Operation::Snapshot => {
                let input = Source::Path(self.source_path());
                make(&writer, &self.source(), input, often()).await.map_err(|e| failed(&e))?;
            }
            Operation::Stream => {
                let input = Source::Stream {
                    directory: STREAM.to_owned(),
                    name: "dump".to_owned(),
                    mtime: self.started,
                    input: Box::new(Slow(Box::new(io::Cursor::new(stream_data())))),
                };
                make(&writer, &source(STREAM), input, often()).await.map_err(|e| failed(&e))?;
            }
            Operation::Delete => {
                if let Some(doomed) = writer.manifests().get(self.doomed.0) {
                    writer.delete_manifest(doomed);
                }
                writer.commit().await.map_err(|e| failed(&e))?;
            }
            Operation::SetPolicy => {
                store::set(&writer, &self.source(), &policy(2)).map_err(|e| failed(&e))?;
                writer.commit().await.map_err(|e| failed(&e))?;
            }
        }
        Ok(())
    }

    /// What must hold after the operation, whether it was acknowledged or came to an end somewhere: all that was
    /// acknowledged is there and whole, what was not is there as a whole or not at all, and work can go on. Says how
    /// many checkpoints the operation left.
    pub(crate) async fn check(&self, operation: Operation, acknowledged: bool, storage: &Arc<dyn Storage>) -> usize {
        let repository = self.open(storage, 8).await;
        let snapshots = whole_snapshots(&repository).await;
        let find = |id: ManifestId| snapshots.iter().find(|s| s.id == Some(id));
        let kept = find(self.kept.0).expect("an acknowledged snapshot is lost");
        assert!(tree(&repository, kept.root_entry.as_ref().unwrap()).await == self.kept.1, "it is not as it was");
        match find(self.doomed.0) {
            Some(doomed) => {
                assert!(operation != Operation::Delete || !acknowledged, "the deleted snapshot is there");
                let found = tree(&repository, doomed.root_entry.as_ref().unwrap()).await;
                assert!(found == self.doomed.1, "the second snapshot is not as it was");
            }
            None => assert_eq!(operation, Operation::Delete, "a snapshot is lost that nobody deleted"),
        }
        let mut expected_new = self.on_disk();
        if operation == Operation::Stream {
            expected_new = Tree::from([("dump".to_owned(), stream_data())]);
        }
        let new: Vec<&Snapshot> =
            snapshots.iter().filter(|s| ![Some(self.kept.0), Some(self.doomed.0)].contains(&s.id)).collect();
        let complete: Vec<&&Snapshot> = new.iter().filter(|s| s.is_complete()).collect();
        let is_new = matches!(operation, Operation::Snapshot | Operation::Stream);
        assert!(is_new || new.is_empty(), "a snapshot out of nowhere");
        assert!(complete.len() <= 1 && (!(is_new && acknowledged) || complete.len() == 1), "{new:?}");
        for made in complete {
            assert!(tree(&repository, made.root_entry.as_ref().unwrap()).await == expected_new);
        }
        self.check_policies(operation, acknowledged, &repository).await;
        let checkpoints = new.iter().filter(|s| !s.is_complete()).count();
        let (id, found) = self.snapshot_now(&repository).await;
        assert!(found == self.on_disk(), "the next snapshot is not what was on disk");
        let again = whole_snapshots(&self.open(storage, 12).await).await;
        assert!(again.iter().any(|s| s.id == Some(id)) && again.len() == snapshots.len() + 1);
        checkpoints
    }

    async fn check_policies(&self, operation: Operation, acknowledged: bool, repository: &Repository) {
        let (policies, errors) = store::load(&repository.manifests().await.unwrap());
        assert!(errors.is_empty(), "{errors:?}");
        let of = |target: &SourceInfo| -> Vec<Option<i64>> {
            policies.iter().filter(|p| p.target == *target).map(|p| p.policy.retention.keep_daily).collect()
        };
        assert_eq!(of(&SourceInfo::global()).len(), 1);
        let (old, new) = (vec![Some(1)], vec![Some(2)]);
        let found = of(&self.source());
        let (may_be_new, may_be_old) =
            (operation == Operation::SetPolicy, operation != Operation::SetPolicy || !acknowledged);
        assert!(may_be_old && found == old || may_be_new && found == new, "{found:?}");
    }

    fn on_disk(&self) -> Tree {
        let mut found = Tree::new();
        for directory in fs::read_dir(self.source_path()).unwrap().map(Result::unwrap) {
            for file in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
                let name = format!("{}/{}", directory.file_name().display(), file.file_name().display());
                found.insert(name, fs::read(file.path()).unwrap());
            }
        }
        found
    }
}

fn policy(days: i64) -> Policy {
    let mut policy = Policy::default();
    policy.retention.keep_daily = Some(days);
    policy
}

fn source(path: &str) -> SourceInfo {
    SourceInfo { host: "host".into(), user_name: "user".into(), path: path.to_owned() }
}

/// With checkpoints and indexes as often as can be.
fn often() -> SnapshotOptions {
    SnapshotOptions { checkpoint_interval: Duration::from_millis(12), ..SnapshotOptions::default() }
}

async fn make(
    writer: &Writer,
    source: &SourceInfo,
    input: Source,
    options: SnapshotOptions,
) -> Result<Snapshot, larder::snapshot::SnapshotError> {
    let policies = [(SourceInfo::global(), Policy::default_global())];
    let (progress, stop) = (Arc::default(), Stop::default());
    Ok(snapshot(writer, source, input, &policies, &options, &progress, &stop).await?.snapshot)
}

/// All snapshots there are, incomplete ones included; each can be read to the last byte.
pub(crate) async fn whole_snapshots(repository: &Repository) -> Vec<Snapshot> {
    assert!(repository.contents().indexes().damaged.is_empty());
    let manifests = repository.manifests().await.unwrap();
    assert!(manifests.unreadable.is_empty(), "{:?}", manifests.unreadable);
    let (snapshots, errors) = find(&manifests, &labels_of_all());
    assert!(errors.is_empty(), "{errors:?}");
    let roots: Vec<Root> = snapshots
        .iter()
        .map(|s| Root { name: format!("{:?}", s.id).into(), entry: s.root_entry.clone().unwrap() })
        .collect();
    let options =
        VerifyOptions { parallel: 1, file_parallel: 1, file_queue: 100, files_percent: 100.0, max_errors: None };
    let progress = Arc::new(Progress::default());
    let contents = Arc::clone(repository.contents());
    verify(contents, roots, options, Arc::clone(&progress), Stop::default()).await.unwrap();
    assert!(progress.errors().is_empty(), "{:?}", progress.errors());
    snapshots
}

pub(crate) async fn tree(repository: &Repository, root: &Entry) -> Tree {
    let mut found = Tree::new();
    let mut todo = vec![(String::new(), root.clone())];
    while let Some((path, entry)) = todo.pop() {
        if entry.kind.is_directory() {
            for child in Directory::read(repository.contents(), entry.object).await.unwrap().entries {
                todo.push((format!("{path}{}{}", if path.is_empty() { "" } else { "/" }, child.name), child));
            }
        } else {
            let object = Object::open(repository.contents(), entry.object).await.unwrap();
            found.insert(path, object.read(repository.contents()).await.unwrap().to_vec());
        }
    }
    found
}
