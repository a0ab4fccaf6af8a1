//! Power losses: a real run of the program is recorded, and after each of its system calls all that was not synced is
//! forgotten. What was acknowledged before is whole all the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use integration::power::{Disk, Loss, Survivors, record};
use integration::{Sandbox, checker, rounds, text};
use larder::blob::Storage;
use larder::blob::fs::{FilesystemConfig, FilesystemStorage};
use larder::clock::SystemClock;
use larder::content::cache::{CacheOptions, DiskCacheOptions};
use larder::format::testdata::splitmix;
use larder::format::{FormatBlock, FormatKey};
use larder::manifest::ManifestId;
use larder::policy::{SourceInfo, store};
use larder::repo::config::ClientConfig;
use larder::repo::remembered::load_password;
use larder::repo::{Credential, Identity, OpenOptions, Repository, create};
use larder::snapshot::Stop;
use larder::snapshot::create::{CreateOptions, create as snapshot};
use larder::snapshot::upload::Source;
use tempfile::TempDir;

use crate::interrupted::{create_options, password, whole_snapshots};

const PASSWORD: &str = crate::interrupted::PASSWORD;

/// What was acknowledged so far.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    /// Of the repository, and the client's connection to it.
    key: Option<FormatKey>,
    snapshots: Vec<ManifestId>,
    deleted: Vec<ManifestId>,
    keep_daily: Option<i64>,
}

#[test]
fn a_power_loss_at_any_moment_takes_nothing_that_was_acknowledged() {
    let sandbox = Sandbox::with_password(PASSWORD);
    let source = sandbox.path().join("source");
    let fill = |round: u64| {
        fs::create_dir_all(source.join("d")).unwrap();
        for file in 0..6 {
            fs::write(source.join(format!("d/{file}")), splitmix(round * 100 + file, 30_000)).unwrap();
        }
    };
    let mut test = Test { sandbox: &sandbox, disk: Disk::new(sandbox.path()), last: BTreeMap::new(), states: 0 };
    let mut acknowledged = Acknowledged::default();
    let repository = sandbox.repository();
    let (path, name) = (repository.to_str().unwrap(), source.to_str().unwrap());

    test.run(&["repository", "create", "filesystem", "--path", path], &acknowledged);
    let block = FormatBlock::parse(&fs::read(repository.join("kopia.repository.f")).unwrap()).unwrap();
    acknowledged.key = Some(block.derive_key(PASSWORD.as_bytes()).unwrap());
    for round in 0..2 {
        fill(round);
        let output = test.run(&["snapshot", "create", "--json", name], &acknowledged);
        acknowledged.snapshots.push(id(&output));
    }
    test.run(&["policy", "set", name, "--keep-daily=7"], &acknowledged);
    acknowledged.keep_daily = Some(7);
    let deleted = acknowledged.snapshots.remove(0);
    // While it is being deleted, it may be there or not.
    test.run(&["snapshot", "delete", &deleted.to_string(), "--delete"], &acknowledged);
    acknowledged.deleted.push(deleted);
    fill(2);
    test.run(&["snapshot", "create", name], &acknowledged);
    assert!(test.states > 200, "{} states", test.states);
}

fn id(json: &str) -> ManifestId {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    json["id"].as_str().unwrap().parse().unwrap()
}

struct Test<'a> {
    sandbox: &'a Sandbox,
    disk: Disk,
    /// For each kind of loss, what was checked last.
    last: BTreeMap<Loss, Survivors>,
    states: u64,
}

