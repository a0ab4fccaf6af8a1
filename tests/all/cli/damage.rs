//! What the commands say of damage: which blob, what to do, and an exit code that is not 0. All else is done.

use std::fs;
use std::path::{Path, PathBuf};

use super::client::{Client, Done};

/// A repository with one snapshot of two files, each in a session of its own.
struct Stage {
    client: Client,
    source: PathBuf,
    /// The file of a blob, and its whole bytes.
    victim: PathBuf,
    id: String,
}

fn noise(length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    getrandom::fill(&mut noise).unwrap();
    noise
}

impl Stage {
    /// `prefix`: of the blob that is going to be damaged, the last one that was written.
    fn new(prefix: &str) -> Self {
        let client = Client::new();
        let source = client.path("source");
        fs::create_dir(&source).unwrap();
        let mut known = client.blobs();
        for name in ["first", "second"] {
            known = client.blobs();
            fs::write(source.join(name), noise(50_000)).unwrap();
            client.ok(&["snapshot", "create", source.to_str().unwrap()]);
        }
        let is_victim = |(id, _): &(String, PathBuf)| {
            let is_new = prefix.starts_with("kopia") || !known.iter().any(|(old, _)| old == id);
            id.starts_with(prefix) && is_new
        };
        let (id, victim) = client.blobs().into_iter().find(is_victim).unwrap();
        Self { client, source, victim, id }
    }

    fn flip(&self) {
        let mut bytes = fs::read(&self.victim).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&self.victim, bytes).unwrap();
    }

    /// A command that meets the damage.
    fn fails(&self, arguments: &[&str], what_to_do: &str) -> Done {
        let done = self.client.run(arguments);
        assert_eq!(done.code, Some(1), "{arguments:?}: {}", done.stderr);
        for expected in [&*self.id, what_to_do] {
            assert!(done.stderr.contains(expected), "{arguments:?} does not say {expected:?}: {}", done.stderr);
        }
        done
    }

    fn restore(&self, id: &str, more: &[&str]) -> Done {
        let target = self.client.path("target");
        let _ = fs::remove_dir_all(&target);
        self.client.run(&[&["restore", id, target.to_str().unwrap()], more].concat())
    }

    fn restored(&self, name: &str) -> bool {
        let file = self.client.path("target").join(name);
        file.exists() && fs::read(file).unwrap() == fs::read(self.source.join(name)).unwrap()
    }

    /// The snapshots that are still listed, oldest first.
    fn snapshots(&self) -> Vec<String> {
        let done = self.client.run(&["snapshot", "list", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        list.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    }
}

const VERIFY: [&str; 4] = ["snapshot", "verify", "--verify-files-percent=100", "--max-errors=-1"];

#[test]
fn a_pack_of_data() {
    let stage = Stage::new("p");
    stage.flip();
    let verified = stage.fails(&VERIFY, "Put the blobs that are named back");
    assert!(verified.stderr.contains(": second: content "), "{}", verified.stderr);
    let snapshots = stage.snapshots();
    let restored = stage.restore(&snapshots[1], &[]);
    assert_eq!(restored.code, Some(1));
    assert!(restored.stderr.contains(&stage.id) && restored.stderr.contains("--ignore-errors"), "{}", restored.stderr);
    let restored = stage.restore(&snapshots[1], &["--ignore-errors"]);
    assert!(restored.stderr.contains(&stage.id) && restored.stderr.contains("ignored 1 errors"), "{}", restored.stderr);
    assert!(stage.restored("first") && !stage.client.path("target/second").exists());
    assert_eq!(stage.restore(&snapshots[0], &[]).code, Some(0));
    assert!(stage.restored("first"));
}

#[test]
fn a_pack_of_directories_and_manifests() {
    let stage = Stage::new("q");
    let before = stage.snapshots();
    fs::write(&stage.victim, "").unwrap();
    stage.fails(&["snapshot", "list"], "Put the damaged blob back");
    stage.fails(&VERIFY, "Put the damaged blob back");
    assert_eq!(stage.snapshots(), before[..1]);
    // Nothing that was read is amiss.
    let restored = stage.restore(&before[0], &[]);
    assert!(restored.code == Some(1) && stage.restored("first"), "{}", restored.stderr);
}

#[test]
fn an_index() {
    let stage = Stage::new("xn");
    let before = stage.snapshots();
    fs::write(&stage.victim, &fs::read(&stage.victim).unwrap()[..100]).unwrap();
    fs::remove_dir_all(stage.client.path("home")).unwrap();
    stage.fails(&["snapshot", "list"], "restore the blob from a copy");
    stage.fails(&VERIFY, "restore the blob from a copy");
    assert_eq!(stage.snapshots(), before[..1]);
    let restored = stage.restore(&before[0], &[]);
    assert!(restored.code == Some(1) && stage.restored("first"), "{}", restored.stderr);
    // The work goes on, and is whole.
    assert_eq!(stage.client.run(&["snapshot", "create", stage.source.to_str().unwrap()]).code, Some(1));
    let restored = stage.restore(stage.snapshots().last().unwrap(), &[]);
    assert!(stage.restored("first") && stage.restored("second"), "{}", restored.stderr);
}

#[test]
fn the_blob_configuration() {
    let stage = Stage::new("kopia.blobcfg");
    stage.flip();
    stage.fails(&["snapshot", "list"], "Put it back from a copy");
    stage.fails(&["repository", "status"], "Put it back from a copy");
    stage.fails(&["snapshot", "create", stage.source.to_str().unwrap()], "Put it back from a copy");
    let snapshots = stage.snapshots();
    let restored = stage.restore(&snapshots[1], &[]);
    assert!(restored.code == Some(1) && stage.restored("first") && stage.restored("second"), "{}", restored.stderr);
}

#[test]
fn the_format_block() {
    let stage = Stage::new("kopia.repository");
    let whole = fs::read(&stage.victim).unwrap();
    let list = ["snapshot", "list"];
    for damaged in [&whole[..whole.len() / 2], b""] {
        fs::write(&stage.victim, damaged).unwrap();
        stage.fails(&list, "put it back from a copy");
    }
    // In the encrypted part.
    let text = String::from_utf8(whole.clone()).unwrap();
    let at = text.find("encryptedBlockFormat").unwrap() + 60;
    let mut flipped = whole.clone();
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    fs::write(&stage.victim, flipped).unwrap();
    stage.fails(&list, "put it back from a copy");
    fs::remove_file(&stage.victim).unwrap();
    stage.fails(&list, "put it back from a copy");
    let path = stage.client.path("repo");
    let create = ["repository", "create", "filesystem", "--path", path.to_str().unwrap()];
    assert_eq!(stage.client.run(&create).code, Some(1), "no other repository is made on top of it");
    fs::write(&stage.victim, whole).unwrap();
    stage.client.ok(&list);
}

/// Blobs that nothing is read from.
#[test]
fn markers() {
    let client = Client::new();
    for name in ["s00112233445566778899aabbccddeeff-s0123456789abcdef147", "kopia.maintenance", "xe1", "xw1700000000"] {
        let file = client.path("repo").join(path_of(name));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    client.ok(&["snapshot", "list"]);
    client.ok(&VERIFY);
}

/// As a new repository places blobs.
fn path_of(id: &str) -> PathBuf {
    match id.len() {
        0..=20 => PathBuf::from(format!("{id}.f")),
        _ => Path::new(&id[..1]).join(&id[1..4]).join(format!("{}.f", &id[4..])),
    }
}
