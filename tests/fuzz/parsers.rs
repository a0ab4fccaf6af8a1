//! Every parser of bytes that come from elsewhere, and what must hold of it whatever the bytes are: it ends, it does not
//! panic, it asks for memory in proportion to its input; and what it accepts means the same once it is written again.
//!
//! Shared by the fuzz targets beside this file and by `tests/parsers`, which runs each over its corpus. A function takes
//! the input as it is found in a repository, and panics when something does not hold.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use larder::blob::registry::StorageConfig;
use larder::blob::sharding::Sharding;
use larder::blob::{BlobId, BlobMetadata};
use larder::content::epoch::{names, plan::Epochs};
use larder::content::id::ContentId;
use larder::content::index::{self, Index, IndexData, IndexEntry};
use larder::content::legacy::CompactionLog;
use larder::content::pack::Postamble;
use larder::content::session::Marker;
use larder::format::{
    BlobConfig, CompressionAlgorithm, Compressor, Crypto, EpochParameters, FormatBlock, FormatKey, KeyDerivation,
    Length, decompress, keys, seal_block,
};
use larder::manifest::{Manifest, ManifestId, document};
use larder::object::{ObjectId, encode_list, parse_list};
use larder::policy::{IgnoreContext, Policy, PolicyTree, SourceInfo, effective_policy};
use larder::repo::ConnectionToken;
use larder::repo::config::ClientConfig;
use larder::snapshot::directory::Directory;
use larder::snapshot::entry::{Entry, Kind};
use larder::snapshot::manifest::Snapshot;
use larder::snapshot::resolve::SnapshotTime;
use larder::snapshot::summary::Summary;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A parser with the most memory that one input may make it ask for.
pub(crate) struct Parser {
    /// Of the function, the fuzz target and the corpus.
    pub(crate) name: &'static str,
    pub(crate) check: fn(&[u8]),
    /// Bytes for each byte of input. What JSON says in two bytes is a number of eight in memory, or an entry of some
    /// hundred; and a list that grows is there three times for a moment.
    pub(crate) factor: usize,
    /// Bytes whatever the input.
    pub(crate) constant: usize,
}

const SMALL: usize = 64 << 10;
/// The names of all time zones.
const TIME_ZONES: usize = 1 << 20;
/// What writing anew with gzip takes.
const COMPRESSOR: usize = 512 << 10;

pub(crate) const PARSERS: &[Parser] = &[
    Parser { name: "blob_config", check: blob_config, factor: 16, constant: SMALL },
    Parser { name: "client_config", check: client_config, factor: 200, constant: SMALL },
    Parser { name: "compaction_log", check: compaction_log, factor: 64, constant: SMALL },
    Parser { name: "compressed", check: compressed, factor: 16, constant: 8 * LONGEST_DECOMPRESSED },
    Parser { name: "connection_token", check: connection_token, factor: 200, constant: SMALL },
    Parser { name: "directory", check: directory, factor: 64, constant: SMALL },
    Parser { name: "epochs", check: epochs, factor: 64, constant: SMALL },
    Parser { name: "format_block", check: format_block, factor: 16, constant: SMALL },
    Parser { name: "ids", check: ids, factor: 16, constant: SMALL },
    Parser { name: "ignore_rules", check: ignore_rules, factor: 200, constant: SMALL },
    Parser { name: "index", check: index, factor: 64, constant: SMALL },
    Parser { name: "manifests", check: manifests, factor: 64, constant: COMPRESSOR },
    Parser { name: "object_list", check: object_list, factor: 64, constant: SMALL },
    Parser { name: "parameters", check: parameters, factor: 64, constant: SMALL },
    Parser { name: "policy", check: policy, factor: 64, constant: SMALL },
    Parser { name: "postamble", check: postamble, factor: 16, constant: SMALL },
    Parser { name: "session_marker", check: session_marker, factor: 16, constant: SMALL },
    Parser { name: "sharding", check: sharding, factor: 64, constant: SMALL },
    Parser { name: "snapshot", check: snapshot, factor: 64, constant: SMALL },
    Parser { name: "targets", check: targets, factor: 64, constant: TIME_ZONES },
];

