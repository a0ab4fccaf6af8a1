//! What larder must not touch it refuses by name, says what to do, and writes nothing.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use larder::blob::{BlobId, PutOptions};
use larder::content::index::{IndexEntry, encode};
use larder::format::keys::{block_aad, block_key};
use larder::format::{Crypto, FormatBlock, FormatKey, open_block, seal_block};
use serde_json::{Value, json};

use super::client::Client;

const LATER: &str = "a newer larder may be able to read it";

/// A repository whose `kopia.repository` can be altered, the encrypted part as well.
struct Altered {
    client: Client,
    key: FormatKey,
    outer: Value,
    inner: Value,
}

impl Altered {
    fn new() -> Self {
        let client = Client::of_fixture("indirect2");
        let blob = fs::read(format_file(&client)).unwrap();
        let block = FormatBlock::parse(&blob).unwrap();
        let key = block.derive_key(client.password().as_bytes()).unwrap();
        let outer: Value = serde_json::from_slice(&blob).unwrap();
        let sealed = STANDARD.decode(outer["encryptedBlockFormat"].as_str().unwrap()).unwrap();
        let aad = block_aad(&key, block.unique_id());
        let inner = open_block(&block_key(&key, block.unique_id()), aad.as_bytes(), &sealed).unwrap();
        Self { client, key, outer, inner: serde_json::from_slice(&inner).unwrap() }
    }

    /// Writes the repository's parameters with this change, and no earlier one.
    fn alter(&self, change: impl FnOnce(&mut Value)) {
        let mut inner = self.inner.clone();
        change(&mut inner["format"]);
        let unique_id = STANDARD.decode(self.outer["uniqueID"].as_str().unwrap()).unwrap();
        let aad = block_aad(&self.key, &unique_id);
        let sealed = seal_block(&block_key(&self.key, &unique_id), aad.as_bytes(), inner.to_string().as_bytes());
        self.alter_outside(|outer| outer["encryptedBlockFormat"] = STANDARD.encode(sealed).into());
    }

    /// The same with the part that is not encrypted.
    fn alter_outside(&self, change: impl FnOnce(&mut Value)) {
        let mut outer = self.outer.clone();
        change(&mut outer);
        fs::write(format_file(&self.client), outer.to_string()).unwrap();
    }

    /// Whatever is tried: the error has all these parts, and nothing is written.
    fn is_refused(&self, parts: &[&str]) {
        fs::create_dir_all(self.client.path("source")).unwrap();
        let source = self.client.path("source");
        for arguments in [connect(&self.client.path("repo")), vec!["snapshot".into(), "create".into(), path(&source)]] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            assert_parts(&self.client.fails(&arguments), parts);
        }
    }
}