impl Test<'_> {
    /// Runs a command, and checks what a power loss during it may leave.
    fn run(&mut self, arguments: &[&str], acknowledged: &Acknowledged) -> String {
        let scratch = TempDir::new().unwrap();
        let mut command = self.sandbox.command(["--disable-file-logging"]);
        command.args(arguments);
        let recording = record(&command, scratch.path());
        self.disk.begin();
        self.last.clear();
        self.lose_power(acknowledged, &format!("before {arguments:?}"));
        for call in recording.calls {
            if self.disk.play(&call) {
                self.lose_power(acknowledged, &format!("{arguments:?}, after {call}"));
            }
        }
        recording.output
    }

    /// Checks what is left after each kind of loss, unless it is the same as the last time.
    fn lose_power(&mut self, acknowledged: &Acknowledged, when: &str) {
        let mixed = (0..rounds(2) as u64).map(Loss::Mixed);
        for loss in [Loss::Everything, Loss::Bytes].into_iter().chain(mixed) {
            let survivors = self.disk.survivors(loss);
            if self.last.get(&loss) != Some(&survivors) {
                self.states += 1;
                // Shown only when the test fails.
                println!("{when}, loss: {loss:?}");
                self.check(&survivors, acknowledged);
                self.last.insert(loss, survivors);
            }
        }
    }

    fn check(&self, survivors: &Survivors, acknowledged: &Acknowledged) {
        let directory = TempDir::new().unwrap();
        survivors.write(directory.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        self.check_client(directory.path(), acknowledged);
        let repository = directory.path().join("repository");
        match &acknowledged.key {
            None => runtime.block_on(check_creation(&repository)),
            Some(key) => {
                let source = self.sandbox.path().join("source");
                runtime.block_on(check_repository(directory.path(), key, acknowledged, &source));
                if self.states.is_multiple_of(25) {
                    let output = checker(&repository, PASSWORD, &["--read-all", "--splitter"]);
                    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
                }
            }
        }
    }

    /// The client's own files are whole or not there; after it was told that it is connected, they are there.
    fn check_client(&self, root: &Path, acknowledged: &Acknowledged) {
        let config = root.join("client/repository.config");
        assert!(config.exists() || acknowledged.key.is_none(), "the client is not connected any more");
        if config.exists() {
            let config = ClientConfig::load(&config).unwrap();
            assert!(config.storage().is_ok());
        }
        load_password(&config).unwrap();
    }
}

/// Either there is a repository, or one can be made.
async fn check_creation(path: &Path) {
    if path.join("kopia.repository.f").exists() {
        let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::open(&FilesystemConfig::new(path)).unwrap());
        Repository::open(storage, &Credential::Password(password()), options(None)).await.unwrap();
        return;
    }
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::create(&FilesystemConfig::new(path)).unwrap());
    create(&storage, &password(), &create_options(10 << 20)).await.unwrap();
}

fn options(cache: Option<&Path>) -> OpenOptions {
    let disk = cache.map(|directory| DiskCacheOptions::new(directory, 1 << 30));
    OpenOptions {
        identity: Identity { username: "user".into(), hostname: "host".into() },
        cache: CacheOptions { disk, ..CacheOptions::default() },
        clock: Arc::new(SystemClock),
    }
}

async fn check_repository(root: &Path, key: &FormatKey, acknowledged: &Acknowledged, source: &Path) {
    let path = root.join("repository");
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::open(&FilesystemConfig::new(&path)).unwrap());
    // With what is left of the client's cache.
    let cache = fs::read_dir(root.join("cache/kopia")).ok().and_then(|mut d| d.next()).map(|d| d.unwrap().path());
    let cache = cache.map(|path| path.join("larder"));
    let credential = Credential::Key(key.clone());
    let repository = Repository::open(storage, &credential, options(cache.as_deref())).await.unwrap();
    let found: Vec<ManifestId> = whole_snapshots(&repository).await.iter().filter_map(|s| s.id).collect();
    assert!(acknowledged.snapshots.iter().all(|id| found.contains(id)), "{found:?}");
    assert!(!acknowledged.deleted.iter().any(|id| found.contains(id)), "{found:?}");
    let (policies, errors) = store::load(&repository.manifests().await.unwrap());
    assert!(errors.is_empty());
    let daily = policies.iter().filter(|p| p.target.path == source.to_str().unwrap());
    let daily = daily.filter_map(|p| p.policy.retention.keep_daily).next();
    assert!(acknowledged.keep_daily.is_none_or(|keep| daily == Some(keep)), "{daily:?}");

    let writer = repository.writer().await.unwrap();
    let here = SourceInfo { host: "host".into(), user_name: "user".into(), path: source.to_str().unwrap().to_owned() };
    let (progress, stop) = (Arc::default(), Stop::default());
    let policies = store::by_target(&policies);
    let input = Source::Path(source.to_owned());
    let made = snapshot(&writer, &here, input, &policies, &CreateOptions::default(), &progress, &stop).await.unwrap();
    let after = whole_snapshots(&repository).await;
    assert!(after.iter().any(|s| s.id == made.snapshot.id));
}
