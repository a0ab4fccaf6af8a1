//! What a mount shows, asked for without a kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use larder::blob::list_all;
use larder::format::testdata::splitmix;
use larder::mounting::{Node, Shown, SnapshotTree};
use larder::repo::Repository;
use larder::snapshot::manifest::Snapshot;
use larder_mount::{Kind, Seen, Tree, TreeError};
use tempfile::TempDir;

use crate::support::{TestRepository, make_snapshot, root, write_files};

async fn show(repository: &TestRepository, shown: Shown, until: Option<Timestamp>) -> SnapshotTree {
    SnapshotTree::open(repository.open().await, shown, until).await.unwrap()
}

fn of(snapshot: &Snapshot) -> Shown {
    Shown::Entry {
        entry: Box::new(root(snapshot).clone()),
        snapshot: Some(Box::new(snapshot.clone())),
        path: Vec::new(),
    }
}

async fn names(tree: &SnapshotTree, directory: &Seen<Node>) -> Vec<String> {
    let listing = tree.list(&directory.node).await.unwrap();
    for (name, seen) in &listing.entries {
        let looked_up = tree.lookup(&directory.node, name).await.unwrap();
        assert_eq!((looked_up.identity, looked_up.attributes), (seen.identity, seen.attributes));
        let again = tree.look_again(&seen.node).await.unwrap();
        assert_eq!((again.identity, again.attributes), (seen.identity, seen.attributes), "{name:?}");
    }
    listing.entries.iter().map(|(name, _)| String::from_utf8(name.clone()).unwrap()).collect()
}

async fn go(tree: &SnapshotTree, path: &str) -> Result<Seen<Node>, TreeError> {
    let mut seen = tree.root();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        seen = tree.lookup(&seen.node, name.as_bytes()).await?;
    }
    Ok(seen)
}

async fn read(tree: &SnapshotTree, path: &str) -> Vec<u8> {
    let seen = go(tree, path).await.unwrap();
    let file = tree.open(&seen.node).await.unwrap();
    tree.read(&file, 0, 1 << 30).await.unwrap().to_vec()
}

