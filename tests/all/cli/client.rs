//! A client of a repository: a configuration file and the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use larder::clock::SystemClock;
use larder::format::SecretBytes;
use larder::repo::config::ClientConfig;
use larder::repo::{Credential, OpenOptions, Repository, Writer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a command printed.
pub(super) struct Done {
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

pub(super) struct Client {
    root: PathBuf,
    password: String,
    _directory: TempDir,
}

impl Client {
    /// Of a copy of a repository that kopia made.
    pub(super) fn of_fixture(name: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let archive = zstd::decode_all(data(&format!("fixtures/{name}.tar.zst")).as_slice()).unwrap();
        tar::Archive::new(archive.as_slice()).unpack(directory.path()).unwrap();
        let mut client = Self { root: directory.path().join(name), password: String::new(), _directory: directory };
        client.password = client.expected()["password"].as_str().unwrap().trim().to_owned();
        client.connect();
        client
    }

    /// Of a new repository of the user `usr` on the host `hst`.
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().to_owned();
        let client = Self { root, password: "pässwörd".to_owned(), _directory: directory };
        let path = client.path("repo");
        client.ok(&[
            "repository",
            "create",
            "filesystem",
            "--path",
            path.to_str().unwrap(),
            "--override-username=usr",
            "--override-hostname=hst",
        ]);
        client
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Writes the configuration as kopia does.
    fn connect(&self) {
        let config = json!({
            "storage": {
                "type": "filesystem",
                "config": {"path": self.path("repo"), "fileMode": 0o600, "dirMode": 0o700, "dirShards": null},
            },
            "hostname": "fixhost",
            "username": "fixuser",
            "description": "Repository in Filesystem",
            "enableActions": false,
            "formatBlobCacheDuration": 900_000_000_000_i64,
        });
        fs::write(self.path("config"), config.to_string()).unwrap();
    }

    /// Writes through the library what no command writes.
    #[tokio::main(flavor = "multi_thread", worker_threads = 1)]
    pub(super) async fn write<T>(&self, write: impl FnOnce(&Writer) -> T) -> T {
        let repository = self.open().await;
        let writer = repository.writer().await.unwrap();
        let written = write(&writer);
        writer.commit().await.unwrap();
        written
    }

    /// The repository, opened through the library.
    pub(super) async fn open(&self) -> Repository {
        let config = ClientConfig::load(&self.path("config")).unwrap();
        let options =
            OpenOptions { identity: config.identity(), cache: Default::default(), clock: Arc::new(SystemClock) };
        let credential = Credential::Password(SecretBytes::new(self.password.clone().into_bytes()));
        let storage = config.storage().unwrap().open(false).unwrap();
        Repository::open(storage, &credential, options).await.unwrap()
    }

    /// A path in the client's own directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn expected(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("expected.json")).unwrap()).unwrap()
    }

    /// The program, in an environment that has nothing of ours.
    pub(super) fn bare_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.env_clear().env("HOME", self.path("home")).env("TZ", "UTC").current_dir(&self.root);
        command
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command();
        command
            .env("KOPIA_PASSWORD", &self.password)
            .arg("--config-file")
            .arg(self.path("config"))
            .arg("--timezone=utc")
            .args(arguments);
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        Done { code: output.status.code(), stdout: output.stdout, stderr }
    }

    /// What a command prints that succeeds.
    pub(super) fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
        String::from_utf8(done.stdout).unwrap()
    }

    /// The messages of a command that succeeds.
    pub(super) fn messages(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
        done.stderr
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(arguments);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    /// The error of a command that fails, prints nothing else and changes nothing.
    pub(super) fn fails(&self, arguments: &[&str]) -> String {
        let before = self.everything();
        let done = self.run(arguments);
        assert_eq!(done.code, Some(1), "{arguments:?} did not fail: {}", done.stderr);
        assert_eq!(String::from_utf8(done.stdout).unwrap(), "", "{arguments:?}");
        assert_eq!(self.everything(), before, "{arguments:?} changed something");
        done.stderr
    }

    /// Every file and directory of the repository, and the configuration, and when it was written.
    pub(super) fn everything(&self) -> BTreeMap<PathBuf, (SystemTime, u64)> {
        let mut found = BTreeMap::new();
        let mut todo = vec![self.path("repo")];
        while let Some(path) = todo.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.insert(path, (metadata.modified().unwrap(), metadata.len()));
        }
        let config = self.path("config");
        let metadata = fs::metadata(&config).unwrap();
        found.insert(config, (metadata.modified().unwrap(), metadata.len()));
        found
    }

    /// The file of a blob.
    pub(super) fn blob(&self, id_prefix: &str) -> PathBuf {
        let (_, path) =
            self.blobs().into_iter().find(|(id, _)| id.starts_with(id_prefix)).expect("there is such a blob");
        path
    }

    /// All blobs with their files.
    pub(super) fn blobs(&self) -> Vec<(String, PathBuf)> {
        let repository = self.path("repo");
        let id_of = |path: &Path| {
            let relative = path.strip_prefix(&repository).ok()?.to_str()?;
            Some(relative.replace('/', "").strip_suffix(".f")?.to_owned())
        };
        self.everything().into_keys().filter_map(|path| Some((id_of(&path)?, path))).collect()
    }
}

/// A file of `tests/data`.
pub(super) fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(super) fn sample(name: &str) -> Value {
    serde_json::from_slice(&data(&format!("samples/{name}"))).unwrap()
}

/// Compares with a file of `tests/data/cli`; with BLESS set, writes that instead, to be looked at.
pub(super) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli").join(name);
    if std::env::var_os("BLESS").is_some() {
        return fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}");
}
