//! Makes the corpora of the parsers, `tests/data/corpus/PARSER/`, of the fixtures and vectors beside them:
//!
//!     cargo run --example corpus
//!
//! Everything is made anew but the files `found-…`, on which a parser once failed. Inputs are few and small, since each
//! is damaged in many hundred ways.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use larder::blob::fs::{FilesystemConfig, FilesystemStorage};
use larder::blob::{BlobRange, Storage, list_all};
use larder::clock::SystemClock;
use larder::content::id::Prefix;
use larder::format::{FORMAT_BLOB, FormatBlock, SecretBytes, keys, open_block, testdata};
use larder::repo::{ConnectionToken, Credential, Identity, OpenOptions, Repository};
use serde_json::Value;
use tempfile::TempDir;

type Failed = Box<dyn Error>;

/// Bytes of an input, at most, and inputs of one origin for one parser.
const LONGEST: usize = 3000;
const MOST: usize = 3;

/// Inputs by parser and name.
#[derive(Default)]
struct Corpora(BTreeMap<(&'static str, String), Vec<u8>>);

impl Corpora {
    /// Adds an input unless it is long, or there are enough of its origin, or it is there.
    fn add(&mut self, parser: &'static str, origin: &str, input: impl Into<Vec<u8>>) {
        let input = input.into();
        let same_parser = || self.0.iter().filter(|((of, _), _)| *of == parser);
        if input.len() > LONGEST || same_parser().any(|(_, known)| *known == input) {
            return;
        }
        let number = same_parser().filter(|((_, name), _)| name.starts_with(&format!("{origin}-"))).count();
        if number < MOST {
            self.0.insert((parser, format!("{origin}-{number}")), input);
        }
    }

    fn write(&self, directory: &Path) -> Result<(), Failed> {
        for ((parser, name), input) in &self.0 {
            let directory = directory.join(parser);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(name), input)?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut corpora = Corpora::default();
    let mut archives: Vec<_> = fs::read_dir(data.join("fixtures"))?.collect::<Result<_, _>>()?;
    archives.sort_by_key(fs::DirEntry::file_name);
    for archive in archives {
        from_fixture(&mut corpora, &archive.path()).await?;
    }
    from_vectors(&mut corpora, &data)?;
    written_here(&mut corpora)?;
    let corpus = data.join("corpus");
    if corpus.exists() {
        remove_made(&corpus)?;
    }
    corpora.write(&corpus)
}

/// Removes what an earlier run made.
fn remove_made(corpus: &Path) -> Result<(), Failed> {
    for parser in fs::read_dir(corpus)? {
        for file in fs::read_dir(parser?.path())? {
            let file = file?;
            if !file.file_name().to_string_lossy().starts_with("found-") {
                fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}

/// What kopia wrote into a repository.
async fn from_fixture(corpora: &mut Corpora, archive: &Path) -> Result<(), Failed> {
    let directory = TempDir::new()?;
    tar::Archive::new(zstd::stream::read::Decoder::new(File::open(archive)?)?).unpack(directory.path())?;
    let root = fs::read_dir(directory.path())?.next().ok_or("an empty archive")??.path();
    let name = root.file_name().ok_or("no name")?.to_string_lossy().into_owned();
    let name = name.as_str();
    let expected: Value = serde_json::from_slice(&fs::read(root.join("expected.json"))?)?;
    let password = SecretBytes::new(expected["password"].as_str().ok_or("no password")?.trim().as_bytes().to_vec());
    let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::open(&FilesystemConfig::new(root.join("repo")))?);
    format_of(corpora, name, &*storage, &password).await?;
    corpora.add("sharding", name, fs::read(root.join("repo/.shards"))?);
    let options = OpenOptions {
        identity: Identity { username: "tool".into(), hostname: "tool".into() },
        cache: Default::default(),
        clock: Arc::new(SystemClock),
    };
    let repository = Repository::open(Arc::clone(&storage), &Credential::Password(password), options).await?;
    blobs_of(corpora, name, &*storage, &repository).await?;
    contents_of(corpora, name, &repository).await?;
    for manifest in repository.manifests().await?.iter() {
        match manifest.kind() {
            "snapshot" => corpora.add("snapshot", name, manifest.data.get()),
            "policy" => corpora.add("policy", name, manifest.data.get()),
            _ => {}
        }
    }
    Ok(())
}

async fn format_of(
    corpora: &mut Corpora,
    name: &str,
    storage: &dyn Storage,
    password: &SecretBytes,
) -> Result<(), Failed> {
    let blob = storage.get(&FORMAT_BLOB.parse()?, BlobRange::All).await?;
    let block = FormatBlock::parse(&blob)?;
    let key = block.derive_key(password.as_bytes())?;
    let aad = keys::block_aad(&key, block.unique_id());
    let open = |stored: &[u8]| open_block(&keys::block_key(&key, block.unique_id()), aad.as_bytes(), stored);
    let json: Value = serde_json::from_slice(&blob)?;
    let encrypted = SecretBytes::new(serde_json::from_value::<Base64>(json["encryptedBlockFormat"].clone())?.0);
    corpora.add("parameters", name, open(encrypted.as_bytes())?);
    corpora.add("format_block", name, blob);
    if let Ok(stored) = storage.get(&larder::format::BLOB_CONFIG_BLOB.parse()?, BlobRange::All).await {
        corpora.add("blob_config", name, open(&stored)?);
    }
    Ok(())
}

/// Bytes in JSON.
struct Base64(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = SecretBytes::deserialize(deserializer)?;
        Ok(Self(secret.as_bytes().to_vec()))
    }
}

async fn blobs_of(
    corpora: &mut Corpora,
    name: &str,
    storage: &dyn Storage,
    repository: &Repository,
) -> Result<(), Failed> {
    let mut listing = String::new();
    for blob in list_all(storage, "").await? {
        let id = blob.id.as_str();
        match id.as_bytes() {
            [b'x', b'e' | b'w', ..] => {}
            [b'x' | b'n', ..] => corpora.add("index", name, repository.contents().open_blob(&blob.id).await?),
            [b'm', ..] => corpora.add("compaction_log", name, repository.contents().open_blob(&blob.id).await?),
            [b's', ..] => corpora.add("session_marker", name, repository.contents().open_blob(&blob.id).await?),
            [b'p' | b'q', ..] => {
                let length = blob.length.min(256);
                let range = BlobRange::Part { offset: blob.length - length, length };
                corpora.add("postamble", name, storage.get(&blob.id, range).await?);
            }
            _ => {}
        }
        if id.starts_with('x') {
            listing += &format!("{id}\n");
        }
    }
    corpora.add("epochs", name, listing);
    Ok(())
}

async fn contents_of(corpora: &mut Corpora, name: &str, repository: &Repository) -> Result<(), Failed> {
    let contents = repository.contents();
    for prefix in [Prefix::DIRECTORY, Prefix::INDIRECT, Prefix::MANIFEST] {
        let parser = match prefix {
            Prefix::DIRECTORY => "directory",
            Prefix::INDIRECT => "object_list",
            _ => "manifests",
        };
        for entry in contents.indexes().entries(prefix..=prefix) {
            let id = entry?.id;
            // One fixture is nothing but indexes.
            let Ok(content) = contents.get(&id).await else { continue };
            corpora.add(parser, name, content.to_vec());
            if prefix == Prefix::MANIFEST {
                let mut json = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&content[..]), &mut json)?;
                corpora.add(parser, &format!("{name}-json"), json);
            }
        }
    }
    Ok(())
}

fn from_vectors(corpora: &mut Corpora, data: &Path) -> Result<(), Failed> {
    let load = |file: &str| -> Result<Value, Failed> { Ok(serde_json::from_slice(&fs::read(data.join(file))?)?) };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for version in ["v1", "v2"] {
        for case in list(&load(&format!("vectors/index_{version}.json"))?["cases"]) {
            if let Some(index) = case["stable_hex"].as_str() {
                corpora.add("index", version, hex::decode(index)?);
            }
        }
    }
    for vector in list(&load("vectors/compression.json")?["vectors"]) {
        let name = vector["name"].as_str().unwrap_or_default();
        if let Some(stored) = vector["stored_hex"].as_str() {
            corpora.add("compressed", name, hex::decode(stored)?);
        }
    }
    for scenario in list(&load("vectors/epoch_sets.json")?["scenarios"]) {
        let names: Vec<String> = list(&scenario["blobs"]).iter().map(|blob| text(&blob["id"])).collect();
        corpora.add(
            "epochs",
            &text(&scenario["name"]).replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            names.join("\n"),
        );
    }
    let ids = load("vectors/ids.json")?;
    for kind in ["content_ids_valid", "object_ids"] {
        for case in list(&ids[kind]) {
            corpora.add("ids", kind, text(&case["text"]));
        }
    }
    for vector in list(&load("vectors/sharding.json")?) {
        corpora.add("sharding", "vector", text(&vector["dot_shards_file"]));
    }
    for case in list(&load("samples/ignore-vectors.json")?["cases"]) {
        let pattern = text(&case["pattern"]);
        corpora.add("ignore_rules", &format!("of-{}-characters", pattern.len()), pattern);
    }
    for case in list(&load("samples/source-parse-vectors.json")?["cases"]) {
        let target = text(&case["in"]);
        corpora.add("targets", &format!("of-{}-characters", target.len()), target);
    }
    Ok(())
}

/// What neither fixtures nor vectors have.
fn written_here(corpora: &mut Corpora) -> Result<(), Failed> {
    const LOCKED: &str = r#"{"retentionMode":"COMPLIANCE","retentionPeriod":172800000000000}"#;
    corpora.add("blob_config", "locked", LOCKED);
    let storage = r#"{"type":"filesystem","config":{"path":"/backup","dirShards":null}}"#;
    let cloud = r#"{"type":"s3","config":{"bucket":"b","secretAccessKey":"secret","more":[1,{"a":null}]}}"#;
    for (name, storage) in [("filesystem", storage), ("s3", cloud)] {
        let token = ConnectionToken {
            storage: serde_json::from_str(storage)?,
            password: Some(SecretBytes::new("pässword".into())),
        };
        corpora.add("connection_token", name, token.encode()?.as_bytes());
        let config = format!(
            r#"{{"storage":{storage},"caching":{{"cacheDirectory":"../cache","maxCacheSize":5242880000,"maxListCacheDuration":30}},"hostname":"h","username":"u","description":"d","enableActions":false,"formatBlobCacheDuration":900000000000,"unknown":{{"x":1}}}}"#
        );
        corpora.add("client_config", name, config);
    }
    let rare = r#"{"stream":"kopia:directory","entries":[{"name":"a\ufffd~2","type":"f","mode":"0644","size":6,"mtime":"2020-01-02T03:04:05.678901234Z","uid":1,"gid":1,"obj":"9c0a0123456789ab9c0a0123456789ab","larder":{"link":"7","name":"Yf8=","xattr":{"user.a":"AAE="}}},{"name":"dev","type":"f","obj":"Ik9c0a","larder":{"kind":"chr","rdev":[8,1]}}],"summary":{"size":6,"files":2,"symlinks":0,"dirs":1,"maxTime":"2020-01-02T03:04:05Z","incomplete":"checkpoint","numFailed":1,"errors":[{"path":"x","error":"y"}]}}"#;
    corpora.add("directory", "rare", rare);
    let policy = r#"{"retention":{"keepLatest":5},"files":{"ignore":["*.tmp","!a[[:alpha:]]/**/b"],"maxFileSize":100},"scheduling":{"timeOfDay":[{"hour":1,"min":2}],"cron":["0 3 * * *"]},"compression":{"compressorName":"zstd","neverCompress":[".gz"]},"actions":{"beforeFolder":{"path":"/bin/true","args":["a"],"timeout":5,"mode":"essential"}},"upload":{"maxParallelFileReads":4,"parallelUploadAboveSize":1},"noParent":true}"#;
    corpora.add("policy", "full", policy);
    for (name, time) in
        [("ago", "1y-2mo-3d-ago"), ("time", "2026-11-21T10:30:05+07:00"), ("zone", "2026-11-21 10:30:05 UTC")]
    {
        corpora.add("targets", name, time);
    }
    let mut compressor = larder::format::Compressor::new();
    for algorithm in larder::format::CompressionAlgorithm::ALL {
        let mut stored = Vec::new();
        compressor.compress(algorithm, &testdata::lines(4000), &mut stored)?;
        corpora.add("compressed", &format!("{algorithm}-lines"), stored);
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
