//! Snapshots of real directories.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder::blob::faulty::{Action, Faulty};
use larder::format::FormatVersion;
use larder::format::testdata::{lines, splitmix};
use larder::object::Object;
use larder::policy::{Policy, SourceInfo};
use larder::repo::Repository;
use larder::snapshot::create::CreateOptions;
use larder::snapshot::directory::Directory;
use larder::snapshot::entry::{Entry, Kind};
use larder::snapshot::resolve::descend;
use larder::snapshot::summary::Incomplete;
use larder::snapshot::upload::{Progress, Source, UploadOptions};
use tempfile::TempDir;

use crate::support::{TestRepository, make, make_snapshot, root, source, write_files};

/// Paths of everything in a snapshot, sorted.
async fn paths(repository: &Repository, root: &Entry) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![(String::new(), root.clone())];
    while let Some((path, entry)) = todo.pop() {
        if entry.kind == Kind::Directory {
            for child in Directory::read(repository.contents(), entry.object).await.unwrap().entries {
                let path = if path.is_empty() { child.name.to_string() } else { format!("{path}/{}", child.name) };
                found.push(path.clone());
                todo.push((path, child));
            }
        }
    }
    found.sort();
    found
}

async fn read(repository: &Repository, root: &Entry, path: &str) -> Vec<u8> {
    let path: Vec<&str> = path.split('/').collect();
    let entry = descend(repository.contents(), root.clone(), &path).await.unwrap();
    Object::open(repository.contents(), entry.object).await.unwrap().read(repository.contents()).await.unwrap().to_vec()
}