/// `kopia.repository`.
pub(crate) fn format_block(blob: &[u8]) {
    let Ok(block) = FormatBlock::parse(blob) else { return };
    let written = block.to_blob().unwrap();
    let again = FormatBlock::parse(&written).expect("it reads what it wrote");
    assert_eq!(again.unique_id(), block.unique_id());
    assert_eq!(again.to_blob().unwrap(), written);
    // No key fits, and whatever is encrypted there is an error.
    assert!(block.open(&format_key()).is_err());
}

/// The JSON that is encrypted in `kopia.repository`.
pub(crate) fn parameters(json: &[u8]) {
    let (key, unique_id) = (format_key(), [7; 32]);
    let sealed = seal_block(&keys::block_key(&key, &unique_id), keys::block_aad(&key, &unique_id).as_bytes(), json);
    let Ok(parameters) = block_with(&unique_id, &sealed).open(&key) else { return };
    let block = FormatBlock::seal(&parameters, unique_id.to_vec(), KeyDerivation::default(), &key).unwrap();
    assert_eq!(block.open(&key).expect("it reads what it wrote"), parameters);
    let _ = parameters.check_upgrade_lock(now());
    let _ = parameters.warnings();
    // Keys of any length work, or are refused.
    let _ = Crypto::new(&parameters);
}

/// The JSON that is encrypted in `kopia.blobcfg`.
pub(crate) fn blob_config(json: &[u8]) {
    let (key, unique_id) = (format_key(), [7; 32]);
    let block = block_with(&unique_id, b"");
    let sealed = seal_block(&keys::block_key(&key, &unique_id), keys::block_aad(&key, &unique_id).as_bytes(), json);
    let Ok(config) = block.open_blob_config(&sealed, &key) else { return };
    let written = block.seal_blob_config(&config, &key).unwrap();
    assert_eq!(block.open_blob_config(&written, &key).expect("it reads what it wrote"), config);
    assert!(config == BlobConfig::default() || config.retention.is_some());
}

fn format_key() -> FormatKey {
    let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
    FormatKey::new(bytes)
}

fn block_with(unique_id: &[u8], encrypted: &[u8]) -> FormatBlock {
    let block = serde_json::json!({
        "uniqueID": base64(unique_id),
        "keyAlgo": KeyDerivation::default().name(),
        "encryption": "AES256_GCM",
        "encryptedBlockFormat": base64(encrypted),
    });
    FormatBlock::parse(&serde_json::to_vec(&block).unwrap()).unwrap()
}

/// `.shards`.
pub(crate) fn sharding(file: &[u8]) {
    let Ok(sharding) = Sharding::parse(file) else { return };
    for name in ["kopia.repository", "p5d1f0a6b7c8e9d0f1a2b3c4d5e6f7081-s0123456789abcdef12a"] {
        let (mut path, file) = sharding.split(&BlobId::new(name).unwrap());
        path.push(file);
        assert_eq!(path.concat(), format!("{name}.f"), "the name can be had back");
        assert!(path.iter().all(|part| !part.is_empty()));
    }
}

/// The plain bytes of an index blob.
pub(crate) fn index(bytes: &[u8]) {
    let Ok(index) = Index::open(IndexData::Memory(bytes.to_vec().into())) else { return };
    assert!(index.len() * (2 + 16) <= bytes.len(), "every entry is in the input");
    let is_sound = index.check().is_ok();
    let mut entries = Vec::new();
    for position in 0..index.len() {
        if is_sound {
            assert_eq!(index.find(&index.id(position).unwrap()), index.entry(position).map(Some));
        }
        if let Ok(entry) = index.entry(position) {
            assert_eq!(index.id(position).as_ref(), Ok(&entry.id));
            entries.push(entry);
        }
    }
    let _ = index.find(&"0123456789abcdef0123456789abcdef".parse().unwrap());
    let _ = index.first_at_or_after(b'm', &[]);
    if !is_sound {
        return;
    }
    assert_eq!(index.first_at_or_after(0, &[]), Ok(0));
    assert_eq!(index::merge(entries.clone()), entries);
    for version in [1, 2] {
        // What one version holds may not fit into the other.
        let Ok(written) = index::encode(&entries, version) else { continue };
        let again = Index::open(IndexData::Memory(written.into())).expect("it reads what it wrote");
        again.check().expect("what it wrote is sound");
        let read: Vec<IndexEntry> = (0..again.len()).map(|position| again.entry(position).unwrap()).collect();
        let kept = |e: &IndexEntry| IndexEntry { original_length: 0, encryption_key: 0, ..e.clone() };
        match version {
            // It has no place for them.
            1 => assert!(read.iter().map(kept).eq(entries.iter().map(kept))),
            _ => assert_eq!(read, entries),
        }
    }
}

