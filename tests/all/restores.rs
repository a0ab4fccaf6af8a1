//! Restoring: the options, and what must not happen.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use larder::content::Scratch;
use larder::content::id::Prefix;
use larder::format::testdata::splitmix;
use larder::object::{ObjectId, ObjectOptions, put_bytes};
use larder::repo::Repository;
use larder::snapshot::entry::{Entry, Kind, Name};
use larder::snapshot::restore::{Progress, RestoreOptions, restore};
use larder::snapshot::{SnapshotError, Stop};
use tempfile::TempDir;

use crate::support::{TestRepository, make_snapshot, root, write_files};

async fn restore_with(
    repository: &Repository,
    root: &Entry,
    target: &Path,
    options: RestoreOptions,
) -> Result<Arc<Progress>, SnapshotError> {
    let progress = Arc::new(Progress::default());
    let contents = Arc::clone(repository.contents());
    restore(contents, root.clone(), target, options, Arc::clone(&progress), Stop::default()).await?;
    Ok(progress)
}

async fn restore_plainly(repository: &Repository, root: &Entry, target: &Path) -> Result<(), SnapshotError> {
    restore_with(repository, root, target, RestoreOptions::default()).await.map(|_| ())
}

/// A directory object with these lines of JSON as its entries, whatever they say.
async fn forge(repository: &Repository, entries: &[String]) -> Entry {
    let json = format!(
        r#"{{"stream":"kopia:directory","entries":[{}],"summary":{{"size":0,"files":0,"symlinks":0,"dirs":1,"maxTime":"2020-01-01T00:00:00Z","numFailed":0}}}}"#,
        entries.join(",")
    );
    let object = put(repository, Prefix::DIRECTORY, json.as_bytes()).await;
    Entry {
        name: Name::from("root"),
        kind: Kind::Directory,
        mode: 0o755,
        size: 0,
        mtime: Timestamp::UNIX_EPOCH,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        object,
        summary: None,
        rare: None,
    }
}