fn format_file(client: &Client) -> std::path::PathBuf {
    client.path("repo/kopia.repository.f")
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn connect(repository: &Path) -> Vec<String> {
    ["repository", "connect", "filesystem", "--path", repository.to_str().unwrap()].map(str::to_owned).into()
}

fn assert_parts(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn algorithms_and_versions_that_are_not_known() {
    let repository = Altered::new();
    for (key, value, named) in [
        ("hash", json!("BLAKE4-512"), "unknown hash algorithm \"BLAKE4-512\""),
        ("encryption", json!("AES512-SIV"), "unknown encryption algorithm \"AES512-SIV\""),
        ("splitter", json!("DYNAMIC-4M-GEAR"), "unknown splitter \"DYNAMIC-4M-GEAR\""),
        ("version", json!(4), "unknown repository format version \"4\""),
        ("indexVersion", json!(3), "unknown index version \"3\""),
    ] {
        repository.alter(|format| format[key] = value);
        repository.is_refused(&["failed to open repository: ", named, LATER]);
    }
    repository.alter(|format| format["encryption"] = "AES-256-CTR".into());
    repository.is_refused(&["encryption algorithm \"AES-256-CTR\" is no longer supported", "restore with the version"]);
}

#[test]
fn outside_of_the_encrypted_part() {
    let repository = Altered::new();
    for (key, value, parts) in [
        ("keyAlgo", "argon2id-9", ["unknown key derivation algorithm \"argon2id-9\"", LATER]),
        ("encryption", "AES512_GCM", ["unknown encryption of the format block \"AES512_GCM\"", LATER]),
        ("uniqueID", "AAAA", ["corrupt kopia.repository: uniqueID is too short", "put it back from a copy"]),
    ] {
        repository.alter_outside(|outer| outer[key] = value.into());
        repository.is_refused(&parts);
    }
    fs::write(format_file(&repository.client), "{").unwrap();
    repository.is_refused(&["corrupt kopia.repository: not a format block", "put it back from a copy"]);
}

#[test]
fn error_correction() {
    let repository = Altered::new();
    let ecc = |percent: i64| {
        repository.alter(|format| {
            format["ecc"] = "REED-SOLOMON-CRC32".into();
            format["eccOverheadPercent"] = percent.into();
        });
    };
    ecc(2);
    repository.is_refused(&[
        "error correction (REED-SOLOMON-CRC32)",
        "does not support",
        "Use kopia for this repository",
    ]);
    // Named, but off.
    ecc(0);
    repository.client.ok(&["snapshot", "list"]);
    let new = path(&repository.client.path("new"));
    let with = ["repository", "create", "filesystem", "--path", &new, "--ecc-overhead-percent=2"];
    assert_parts(
        &repository.client.fails(&with),
        &["does not support error correction", "leave --ecc-overhead-percent"],
    );
    assert!(!repository.client.path("new").exists());
}

#[test]
fn required_features() {
    let repository = Altered::new();
    let require = |if_not_understood: Value| {
        let unknown = json!({"feature": "time-travel", "ifNotUnderstood": if_not_understood});
        repository.alter(|format| format["requiredFeatures"] = json!([{"feature": "index-v2"}, unknown]));
    };
    let what = |warn: bool| {
        json!({"warn": warn, "message": "contents may be from the future", "url": "https://example.com/tt",
               "upgradeToVersion": "88"})
    };
    let parts = ["\"time-travel\"", "contents may be from the future", "needs version 88", "https://example.com/tt"];
    require(what(false));
    repository.is_refused(&parts);
    require(json!({}));
    repository.is_refused(&["requires feature \"time-travel\"", LATER]);
    require(what(true));
    assert_parts(&repository.client.messages(&["snapshot", "list"]), &parts);
    repository.alter(|format| format["requiredFeatures"] = json!([{"feature": "index-v1"}]));
    assert!(!repository.client.messages(&["snapshot", "list"]).contains("index-v1"));
}

#[test]
fn upgrade_locks() {
    let repository = Altered::new();
    let minute = 60_000_000_000_i64;
    let lock = |created: jiff::Timestamp, notice: i64| {
        let lock = json!({
            "ownerID": "ops@host", "creationTime": created, "advanceNoticeDuration": notice, "ioDrainTimeout": minute,
            "statusPollInterval": minute, "message": "to version 3", "maxPermittedClockDrift": minute,
        });
        repository.alter(|format| format["upgradeLock"] = lock);
    };
    let now = jiff::Timestamp::now();
    lock(now, 0);
    repository.is_refused(&["locked for an upgrade by \"ops@host\"", "to version 3", "try again when that is done"]);
    lock(now - jiff::SignedDuration::from_hours(3), 60 * minute);
    repository.is_refused(&["locked for an upgrade by \"ops@host\""]);
    // Announced only.
    lock(now, 60 * minute);
    let warning = repository.client.messages(&["snapshot", "list"]);
    let at = now + jiff::SignedDuration::from_mins(57);
    assert_parts(&warning, &["will be locked for an upgrade by \"ops@host\" at ", &at.to_string(), "to version 3"]);
}

#[test]
fn a_blob_configuration_that_does_not_belong_to_the_repository() {
    let (repository, other) = (Altered::new(), Client::new());
    let file = repository.client.path("repo/kopia.blobcfg.f");
    fs::copy(other.path("repo/kopia.blobcfg.f"), &file).unwrap();
    // Reading does not need it; without it nothing is to be retained.
    repository.client.run(&["snapshot", "list"]);
    let source = repository.client.path("source");
    fs::create_dir_all(&source).unwrap();
    let before = repository.client.everything();
    let error = repository.client.fails(&["snapshot", "create", &path(&source)]);
    assert_parts(&error, &["kopia.blobcfg", "another repository", "Put it back from a copy"]);
    assert_eq!(repository.client.everything(), before);
    fs::remove_file(file).unwrap();
    repository.client.ok(&["snapshot", "create", &path(&source)]);
}

#[test]
fn wrong_passwords() {
    let client = Client::of_fixture("indirect2");
    let repository = path(&client.path("repo"));
    for arguments in [
        &["repository", "connect", "filesystem", "--path", &repository][..],
        &["snapshot", "create", "source"],
        &["snapshot", "list"],
    ] {
        let error = client.fails(&[arguments, &["--password=wrong"]].concat());
        assert_parts(&error, &["invalid repository password", "Check KOPIA_PASSWORD"]);
    }
}

#[test]
fn places_without_a_repository() {
    let client = Client::of_fixture("indirect2");
    let fails = |place: &str| {
        let arguments = connect(&client.path(place));
        client.fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_parts(&fails("nosuch"), &["cannot open storage: ", "nosuch"]);
    assert!(!client.path("nosuch").exists());
    assert_parts(&fails("config"), &["cannot open storage: ", "config"]);
    let (nothing, something) = ("there is no repository in ", "kopia.repository is missing in ");
    for (place, file, problem) in [("empty", None, nothing), ("other", Some("some.f"), something)] {
        fs::create_dir(client.path(place)).unwrap();
        if let Some(file) = file {
            fs::write(client.path(place).join(file), "data").unwrap();
        }
        let location = path(&client.path(place));
        assert_parts(&fails(place), &[problem, &location]);
        assert_eq!(fs::read_dir(client.path(place)).unwrap().count(), usize::from(file.is_some()));
    }
    let create = ["repository", "create", "filesystem", "--path", &path(&client.path("other"))];
    assert_parts(&client.fails(&create), &["found existing data in storage location", "Choose an empty location"]);
    let create = ["repository", "create", "filesystem", "--path", &path(&client.path("repo"))];
    assert_parts(&client.fails(&create), &["found existing data", "connect to it"]);
}

#[test]
fn storages_that_are_not_known() {
    let client = Client::of_fixture("indirect2");
    let kopias = fs::read_to_string(client.path("config")).unwrap();
    let mut config: Value = serde_json::from_str(&kopias).unwrap();
    config["storage"] = json!({"type": "carrier-pigeon", "config": {"loft": "north"}});
    fs::write(client.path("config"), config.to_string()).unwrap();
    let source = path(&client.path("source"));
    for arguments in [&["snapshot", "create", &source][..], &["snapshot", "list"], &["repository", "status"]] {
        assert_parts(&client.fails(arguments), &["\"carrier-pigeon\"", "not supported", "supported: filesystem"]);
    }
    config.as_object_mut().unwrap().remove("storage");
    config["apiServer"] = json!({"url": "https://server:51515"});
    fs::write(client.path("config"), config.to_string()).unwrap();
    assert_parts(&client.fails(&["snapshot", "list"]), &["behind a kopia server", "connect to its storage instead"]);
}

/// Other programs leave copies of the format block beside it.
#[test]
fn backups_of_the_format_block_are_left_alone() {
    let client = Client::of_fixture("indirect2");
    let expected = client.ok(&["snapshot", "list", "--json"]);
    let directory = client.path("repo/k/opi");
    fs::create_dir_all(&directory).unwrap();
    let backups = [directory.join("a.repository.backup.ops@host.f"), directory.join("a.repository.backup.empty.f")];
    fs::copy(format_file(&client), &backups[0]).unwrap();
    fs::write(&backups[1], "").unwrap();
    let blobs = client.ok(&["blob", "list", "--prefix=kopia.repository.backup."]);
    assert_eq!(blobs.lines().count(), 2, "{blobs}");
    let before = client.everything();
    assert_eq!(client.ok(&["snapshot", "list", "--json"]), expected);
    client.ok(&["snapshot", "verify"]);
    assert_eq!(client.everything(), before);
    fs::create_dir(client.path("source")).unwrap();
    client.ok(&["snapshot", "create", "source"]);
    let after = client.everything();
    assert!(backups.iter().all(|backup| after[backup] == before[backup]));
    // They do not make a repository.
    fs::remove_file(format_file(&client)).unwrap();
    assert_parts(&client.fails(&["snapshot", "list"]), &["kopia.repository is missing in "]);
}

/// Says in a new index that a content is stored another way.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn alter_entry(client: &Client, content: &str, change: impl FnOnce(&mut IndexEntry)) {
    let repository = client.open().await;
    let mut entry = repository.contents().entry(&content.parse().unwrap()).unwrap();
    entry.timestamp += 1;
    change(&mut entry);
    let plaintext = encode(&[entry], 2).unwrap();
    let crypto = Crypto::new(repository.parameters()).unwrap();
    let hash = crypto.hasher.hash(&plaintext);
    let id = BlobId::new(&format!("xn0_{}-s0123456789abcdef147-c1", hex::encode(hash.as_bytes()))).unwrap();
    let stored = crypto.cipher.seal(&hash.iv(), &plaintext);
    repository.storage().put(&id, stored.into(), PutOptions::default()).await.unwrap();
}

#[test]
fn compressors_that_are_not_known() {
    let hello = "2f0e7fa9cc0c5a39077435aad09c5a28";
    for (header_id, parts) in [
        (0x1400, ["compression algorithm \"lz4\" is no longer supported", "kopia 0.22.3"]),
        (0x1600, ["unknown compression algorithm \"0x1600\"", "cannot be read"]),
    ] {
        let client = Client::of_fixture("defaults");
        alter_entry(&client, hello, |entry| entry.compression = header_id);
        for arguments in [&["content", "show", hello][..], &["show", hello]] {
            assert_parts(&client.fails(arguments), &[hello, parts[0], parts[1]]);
        }
        let root = "fd9973ff10b331e8afa25ebc73994135";
        let target = path(&client.path("target"));
        let done = client.run(&["restore", root, &target]);
        assert_eq!(done.code, Some(1));
        assert_parts(&done.stderr, &["hello.txt", parts[0], parts[1]]);
        let done = client.run(&["snapshot", "verify", root, "--verify-files-percent=100", "--max-errors=-1"]);
        assert_eq!(done.code, Some(1));
        assert_parts(&done.stderr, &["hello.txt", parts[0], parts[1]]);
    }
}

#[test]
fn encryption_keys_that_are_reserved() {
    let hello = "2f0e7fa9cc0c5a39077435aad09c5a28";
    let client = Client::of_fixture("defaults");
    alter_entry(&client, hello, |entry| entry.encryption_key = 7);
    assert_parts(&client.fails(&["content", "show", hello]), &[hello, "encryption key 7"]);
}

/// A policy's compressor or splitter that is not known keeps nobody from making a snapshot, but is told.
#[test]
fn algorithms_in_policies() {
    let client = Client::new();
    fs::create_dir(client.path("source")).unwrap();
    fs::write(client.path("source/file"), [b'a'; 1000]).unwrap();
    for (flag, value) in [("--compression", "lz4"), ("--splitter", "GEAR"), ("--metadata-compression", "quick")] {
        let error = client.fails(&["policy", "set", "--global", &format!("{flag}={value}")]);
        assert_parts(&error, &[flag, value]);
    }
    let policy = json!({
        "compression": {"compressorName": "lz4"},
        "metadataCompression": {"compressorName": "quick"},
        "splitter": {"algorithm": "GEAR"},
    });
    let labels =
        larder::policy::SourceInfo { host: "hst".into(), user_name: "usr".into(), path: path(&client.path("source")) };
    client.write(|writer| writer.put_manifest(labels.policy_labels().unwrap(), &policy).unwrap());
    let messages = client.messages(&["snapshot", "create", "source"]);
    assert_parts(
        &messages,
        &[
            "the policy cannot be followed, data is stored uncompressed: compression algorithm \"lz4\"",
            "data is stored uncompressed: unknown compression algorithm \"quick\"",
            "the repository's splitter is used: unknown splitter \"GEAR\"",
        ],
    );
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
}