/// The end of a pack.
pub(crate) fn postamble(end_of_pack: &[u8]) {
    let Some(postamble) = Postamble::decode(end_of_pack) else { return };
    assert!(postamble.iv.len() < end_of_pack.len());
    assert_eq!(Postamble::decode(&postamble.encode().unwrap()), Some(postamble));
}

/// The plain bytes of an `s` blob.
pub(crate) fn session_marker(json: &[u8]) {
    reads_back::<Marker>(json);
}

/// The plain bytes of an `m` blob.
pub(crate) fn compaction_log(json: &[u8]) {
    let _ = serde_json::from_slice::<CompactionLog>(json);
}

/// A listing of blobs, one name a line.
pub(crate) fn epochs(listing: &[u8]) {
    let names = listing.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut blobs: Vec<BlobMetadata> = names
        .filter_map(|name| BlobId::new(name).ok())
        .zip(0..)
        .map(|(id, second)| BlobMetadata { id, length: 1, timestamp: jiff::Timestamp::from_second(second).unwrap() })
        .collect();
    blobs.sort_by(|a, b| a.id.cmp(&b.id));
    blobs.dedup_by(|a, b| a.id == b.id);
    for blob in &blobs {
        let _ = (names::epoch(&blob.id), names::range(&blob.id), names::watermark(&blob.id));
    }
    let parameters =
        EpochParameters { cleanup_safety_margin: jiff::SignedDuration::ZERO, ..EpochParameters::default() };
    let epochs = Epochs::new(&blobs);
    let active: Vec<&BlobId> = epochs.active().into_iter().map(|blob| &blob.id).collect();
    assert!(active.iter().all(|id| [names::UNCOMPACTED, names::SINGLE, names::RANGE].contains(&&id[..2])));
    for blob in epochs.superseded(&parameters) {
        assert!(!active.contains(&&blob), "{blob} is still needed");
    }
    let plans = [epochs.single_compaction(), epochs.range_checkpoint(&parameters)];
    for input in plans.into_iter().flatten().flat_map(|plan| plan.inputs) {
        assert!(active.contains(&&input.id), "{} does not count any more", input.id);
    }
    for blob in &blobs {
        assert!(epochs.replacement(&blob.id).iter().all(|other| blobs.contains(other)));
    }
    let _ = (epochs.started(), epochs.after_chain(), epochs.ranges().count(), epochs.should_advance(&parameters));
}

