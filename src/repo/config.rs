//! The client configuration: which repository, and as whom (format page 12).
//!
//! One JSON file, kopia's: a file that kopia wrote is used as it is, and one that larder wrote serves kopia. What
//! larder does not know in it is kept. It is readable by its owner only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Identity;
use crate::blob::registry::StorageConfig;
use crate::content::cache::DiskCacheOptions;
use crate::durable::{create_directories, sync_directory};

/// Name of the file, unless another is asked for.
pub const DEFAULT_FILE: &str = "repository.config";
/// Bytes of contents that kopia keeps in its cache, unless told otherwise.
const DEFAULT_CACHE_SIZE: i64 = 5_242_880_000;
/// Seconds for which kopia keeps listings.
const DEFAULT_LIST_CACHE_SECONDS: f64 = 30.0;
/// In the directory of kopia's cache, this one is larder's own.
const CACHE_SUBDIRECTORY: &str = "larder";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageConfig>,
    /// A repository behind a kopia server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caching: Option<CachingConfig>,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub username: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permissive_cache_loading: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default)]
    pub enable_actions: bool,
    /// Nanoseconds; negative: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_blob_cache_duration: Option<i64>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What is kept in a cache, and where, by kopia and by larder, each in a place of its own. Sizes in bytes, times in
/// seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachingConfig {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cache_directory: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_cache_size: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub content_cache_size_limit_bytes: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_metadata_cache_size: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata_cache_size_limit_bytes: i64,
    #[serde(default)]
    pub max_list_cache_duration: f64,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CachingConfig {
    /// Bytes for contents with data: the hard limit, or kopia's soft one where there is none.
    fn data_limit(&self) -> u64 {
        limit_of(self.content_cache_size_limit_bytes, self.max_cache_size)
    }

    /// The same for contents with metadata.
    fn metadata_limit(&self) -> u64 {
        limit_of(self.metadata_cache_size_limit_bytes, self.max_metadata_cache_size)
    }

    /// Whether somebody has set sizes: kopia and larder write the same when they are not told any.
    fn is_sized(&self) -> bool {
        let default = Self::default();
        let sizes = |c: &Self| {
            let limits = [c.content_cache_size_limit_bytes, c.metadata_cache_size_limit_bytes];
            (c.max_cache_size, c.max_metadata_cache_size, limits)
        };
        sizes(self) != sizes(&default)
    }
}

fn limit_of(hard: i64, soft: i64) -> u64 {
    u64::try_from(if hard > 0 { hard } else { soft }).unwrap_or(0)
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Default for CachingConfig {
    fn default() -> Self {
        Self {
            cache_directory: String::new(),
            max_cache_size: DEFAULT_CACHE_SIZE,
            content_cache_size_limit_bytes: 0,
            max_metadata_cache_size: DEFAULT_CACHE_SIZE,
            metadata_cache_size_limit_bytes: 0,
            max_list_cache_duration: DEFAULT_LIST_CACHE_SECONDS,
            other: Map::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("repository is not connected. See https://kopia.io/docs/repositories/")]
    NotConnected,
    #[error("the configuration file {path} is not valid")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("the repository is behind a kopia server, which larder cannot use: connect to its storage instead")]
    Server,
    #[error("{what} {path}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the remembered password in {path} is damaged: connect again")]
    Password { path: PathBuf },
    #[error("the connection token cannot be used: {0}")]
    Token(String),
}

impl ClientConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ConfigError::NotConnected),
            Err(source) => return Err(ConfigError::File { what: "cannot read", path: path.to_owned(), source }),
        };
        serde_json::from_slice(&text).map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })
    }

    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })?;
        text.push(b'\n');
        write_private(path, &text)
    }

    /// Where the repository is.
    pub fn storage(&self) -> Result<&StorageConfig, ConfigError> {
        match &self.storage {
            Some(storage) => Ok(storage),
            None if self.api_server.is_some() => Err(ConfigError::Server),
            None => Err(ConfigError::NotConnected),
        }
    }

    pub fn identity(&self) -> Identity {
        Identity { username: self.username.clone(), hostname: self.hostname.clone() }
    }

    /// The directory that larder has for its own in the configured one; None when caching is off. `asked` comes from
    /// the environment, and counts when it is an absolute path.
    pub fn cache_directory(&self, config_path: &Path, asked: Option<&Path>) -> Option<PathBuf> {
        let asked = asked.filter(|path| path.is_absolute()).map(Path::to_owned);
        let configured = self.caching.as_ref().filter(|c| !c.cache_directory.is_empty()).map(|c| {
            let base = config_path.parent().unwrap_or(Path::new("."));
            base.join(&c.cache_directory)
        });
        Some(asked.or(configured)?.join(CACHE_SUBDIRECTORY))
    }
}

