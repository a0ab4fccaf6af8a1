//! What larder writes with every hash, encryption, splitter, compressor and version, and with all pairs of them.
//!
//! Hash, encryption and version belong to the repository, splitter and compressor to a policy. So every repository
//! gets a directory for each splitter, with a compressor that changes from repository to repository.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration::check;
use larder::blob::Storage;
use larder::blob::fs::{FilesystemConfig, FilesystemStorage};
use larder::clock::SystemClock;
use larder::format::testdata::{lines, splitmix};
use larder::format::{
    CompressionAlgorithm, EncryptionAlgorithm, FormatVersion, HashAlgorithm, KeyDerivation, Parameters, SecretBytes,
    SplitterAlgorithm,
};
use larder::policy::{Policy, SourceInfo, store};
use larder::repo::{CreateOptions, Credential, Identity, OpenOptions, Repository, create};
use larder::snapshot::Stop;
use larder::snapshot::create::{CreateOptions as SnapshotOptions, create as snapshot};
use larder::snapshot::upload::Source;
use tempfile::TempDir;

const PASSWORD: &str = "pairs";

/// One repository's parameters.
struct Combination {
    hash: HashAlgorithm,
    encryption: EncryptionAlgorithm,
    version: FormatVersion,
    derivation: KeyDerivation,
    number: usize,
}

/// Every hash with every version, and with every encryption; every encryption with every version.
fn combinations() -> Vec<Combination> {
    let versions = [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3];
    let mut all = Vec::new();
    for (h, hash) in HashAlgorithm::ALL.into_iter().enumerate() {
        for (v, version) in versions.into_iter().enumerate() {
            all.push(Combination {
                hash,
                encryption: EncryptionAlgorithm::ALL[(h + v) % 2],
                version,
                derivation: KeyDerivation::ALL[(h + v / 2) % 2],
                number: all.len(),
            });
        }
    }
    all
}

/// The compressor of a splitter's directory in a repository; 18 of them, counting none.
fn compressor(splitter: usize, repository: usize) -> Option<CompressionAlgorithm> {
    let number = (splitter + repository) % (CompressionAlgorithm::ALL.len() + 1);
    CompressionAlgorithm::ALL.get(number).copied()
}

#[test]
fn the_table_has_all_pairs() {
    let all = combinations();
    for hash in HashAlgorithm::ALL {
        for encryption in EncryptionAlgorithm::ALL {
            assert!(all.iter().any(|c| c.hash == hash && c.encryption == encryption));
        }
    }
    for encryption in EncryptionAlgorithm::ALL {
        for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
            assert!(all.iter().any(|c| c.version == version && c.encryption == encryption));
        }
    }
    for splitter in 0..SplitterAlgorithm::ALL.len() {
        for wanted in CompressionAlgorithm::ALL.into_iter().map(Some).chain([None]) {
            assert!(all.iter().any(|c| compressor(splitter, c.number) == wanted));
        }
    }
}

#[test]
fn all_pairs_pass_the_checker() {
    let combinations = combinations();
    let next = AtomicUsize::new(0);
    // Two at a time: the checker has one thread.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
                while let Some(c) = combinations.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let directory = TempDir::new().unwrap();
                    let source = directory.path().join("source");
                    for (number, splitter) in SplitterAlgorithm::ALL.into_iter().enumerate() {
                        // Longer than the longest chunk where that is not much; the vectors have the other cuts.
                        let length = (splitter.max() + splitter.max() / 4).min(700_000);
                        make_files(&source.join(splitter.name()), (c.number * 100 + number) as u64, length);
                    }
                    runtime.block_on(write(directory.path(), &source, c));
                    let warnings = check(&directory.path().join("repository"), PASSWORD);
                    assert_eq!(warnings, "", "{} {} {:?}", c.hash, c.encryption, c.version);
                }
            });
        }
    });
}

#[test]
fn all_splitters_pass_the_checker_at_full_length() {
    let directory = TempDir::new().unwrap();
    let source = directory.path().join("source");
    for (number, splitter) in SplitterAlgorithm::ALL.into_iter().enumerate() {
        make_files(&source.join(splitter.name()), number as u64, splitter.max() * 5 / 2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let combination = Combination {
        hash: HashAlgorithm::default(),
        encryption: EncryptionAlgorithm::default(),
        version: FormatVersion::LATEST,
        derivation: KeyDerivation::default(),
        // So that the directories of large chunks get the quick compressors.
        number: 3,
    };
    runtime.block_on(write(directory.path(), &source, &combination));
    assert_eq!(check(&directory.path().join("repository"), PASSWORD), "");
}

/// Text, random bytes, zeros, and small files.
fn make_files(directory: &Path, seed: u64, length: usize) {
    fs::create_dir_all(directory).unwrap();
    let mut text = lines(length);
    // So that no two directories have the same contents.
    text.splice(..0, splitmix(seed, 100));
    fs::write(directory.join("text"), text).unwrap();
    fs::write(directory.join("random"), splitmix(seed, length / 2)).unwrap();
    fs::write(directory.join("zeros"), vec![0; length / 3]).unwrap();
    fs::write(directory.join("small"), splitmix(seed, 100)).unwrap();
    fs::write(directory.join("empty"), "").unwrap();
}

async fn write(directory: &Path, source: &Path, c: &Combination) {
    let config = FilesystemConfig::new(directory.join("repository"));
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::create(&config).unwrap());
    let password = SecretBytes::new(PASSWORD.into());
    let parameters = Parameters { hash: c.hash, encryption: c.encryption, ..Parameters::new(c.version).unwrap() };
    let options = CreateOptions { parameters, key_derivation: c.derivation, retention: None };
    create(&storage, &password, &options).await.unwrap();
    let options = OpenOptions {
        identity: Identity { username: "user".into(), hostname: "host".into() },
        cache: Default::default(),
        clock: Arc::new(SystemClock),
    };
    let repository = Repository::open(storage, &Credential::Password(password), options).await.unwrap();
    let path = source.to_str().unwrap();
    let target = |path: String| SourceInfo { host: "host".into(), user_name: "user".into(), path };
    let mut policies = vec![(SourceInfo::global(), Policy::default_global())];
    for (number, splitter) in SplitterAlgorithm::ALL.into_iter().enumerate() {
        let mut policy = Policy::default();
        policy.splitter.algorithm = splitter.name().to_owned();
        let compressor = compressor(number, c.number).map_or("none", CompressionAlgorithm::name);
        policy.compression.compressor_name = compressor.to_owned();
        policy.metadata_compression.compressor_name = compressor.to_owned();
        policies.push((target(format!("{path}/{}", splitter.name())), policy));
    }
    let writer = repository.writer().await.unwrap();
    for (target, policy) in &policies {
        store::set(&writer, target, policy).unwrap();
    }
    let (progress, stop) = (Arc::default(), Stop::default());
    let input = Source::Path(source.to_owned());
    let options = SnapshotOptions::default();
    let created = snapshot(&writer, &target(path.to_owned()), input, &policies, &options, &progress, &stop).await;
    let snapshot = created.unwrap().snapshot;
    assert!(snapshot.is_complete());
    assert_eq!(snapshot.root_entry.unwrap().summary.unwrap().num_failed, 0);
}