async fn put(repository: &Repository, prefix: Prefix, bytes: &[u8]) -> ObjectId {
    let writer = repository.writer().await.unwrap();
    let splitter = repository.parameters().splitter;
    let options = ObjectOptions { prefix, compression: None, metadata_compression: None, splitter };
    let object =
        tokio::task::block_in_place(|| put_bytes(writer.contents(), &options, bytes, &mut Scratch::default()).unwrap());
    writer.commit().await.unwrap();
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_do_not_lead_out_of_the_target() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let data = put(&open, Prefix::NONE, b"evil").await;
    let directory = TempDir::new().unwrap();
    for name in ["../evil", "..", ".", "a/b", "/evil", "", "a\\u0000b"] {
        let line = format!(
            r#"{{"name":"{name}","type":"f","mode":"0644","size":4,"mtime":"2020-01-01T00:00:00Z","obj":"{data}"}}"#
        );
        let root = forge(&open, &[line]).await;
        let target = directory.path().join("target");
        let failed = restore_plainly(&open, &root, &target).await.unwrap_err();
        assert!(larder::error::chain(&failed).contains("is not the name of a file"), "{name}: {failed}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_and_a_directory_of_one_name_do_not_lead_out_either() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let (evil, link) =
        (put(&open, Prefix::NONE, b"evil").await, put(&open, Prefix::NONE, outside.to_str().unwrap().as_bytes()).await);
    let file =
        format!(r#"{{"name":"evil","type":"f","mode":"0644","size":4,"mtime":"2020-01-01T00:00:00Z","obj":"{evil}"}}"#);
    let below = forge(&open, &[file]).await;
    let size = outside.to_str().unwrap().len();
    let as_link = format!(
        r#"{{"name":"x","type":"s","mode":"0777","size":{size},"mtime":"2020-01-01T00:00:00Z","obj":"{link}"}}"#
    );
    let as_directory =
        format!(r#"{{"name":"x","type":"d","mode":"0755","mtime":"2020-01-01T00:00:00Z","obj":"{}"}}"#, below.object);
    for entries in [[as_link.clone(), as_directory.clone()], [as_directory, as_link]] {
        for _ in 0..2 {
            let root = forge(&open, &entries).await;
            let options = RestoreOptions { ignore_errors: true, ..RestoreOptions::default() };
            restore_with(&open, &root, &directory.path().join("target"), options).await.unwrap();
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        }
        fs::remove_dir_all(directory.path().join("target")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_planted_in_the_target_are_not_followed() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_files(
        directory.path(),
        &[("s/d/file", b"from the snapshot"), ("s/plain", b"p"), ("outside/file", b"mine"), ("outside/plain", b"mine")],
    );
    let snapshot = make_snapshot(&open, &path("s"), &[]).await.unwrap();

    // A directory that is a link is refused; a file that is one is replaced, and so is another name of a file.
    fs::create_dir(path("target")).unwrap();
    symlink(path("outside"), path("target/d")).unwrap();
    assert!(restore_plainly(&open, root(&snapshot), &path("target")).await.is_err());
    fs::remove_file(path("target/d")).unwrap();
    fs::create_dir(path("target/d")).unwrap();
    symlink(path("outside/file"), path("target/d/file")).unwrap();
    _ = fs::remove_file(path("target/plain"));
    fs::hard_link(path("outside/plain"), path("target/plain")).unwrap();
    restore_plainly(&open, root(&snapshot), &path("target")).await.unwrap();
    assert_eq!(fs::read(path("target/d/file")).unwrap(), b"from the snapshot");
    assert_eq!(fs::read(path("target/plain")).unwrap(), b"p");
    for name in ["outside/file", "outside/plain"] {
        assert_eq!(fs::read(path(name)).unwrap(), b"mine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_options_do_what_they_say() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_files(directory.path(), &[("s/a", b"aaa"), ("s/d/b", b"bbb"), ("s/d/large", &splitmix(1, 3_000_000))]);
    symlink("a", path("s/link")).unwrap();
    fs::set_permissions(path("s/a"), fs::Permissions::from_mode(0o640)).unwrap();
    let snapshot = make_snapshot(&open, &path("s"), &[]).await.unwrap();
    let target = path("target");
    let with = async |change: fn(&mut RestoreOptions)| {
        let mut options = RestoreOptions::default();
        change(&mut options);
        restore_with(&open, root(&snapshot), &target, options).await
    };
    let reset = || {
        _ = fs::remove_dir_all(&target);
        write_files(&target, &[("a", b"old"), ("d/b", b"old"), ("extra/deep/file", b"x"), ("d/extra", b"x")]);
        symlink("old", target.join("link")).unwrap();
        fs::create_dir(target.join("empty-extra")).unwrap();
    };
    let content = |name: &str| fs::read_to_string(target.join(name)).unwrap();

    for change in [
        |o: &mut RestoreOptions| o.overwrite_files = false,
        |o: &mut RestoreOptions| o.overwrite_directories = false,
        |o: &mut RestoreOptions| o.overwrite_symlinks = false,
    ] {
        reset();
        let failed = with(change).await.unwrap_err();
        let text = larder::error::chain(&failed);
        assert!(text.contains("exists") || text.contains("not empty"), "{text}");
    }
    reset();
    let progress = with(|o| o.delete_extra = true).await.unwrap();
    assert!(!target.join("extra").exists() && !target.join("d/extra").exists() && !target.join("empty-extra").exists());
    assert_eq!(progress.deleted_files.load(Ordering::Relaxed), 2);
    assert_eq!(progress.deleted_directories.load(Ordering::Relaxed), 3);
    assert_eq!((content("a"), content("d/b")), ("aaa".into(), "bbb".into()));
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("a"));

    // What is the same already is left alone, and what is not is restored.
    fs::write(target.join("d/b"), "changed").unwrap();
    let progress = with(|o| o.skip_existing = true).await.unwrap();
    assert_eq!(progress.skipped.load(Ordering::Relaxed), 3);
    assert_eq!(content("d/b"), "bbb");

    reset();
    with(|o| {
        o.skip_permissions = true;
        o.skip_times = true;
    })
    .await
    .unwrap();
    let metadata = fs::metadata(target.join("a")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert!(metadata.mtime() > fs::metadata(path("s/a")).unwrap().mtime() - 1);
    assert!(target.join("extra/deep/file").exists(), "what is extra stays unless told otherwise");

    reset();
    with(|o| {
        o.write_files_atomically = true;
        o.flush_files = true;
    })
    .await
    .unwrap();
    assert_eq!(fs::read(target.join("d/large")).unwrap(), splitmix(1, 3_000_000));
    let names: Vec<_> = fs::read_dir(target.join("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "no temporary file stays: {names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_the_place_of_a_file_and_the_other_way_round() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_files(directory.path(), &[("s/file", b"f"), ("s/dir/x", b"x")]);
    let snapshot = make_snapshot(&open, &path("s"), &[]).await.unwrap();
    write_files(directory.path(), &[("target/file/in", b""), ("target/dir", b"")]);
    assert!(restore_plainly(&open, root(&snapshot), &path("target")).await.is_err());
    assert!(path("target/file/in").exists() && path("target/dir").is_file(), "nothing is deleted unasked");
    let options = RestoreOptions { delete_extra: true, ..RestoreOptions::default() };
    restore_with(&open, root(&snapshot), &path("target"), options).await.unwrap();
    assert_eq!(fs::read(path("target/file")).unwrap(), b"f");
    assert_eq!(fs::read(path("target/dir/x")).unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_half_a_file_does_not_stay() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_files(directory.path(), &[("s/good", b"good"), ("s/large", &splitmix(1, 3_000_000))]);
    let snapshot = make_snapshot(&open, &path("s"), &[]).await.unwrap();
    let pack = larder::blob::list_all(&*repository.storage, "p").await.unwrap().remove(0);
    let bytes = repository.storage.get(&pack.id, larder::blob::BlobRange::All).await.unwrap();
    let mut damaged = bytes.to_vec();
    // In the middle of the large file.
    damaged[1_500_000] ^= 1;
    repository.memory.replace(&pack.id, damaged);
    let open = repository.open().await;
    for atomically in [false, true] {
        let options = RestoreOptions { write_files_atomically: atomically, ..RestoreOptions::default() };
        let failed = restore_with(&open, root(&snapshot), &path("t"), options.clone()).await.unwrap_err();
        let text = larder::error::chain(&failed);
        assert!(text.contains("large") && text.contains(pack.id.as_str()), "{text}");
        let options = RestoreOptions { ignore_errors: true, ..options };
        let progress = restore_with(&open, root(&snapshot), &path("t"), options).await.unwrap();
        assert_eq!(progress.ignored_errors.load(Ordering::Relaxed), 1);
        let names: Vec<_> = fs::read_dir(path("t")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["good"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_is_restored_under_the_name_of_the_target() {
    let repository = TestRepository::new().await;
    let open = repository.open().await;
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_files(directory.path(), &[("file", b"data")]);
    let snapshot = make_snapshot(&open, &path("file"), &[]).await.unwrap();
    restore_plainly(&open, root(&snapshot), &path("new/place/other")).await.unwrap();
    assert_eq!(fs::read(path("new/place/other")).unwrap(), b"data");
}