impl ClientConfig {
    /// larder's cache on disk; None when caching is off. Its one limit is what is set for data and for metadata, taken
    /// together. For `asked` see [`cache_directory`](Self::cache_directory).
    pub fn disk_cache(&self, config_path: &Path, asked: Option<&Path>) -> Option<DiskCacheOptions> {
        let directory = self.cache_directory(config_path, asked)?;
        let default = CachingConfig::default();
        let caching = self.caching.as_ref().unwrap_or(&default);
        let data = caching.data_limit();
        let limit = data.saturating_add(caching.metadata_limit());
        let options = DiskCacheOptions { directory, limit, data: data > 0, even_of_local: caching.is_sized() };
        (limit > 0).then_some(options)
    }
}

/// The lock of kopia's maintenance.
pub fn maintenance_lock_file(config_path: &Path) -> PathBuf {
    beside(config_path, "mlock")
}

pub(super) fn beside(config_path: &Path, suffix: &str) -> PathBuf {
    let mut path = config_path.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    path.into()
}

/// Removes a file of a configuration, if it is there.
pub fn remove(path: &Path) -> Result<(), ConfigError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ConfigError::File { what: "cannot remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    let lost = |source| ConfigError::File { what: "cannot write", path: path.to_owned(), source };
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_directories(directory, 0o700).map_err(lost)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| lost(io::Error::other(e)))?;
    let temporary = beside(path, &format!("{}.tmp", hex::encode(random)));
    let write = || {
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(directory)
    };
    write().map_err(|e| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        lost(e)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    const KOPIAS: &str = r#"{
  "storage": {
    "type": "filesystem",
    "config": {
      "path": "/data/repo",
      "fileMode": 384,
      "dirMode": 448,
      "dirShards": null
    }
  },
  "caching": {
    "cacheDirectory": "../cache/kopia/0123456789abcdef",
    "maxCacheSize": 5242880000,
    "maxMetadataCacheSize": 5242880000,
    "maxListCacheDuration": 30.0,
    "minContentSweepAge": 600
  },
  "hostname": "hst",
  "username": "usr",
  "description": "Repository in Filesystem: /data/repo",
  "enableActions": false,
  "formatBlobCacheDuration": 900000000000,
  "throttlingLimits": {
    "readsPerSecond": 5
  }
}
"#;

    #[test]
    fn kopias_file_is_kept_as_it_is() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("sub/repository.config");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, KOPIAS).unwrap();
        let config = ClientConfig::load(&path).unwrap();
        assert_eq!(config.identity(), Identity { username: "usr".into(), hostname: "hst".into() });
        config.save(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), KOPIAS);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let cache = |asked: Option<&str>| config.cache_directory(&path, asked.map(Path::new)).unwrap();
        assert_eq!(cache(None), directory.path().join("sub/../cache/kopia/0123456789abcdef/larder"));
        assert_eq!(cache(Some("/fast")), Path::new("/fast/larder"));
        assert_eq!(cache(Some("relative")), cache(None));
    }

    #[test]
    fn sizes_make_one_limit() {
        let config: ClientConfig = serde_json::from_str(KOPIAS).unwrap();
        let cache = |change: &dyn Fn(&mut CachingConfig)| {
            let mut config = config.clone();
            change(config.caching.as_mut().unwrap());
            config.disk_cache(Path::new("/etc/kopia/c"), None)
        };
        let default = cache(&|_| {}).unwrap();
        assert_eq!((default.limit, default.data, default.even_of_local), (10_485_760_000, true, false));
        assert_eq!(default.directory, config.cache_directory(Path::new("/etc/kopia/c"), None).unwrap());
        let limited = cache(&|c| c.content_cache_size_limit_bytes = 1000).unwrap();
        assert_eq!((limited.limit, limited.data, limited.even_of_local), (5_242_881_000, true, true));
        let metadata_only = cache(&|c| {
            c.max_cache_size = 0;
            c.metadata_cache_size_limit_bytes = 7;
        });
        let metadata_only = metadata_only.unwrap();
        assert_eq!((metadata_only.limit, metadata_only.data), (7, false));
        let nothing = |c: &mut CachingConfig| (c.max_cache_size, c.max_metadata_cache_size) = (0, -1);
        assert_eq!(cache(&nothing), None);
        let unconfigured = ClientConfig { caching: None, ..config.clone() };
        assert_eq!(unconfigured.disk_cache(Path::new("/c"), None), None);
        let asked = unconfigured.disk_cache(Path::new("/c"), Some(Path::new("/fast"))).unwrap();
        assert_eq!((asked.directory.to_str().unwrap(), asked.limit), ("/fast/larder", 10_485_760_000));
    }

    #[test]
    fn problems_are_named() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("c");
        assert!(matches!(ClientConfig::load(&path), Err(ConfigError::NotConnected)));
        fs::write(&path, "{").unwrap();
        assert!(matches!(ClientConfig::load(&path), Err(ConfigError::Malformed { .. })));
        fs::write(&path, r#"{"apiServer":{"url":"https://x"}}"#).unwrap();
        assert!(matches!(ClientConfig::load(&path).unwrap().storage(), Err(ConfigError::Server)));
    }
}