fn policy_with(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy);
    policy
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_files_are_not_read_again() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    write_files(directory.path(), &[("a", b"aaa"), ("d/b", &splitmix(1, 5_000_000)), ("d/e/c", b"")]);
    symlink("a", directory.path().join("link")).unwrap();
    let first = make_snapshot(&open, directory.path(), &[]).await.unwrap();
    let again = make_snapshot(&open, directory.path(), &[]).await.unwrap();
    assert_eq!(root(&first).object, root(&again).object);
    let stats = again.stats.unwrap();
    assert_eq!((stats.cached_files, stats.non_cached_files, stats.file_count), (4, 0, 0));
    let summary = root(&again).summary.clone().unwrap();
    assert_eq!((summary.files, summary.symlinks, summary.dirs, summary.size), (3, 1, 3, 5_000_003));

    write_files(directory.path(), &[("a", b"bbb")]);
    let third = make_snapshot(&open, directory.path(), &[]).await.unwrap();
    assert_eq!(third.stats.unwrap().non_cached_files, 1);
    assert_eq!(read(&open, root(&third), "a").await, b"bbb");
    assert_eq!(read(&open, root(&first), "a").await, b"aaa");
    assert_eq!(repository.snapshots().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_leave_out_what_they_say() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let files: &[(&str, &[u8])] = &[
        (".kopiaignore", b"*.tmp\n!keep.tmp\nbuild/\n"),
        ("a.tmp", b""),
        ("keep.tmp", b""),
        ("build/x", b""),
        ("d/b.tmp", b""),
        ("d/.kopiaignore", b"!b.tmp\n/c"),
        ("d/c", b""),
        ("d/e/c", b""),
        ("by-policy", b""),
        ("large", &[0; 2000]),
        ("cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n"),
        ("cache/data", b""),
        ("own/x.log", b""),
        ("own/a.tmp", b""),
    ];
    write_files(directory.path(), files);
    let policy = policy_with(|p| {
        p.files.ignore = vec!["/by-policy".into()];
        p.files.max_file_size = 1000;
    });
    let below = SourceInfo { path: format!("{}/own", directory.path().display()), ..source(directory.path()) };
    let own = policy_with(|p| p.files.ignore = vec!["*.log".into()]);
    let policies = [(source(directory.path()), policy), (below, own)];
    let progress = Arc::new(Progress::default());
    let input = Source::Path(directory.path().to_owned());
    let snapshot = make(&open, directory.path(), input, &policies, &CreateOptions::default(), &progress).await.unwrap();
    let expected = [".kopiaignore", "cache", "d", "d/.kopiaignore", "d/b.tmp", "d/e", "d/e/c", "keep.tmp", "own"];
    assert_eq!(paths(&open, root(&snapshot)).await, expected);
    let stats = snapshot.stats.unwrap();
    // a.tmp, build (a directory), d/c, by-policy, own/x.log, own/a.tmp
    assert_eq!((stats.excluded_file_count, stats.excluded_dir_count), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_is_a_snapshot_too() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    for length in [0, 3, 9_000_000] {
        let path = directory.path().join(format!("file-{length}"));
        fs::write(&path, splitmix(1, length)).unwrap();
        for cached in [0, 1] {
            let snapshot = make_snapshot(&open, &path, &[]).await.unwrap();
            let root = root(&snapshot);
            assert_eq!((root.kind, root.name.to_string()), (Kind::File, format!("file-{length}")));
            assert_eq!((root.size, root.summary.as_ref().unwrap().files), (length as u64, 1));
            assert_eq!(snapshot.stats.unwrap().cached_files, cached);
            let object = Object::open(open.contents(), root.object).await.unwrap();
            assert_eq!(object.read(open.contents()).await.unwrap(), splitmix(1, length));
        }
    }
    // Through a link the identity is the link's, the data the file's.
    symlink("file-3", directory.path().join("link")).unwrap();
    let snapshot = make_snapshot(&open, &directory.path().join("link"), &[]).await.unwrap();
    assert_eq!((root(&snapshot).name.to_string(), root(&snapshot).size), ("link".to_owned(), 3));
    assert!(make_snapshot(&open, &directory.path().join("missing"), &[]).await.is_err());
}

struct Failing(Vec<u8>);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("the producer failed"));
        }
        let n = out.len().min(self.0.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0.drain(..n);
        Ok(n)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_any_length() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let mtime = jiff::Timestamp::now();
    for length in [0, 5, 3_000_000] {
        let data = splitmix(2, length);
        let input = Source::Stream {
            directory: "/streams/x".into(),
            name: "dump".into(),
            mtime,
            input: Box::new(io::Cursor::new(data.clone())),
        };
        let path = Path::new("/streams/x");
        let snapshot = make(&open, path, input, &[], &CreateOptions::default(), &Arc::default()).await.unwrap();
        let root = root(&snapshot);
        assert_eq!((root.name.to_string(), root.mode), ("/streams/x".to_owned(), 0o777));
        assert_eq!(root.mtime.to_string(), "1754-08-30T22:43:41.128654848Z");
        assert_eq!(read(&open, root, "dump").await, data);
    }
    // A stream that breaks off leaves nothing that looks like a snapshot.
    let before = repository.snapshots().await.len();
    let input = Source::Stream {
        directory: "/streams/x".into(),
        name: "dump".into(),
        mtime,
        input: Box::new(Failing(splitmix(3, 2_000_000))),
    };
    let failed = make(&open, Path::new("/streams/x"), input, &[], &CreateOptions::default(), &Arc::default()).await;
    assert!(larder::error::chain(&failed.unwrap_err()).contains("the producer failed"));
    assert_eq!(repository.snapshots().await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_cut_as_a_whole_or_in_parts() {
    for version in [FormatVersion::V1, FormatVersion::V3] {
        let repository = TestRepository::with_version(version).await;
        let open = repository.open().await;
        let directory = TempDir::new().unwrap();
        let data = lines(9_000_000);
        write_files(directory.path(), &[("large", &data)]);
        let whole = make_snapshot(&open, directory.path(), &[]).await.unwrap();
        assert_eq!(read(&open, root(&whole), "large").await, data);
        // Parts of 3,000,000 bytes; an exact multiple has an empty one at its end, as kopia's have.
        let policy = policy_with(|p| {
            p.upload.parallel_upload_above_size = Some(3_000_000);
            p.compression.compressor_name = "zstd".into();
        });
        let options = CreateOptions {
            upload: UploadOptions { force_hash: 100.0, ..UploadOptions::default() },
            ..CreateOptions::default()
        };
        let input = Source::Path(directory.path().to_owned());
        let policies = [(source(directory.path()), policy)];
        let parts = make(&open, directory.path(), input, &policies, &options, &Arc::default()).await.unwrap();
        assert_eq!(read(&open, root(&parts), "large").await, data);
        assert_eq!(parts.stats.unwrap().file_count, 4);
        let entry = descend(open.contents(), root(&parts).clone(), &["large"]).await.unwrap();
        let object = Object::open(open.contents(), entry.object).await.unwrap();
        let starts: Vec<u64> = object.pieces().iter().map(|piece| piece.start).collect();
        for start in [0, 3_000_000, 6_000_000, 9_000_000] {
            assert!(starts.contains(&start), "{start} {starts:?}");
        }
        assert_eq!(object.pieces().last().unwrap().length, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_file_are_marked_only_when_there_are_several_in_the_snapshot() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    write_files(
        directory.path(),
        &[("s/a/one", b"shared"), ("s/lonely", b"lonely"), ("s/large", &splitmix(9, 6_000_000))],
    );
    let path = |name: &str| directory.path().join(name);
    fs::hard_link(path("s/a/one"), path("s/two")).unwrap();
    fs::hard_link(path("s/lonely"), path("outside")).unwrap();
    fs::hard_link(path("s/large"), path("s/a/large-too")).unwrap();
    fs::hard_link(path("s/large"), path("outside-too")).unwrap();
    let snapshot = make_snapshot(&open, &path("s"), &[]).await.unwrap();
    let entry = async |path: &[&str]| descend(open.contents(), root(&snapshot).clone(), path).await.unwrap();
    let (one, two) = (entry(&["a", "one"]).await, entry(&["two"]).await);
    assert!(one.link().is_some() && one.link() == two.link() && one.object == two.object);
    assert_eq!(entry(&["lonely"]).await.link(), None);
    let (large, too) = (entry(&["large"]).await, entry(&["a", "large-too"]).await);
    assert!(large.link().is_some() && large.link() == too.link() && large.link() != one.link());
    assert_eq!(large.object, too.object);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_or_a_stop_makes_an_incomplete_snapshot_that_the_next_one_builds_on() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    for i in 0..40_u64 {
        write_files(directory.path(), &[(&format!("d{i}/file"), &splitmix(i, 100_000))]);
    }
    let options = CreateOptions {
        upload: UploadOptions { limit: Some(1_000_000), parallel: 2, ..UploadOptions::default() },
        ..CreateOptions::default()
    };
    let input = || Source::Path(directory.path().to_owned());
    let limited = make(&open, directory.path(), input(), &[], &options, &Arc::default()).await.unwrap();
    assert_eq!(limited.incomplete, Some(Incomplete::LimitReached));
    assert_eq!(root(&limited).summary.as_ref().unwrap().incomplete, Some(Incomplete::LimitReached));
    let files = root(&limited).summary.as_ref().unwrap().files;
    assert!((5..40).contains(&files), "{files} files");
    let whole = make_snapshot(&open, directory.path(), &[]).await.unwrap();
    assert_eq!(whole.incomplete, None);
    assert_eq!(whole.stats.unwrap().cached_files, files);
}

/// Gives a little, then waits.
struct Slow(u32);

impl Read for Slow {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Ok(0);
        }
        self.0 -= 1;
        std::thread::sleep(Duration::from_millis(20));
        let data = splitmix(u64::from(self.0), 60_000);
        let n = data.len().min(out.len());
        out[..n].copy_from_slice(&data[..n]);
        Ok(n)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_save_the_work_so_far() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let options = CreateOptions { checkpoint_interval: Duration::from_millis(100), ..CreateOptions::default() };
    let input = Source::Stream {
        directory: "/streams/x".into(),
        name: "slow".into(),
        mtime: jiff::Timestamp::now(),
        input: Box::new(Slow(150)),
    };
    let path = Path::new("/streams/slow");
    let progress = Arc::default();
    let work = make(&open, path, input, &[], &options, &progress);
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let saved = repository.snapshots().await;
            if let Some(checkpoint) = saved.first() {
                assert_eq!(checkpoint.incomplete, Some(Incomplete::Checkpoint));
                let open = repository.open().await;
                let names = paths(&open, root(checkpoint)).await;
                assert!(names[0].starts_with(".checkpointed.slow."), "{names:?}");
                assert!(!read(&open, root(checkpoint), &names[0]).await.is_empty());
                return;
            }
        }
    };
    let (made, ()) = tokio::join!(work, watch);
    assert!(made.unwrap().is_complete());
    // What the whole snapshot holds makes its checkpoints superfluous.
    let saved = repository.snapshots().await;
    assert_eq!(saved.iter().map(|s| s.incomplete).collect::<Vec<_>>(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_stops_the_snapshot_and_leaves_none() {
    let repository = TestRepository::new().await;
    let directory = TempDir::new().unwrap();
    for i in 0..30_u64 {
        write_files(directory.path(), &[(&format!("d{}/f{i}", i % 5), &splitmix(i, 1_500_000))]);
    }
    let before = make_snapshot(&repository.open().await, directory.path(), &[]).await.unwrap();
    for i in 0..30_u64 {
        write_files(directory.path(), &[(&format!("d{}/f{i}", i % 5), &splitmix(i + 100, 1_500_000))]);
    }
    let full = |call: &larder::blob::faulty::Call| {
        if call.name.starts_with(['p', 'q']) && call.number > 8 { Action::Fail } else { Action::Pass }
    };
    let open = repository.open_through(Arc::new(Faulty::new(Arc::clone(&repository.storage), full))).await;
    let failed = make_snapshot(&open, directory.path(), &[]).await.unwrap_err();
    assert!(larder::error::chain(&failed).contains("injected fault"), "{}", larder::error::chain(&failed));
    let saved = repository.snapshots().await;
    assert_eq!(saved.len(), 1);
    assert_eq!(read(&repository.open().await, root(&before), "d0/f0").await, splitmix(0, 1_500_000));
    // The next one works.
    let after = make_snapshot(&repository.open().await, directory.path(), &[]).await.unwrap();
    assert_eq!(read(&repository.open().await, root(&after), "d0/f0").await, splitmix(100, 1_500_000));
}