async fn snapshot(repository: &Repository, source: &Path) -> Snapshot {
    make_snapshot(repository, source, &[]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_snapshots_have_kopias_layout() {
    let (repository, one, other) = (TestRepository::new().await, TempDir::new().unwrap(), TempDir::new().unwrap());
    write_files(one.path(), &[("file", b"first")]);
    write_files(other.path(), &[("deep/er/file", b"other")]);
    let open = repository.open().await;
    let first = snapshot(&open, one.path()).await;
    write_files(one.path(), &[("file", b"second")]);
    let second = snapshot(&open, one.path()).await;
    let single = snapshot(&open, &one.path().join("file")).await;
    snapshot(&open, other.path()).await;

    let tree = show(&repository, Shown::All, None).await;
    assert_eq!(names(&tree, &tree.root()).await, ["user@host"]);
    let sources = names(&tree, &go(&tree, "user@host").await.unwrap()).await;
    let name_of = |path: &Path| path.to_str().unwrap().trim_start_matches('/').replace('/', "_");
    let mut expected = [one.path(), &one.path().join("file"), other.path()].map(name_of);
    expected.sort();
    assert_eq!(sources, expected);

    let source = format!("user@host/{}", name_of(one.path()));
    let snapshots = names(&tree, &go(&tree, &source).await.unwrap()).await;
    let time = |s: &Snapshot| s.start_time.strftime("%Y%m%d-%H%M%S").to_string();
    let mut expected = vec![time(&first), time(&second), "latest".to_owned()];
    if expected[0] == expected[1] {
        expected[1] += " (2)";
    }
    assert_eq!(snapshots, expected);
    assert_eq!(read(&tree, &format!("{source}/{}/file", expected[0])).await, b"first");
    assert_eq!(read(&tree, &format!("{source}/{}/file", expected[1])).await, b"second");
    let latest = go(&tree, &format!("{source}/latest")).await.unwrap();
    assert_eq!(latest.attributes.kind, Kind::Symlink);
    assert_eq!(tree.read_link(&latest.node).await.unwrap(), expected[1].as_bytes());
    // A single file is one, where kopia has a directory that cannot be listed.
    let file = format!("user@host/{}/{}", name_of(&one.path().join("file")), time(&single));
    assert_eq!(read(&tree, &file).await, b"second");
    assert!(matches!(go(&tree, "user@host/none").await, Err(TreeError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_the_past_and_snapshots_that_come() {
    let (repository, source) = (TestRepository::new().await, TempDir::new().unwrap());
    write_files(source.path(), &[("file", b"first")]);
    let open = repository.open().await;
    let first = snapshot(&open, source.path()).await;
    let shown = || Shown::Source(first.source.clone());
    let (now, then) =
        (show(&repository, shown(), None).await, show(&repository, shown(), Some(first.start_time)).await);
    let before = show(&repository, shown(), Some(first.start_time - SignedDuration::from_secs(1))).await;
    assert!(names(&before, &before.root()).await.is_empty());
    assert_eq!(names(&now, &now.root()).await.len(), 2);
    write_files(source.path(), &[("file", b"second")]);
    snapshot(&open, source.path()).await;
    tokio::time::sleep(Duration::from_millis(5100)).await;
    assert_eq!(names(&now, &now.root()).await.len(), 3, "a new one appears");
    assert_eq!(names(&then, &then.root()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_has_everything_of_the_snapshot() {
    let (repository, source) = (TestRepository::new().await, TempDir::new().unwrap());
    let large = splitmix(3, 3_000_000);
    write_files(source.path(), &[("sub/large", &large), ("empty", b""), ("a", b"linked")]);
    symlink("sub/large", source.path().join("link")).unwrap();
    fs::hard_link(source.path().join("a"), source.path().join("sub/b")).unwrap();
    xattr::set(source.path().join("empty"), "user.color", b"blue").unwrap();
    let made = snapshot(&repository.open().await, source.path()).await;
    let tree = show(&repository, of(&made), None).await;
    assert_eq!(names(&tree, &tree.root()).await, ["sub", "a", "empty", "link"]);
    assert_eq!(tree.read_link(&go(&tree, "link").await.unwrap().node).await.unwrap(), b"sub/large");
    let (a, b) = (go(&tree, "a").await.unwrap(), go(&tree, "sub/b").await.unwrap());
    assert_eq!((a.identity, a.attributes), (b.identity, b.attributes), "one inode");
    assert_eq!((a.attributes.links, a.attributes.size, a.attributes.blocks), (2, 6, 1));
    assert!(read(&tree, "empty").await.is_empty());

    let xattrs = tree.xattrs(&go(&tree, "empty").await.unwrap().node).await.unwrap();
    let listed: Vec<_> = xattrs.iter().filter(|x| x.is_listed).map(|x| (&x.name[..], &x.value[..])).collect();
    assert_eq!(listed, [(&b"user.color"[..], &b"blue"[..])]);
    let hidden = |name: &str| {
        let found = xattrs.iter().find(|x| x.name == name.as_bytes() && !x.is_listed);
        String::from_utf8(found.unwrap().value.clone()).unwrap()
    };
    assert_eq!(hidden("user.larder.path"), source.path().join("empty").to_str().unwrap());
    assert_eq!(hidden("user.larder.snapshot"), made.id.unwrap().to_string());
    assert!(!hidden("user.larder.object").is_empty());

    let file = tree.open(&go(&tree, "sub/large").await.unwrap().node).await.unwrap();
    for (offset, length) in
        [(0, 1), (0, 3_000_000), (1_500_000, 128 << 10), (2_999_999, 100), (3_000_000, 5), (1 << 40, 5)]
    {
        let expected = large.get(offset.min(large.len())..(offset + length).min(large.len())).unwrap_or_default();
        assert!(tree.read(&file, offset as u64, length).await.unwrap() == expected, "{offset} {length}");
    }
    for step in 0..30 {
        let offset = step * 100_000;
        assert!(tree.read(&file, offset as u64, 100_000).await.unwrap() == large[offset..offset + 100_000]);
    }
    assert!(matches!(tree.open(&tree.root().node).await, Err(TreeError::IsADirectory)));
    assert!(matches!(tree.list(&a.node).await, Err(TreeError::NotADirectory)));
    assert!(matches!(tree.read_link(&a.node).await, Err(TreeError::NotALink)));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_directory_has_its_history() {
    let (repository, source) = (TestRepository::new().await, TempDir::new().unwrap());
    let open = repository.open().await;
    write_files(source.path(), &[("top", b"1")]);
    let without = snapshot(&open, source.path()).await;
    write_files(source.path(), &[("sub/deep/file", b"old")]);
    snapshot(&open, source.path()).await;
    write_files(source.path(), &[("sub/deep/file", b"new")]);
    let newest = snapshot(&open, source.path()).await;
    let tree = show(&repository, of(&newest), None).await;
    assert!(!names(&tree, &tree.root()).await.contains(&".snapshots".to_owned()), "it is hidden");
    assert_eq!(names(&tree, &go(&tree, ".snapshots").await.unwrap()).await.len(), 3);
    let versions = names(&tree, &go(&tree, "sub/deep/.snapshots").await.unwrap()).await;
    assert_eq!(versions.len(), 2);
    assert_eq!(read(&tree, &format!("sub/deep/.snapshots/{}/file", versions[0])).await, b"old");
    assert_eq!(read(&tree, &format!("sub/deep/.snapshots/{}/file", versions[1])).await, b"new");
    // And in that again.
    let again = format!("sub/.snapshots/{}/deep/.snapshots/{}/file", versions[1], versions[0]);
    assert_eq!(read(&tree, &again).await, b"old");
    let path = tree.xattrs(&go(&tree, &again).await.unwrap().node).await.unwrap();
    let path = path.into_iter().find(|x| x.name == b"user.larder.path").unwrap().value;
    assert_eq!(String::from_utf8(path).unwrap(), source.path().join("sub/deep/file").to_str().unwrap());

    // An entry of this name wins.
    write_files(source.path(), &[("own/.snapshots", b"mine")]);
    let own = snapshot(&open, source.path()).await;
    let tree = show(&repository, of(&own), None).await;
    assert_eq!(read(&tree, "own/.snapshots").await, b"mine");
    // A bare object is of no snapshot.
    let bare = Shown::Entry { entry: Box::new(root(&without).clone()), snapshot: None, path: Vec::new() };
    let tree = show(&repository, bare, None).await;
    assert!(matches!(go(&tree, ".snapshots").await, Err(TreeError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_an_error_and_all_else_is_there() {
    let (repository, source) = (TestRepository::new().await, TempDir::new().unwrap());
    write_files(source.path(), &[("file", &splitmix(1, 200_000))]);
    let made = snapshot(&repository.open().await, source.path()).await;
    for pack in list_all(&*repository.storage, "p").await.unwrap() {
        repository.memory.replace(&pack.id, "damaged");
    }
    let tree = show(&repository, of(&made), None).await;
    assert_eq!(names(&tree, &tree.root()).await, ["file"]);
    let file = tree.open(&go(&tree, "file").await.unwrap().node).await;
    let failed = match file {
        Ok(file) => tree.read(&file, 0, 10).await.map(drop),
        Err(e) => Err(e),
    };
    assert!(matches!(failed, Err(TreeError::Io(_))), "{failed:?}");
}