/// Ids as text; the text of an index key.
pub(crate) fn ids(text: &[u8]) {
    if let Some(id) = ContentId::from_key(text) {
        let mut key = Vec::new();
        id.write_key(&mut key);
        assert_eq!(key, text);
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    reads_back_text::<ContentId>(text);
    reads_back_text::<ObjectId>(text);
    reads_back_text::<ManifestId>(text);
    reads_back_text::<BlobId>(text);
    // Hex digits may be upper-case, but a `D` at the beginning is no digit to an object id.
    if let Ok(id) = text.parse::<ContentId>()
        && !text.starts_with('D')
    {
        assert_eq!(text.parse(), Ok(ObjectId::direct(id)), "every content is an object");
    }
}

/// Text that people give or labels hold: targets of policies, times of snapshots.
pub(crate) fn targets(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(target) = SourceInfo::parse(text, "host", "user", "/directory") {
        // They are as many as the path has parts, each as long as it is: not of the longest text that there may be.
        if text.len() < 500 {
            let parents = target.parents();
            assert!(!parents.contains(&target) && parents.len() <= text.len() + "/directory".len() + 3);
        }
        if let Ok(labels) = target.policy_labels() {
            assert_eq!(SourceInfo::from_policy_labels(&labels).unwrap(), target);
        }
    }
    if let Ok(time) = text.parse::<SnapshotTime>() {
        let _ = time.before(&now().to_zoned(jiff::tz::TimeZone::UTC));
    }
}

/// The text of an indirect object.
pub(crate) fn object_list(text: &[u8]) {
    let Ok(pieces) = parse_list(text) else { return };
    assert_eq!(parse_list(&encode_list(&pieces).unwrap()).expect("it reads what it wrote"), pieces);
}

/// The text of a directory object.
pub(crate) fn directory(json: &[u8]) {
    let Ok(directory) = Directory::parse(json) else { return };
    for entry in &directory.entries {
        let written = serde_json::to_vec(entry).unwrap();
        let again: Entry = serde_json::from_slice(&written).expect("it reads what it wrote");
        assert_eq!(serde_json::to_vec(&again).unwrap(), written);
        assert_eq!((&again.name, again.object, again.size), (&entry.name, entry.object, entry.size));
        assert_eq!((again.mode, again.mtime, again.link()), (entry.mode, entry.mtime, entry.link()));
        assert_eq!((again.xattrs(), &again.summary), (entry.xattrs(), &entry.summary));
        // What a later larder says of its kind cannot be said again.
        assert!(again.kind == entry.kind || entry.kind == Kind::Unknown);
    }
    if let Some(first) = directory.entries.first() {
        assert!(directory.find(first.name.as_bytes()).is_some());
    }
    let _ = Summary::of_directory(now(), &directory.entries);
}

/// A content with manifests, or the JSON in it.
pub(crate) fn manifests(content: &[u8]) {
    let versions =
        if content.starts_with(&[0x1f, 0x8b]) { document::decode(content) } else { document::parse(content) };
    let Ok(versions) = versions else { return };
    let again = document::decode(&document::encode(&versions).unwrap()).expect("it reads what it wrote");
    assert_eq!(again.len(), versions.len());
    for (again, before) in again.iter().zip(&versions) {
        assert_eq!((again.id, &again.labels, again.deleted), (before.id, &before.labels, before.deleted));
        assert_eq!(again.modified, before.modified);
        let text = |data: &document::Version| data.data.as_ref().map(|data| data.get().to_owned());
        assert_eq!(text(again), text(before));
    }
}

/// The document of a snapshot.
pub(crate) fn snapshot(json: &[u8]) {
    let Some(manifest) = manifest(json, "snapshot") else { return };
    let Ok(mut snapshot) = Snapshot::parse(&manifest) else { return };
    assert_eq!(snapshot.id, Some(manifest.id));
    snapshot.id = None;
    reads_back_value(&snapshot, |before, after: &Snapshot| {
        (&before.source, before.start_time, &before.tags) == (&after.source, after.start_time, &after.tags)
    });
    let _ = snapshot.labels();
}

/// The document of a policy.
pub(crate) fn policy(json: &[u8]) {
    let Ok(policy) = serde_json::from_slice::<Policy>(json) else { return };
    reads_back_value(&policy, |before, after| before == after);
    let source = SourceInfo { host: "h".into(), user_name: "u".into(), path: "/a/b".into() };
    let stored = [(source.clone(), policy)];
    let effective = effective_policy(&source, &stored).policy;
    let _ = (effective.max_file_size(), effective.parallel_upload_above_size(), effective.max_parallel_file_reads());
    let tree = PolicyTree::for_source(&source, &stored);
    let _ = IgnoreContext::for_directory(None, b"", &tree, &[]);
}

/// A file with ignore rules.
pub(crate) fn ignore_rules(file: &[u8]) {
    let tree = PolicyTree::for_source(&SourceInfo::global(), &[]);
    let Ok(context) = IgnoreContext::for_directory(None, b"", &tree, &[(".kopiaignore", file.to_vec())]) else {
        return;
    };
    for (directory, name) in [("", "a"), ("a/b", "file.txt"), ("a", ".hidden"), ("\u{fffd}/[", "*?\\")] {
        for is_directory in [false, true] {
            context.ignores(directory.as_bytes(), name.as_bytes(), is_directory);
        }
    }
    // The rules' own text is the path that comes closest to matching.
    context.ignores(b"a", file.get(..200).unwrap_or(file), false);
}

/// `repository.config`.
pub(crate) fn client_config(json: &[u8]) {
    let Ok(config) = serde_json::from_slice::<ClientConfig>(json) else { return };
    reads_back_value(&config, |before, after| before == after);
    if let Ok(storage) = config.storage() {
        hides_secrets(storage);
    }
    let _ = (config.identity(), config.cache_directory("/etc/repository.config".as_ref(), None));
}

/// A word that says where a repository is.
pub(crate) fn connection_token(token: &[u8]) {
    let Ok(token) = std::str::from_utf8(token) else { return };
    let Ok(token) = ConnectionToken::decode(token) else { return };
    hides_secrets(&token.storage);
    let again = ConnectionToken::decode(&token.encode().unwrap()).expect("it reads what it wrote");
    assert_eq!((again.storage, again.password), (token.storage, token.password));
}

fn hides_secrets(storage: &StorageConfig) {
    if let Value::Object(members) = &storage.without_secrets()["config"]
        && let Some(Value::String(secret)) = members.get("secretAccessKey")
    {
        assert!(secret.bytes().all(|byte| byte == b'*'));
    }
}

/// What a compressed content may have in [`compressed`].
const LONGEST_DECOMPRESSED: usize = 256 << 10;

/// A compressed content: header and stream of any compressor.
pub(crate) fn compressed(stored: &[u8]) {
    let Ok(plain) = decompress(stored, None, Length::AtMost(LONGEST_DECOMPRESSED)) else { return };
    let length = plain.len();
    assert!(length <= LONGEST_DECOMPRESSED);
    assert_eq!(decompress(stored, None, Length::Exact(length)).as_deref(), Ok(plain.as_slice()));
    assert!(decompress(stored, None, Length::Exact(length + 1)).is_err());
    if let Some(shorter) = length.checked_sub(1) {
        assert!(decompress(stored, None, Length::AtMost(shorter)).is_err());
    }
    let id = u32::from_be_bytes(*stored.first_chunk().unwrap());
    let algorithm = CompressionAlgorithm::from_header_id(id).unwrap();
    let mut again = Vec::new();
    if Compressor::new().compress(algorithm, &plain, &mut again).unwrap() {
        assert_eq!(decompress(&again, Some(algorithm), Length::Exact(length)), Ok(plain));
    }
}

fn manifest(json: &[u8], kind: &str) -> Option<Manifest> {
    let data = serde_json::value::RawValue::from_string(String::from_utf8(json.to_vec()).ok()?).ok()?;
    let labels = [("type".to_owned(), kind.to_owned())].into();
    Some(Manifest { id: "00112233445566778899aabbccddeeff".parse().unwrap(), labels, modified: now(), data })
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).unwrap()
}

/// What can be parsed, reads back as the same value.
fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(json) {
        reads_back_value(&value, |before, after| before == after);
    }
}

/// A value reads back as one that is the same, and that is written the same.
fn reads_back_value<T: Serialize + DeserializeOwned + Debug>(value: &T, same: impl Fn(&T, &T) -> bool) {
    let written = larder::json::to_vec(value).unwrap();
    let again: T = serde_json::from_slice(&written).expect("it reads what it wrote");
    assert!(same(value, &again), "{value:?} became {again:?}");
    assert_eq!(larder::json::to_vec(&again).unwrap(), written);
}

fn reads_back_text<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("it reads what it wrote"), value);
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
