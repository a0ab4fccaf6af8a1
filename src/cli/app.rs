//! What all commands need: configuration, password, repository, signals.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use jiff::Zoned;
use jiff::tz::TimeZone;
use larder::clock::{Clock, SystemClock};
use larder::content::Reader;
use larder::content::cache::{CacheOptions, DiskCacheOptions};
use larder::content::index::IndexError;
use larder::format::{FormatError, SecretBytes};
use larder::policy::SourceInfo;
use larder::repo::config::ClientConfig;
use larder::repo::{Credential, Identity, OpenOptions, Repository, RepositoryError, remembered};
use larder::snapshot::Stop;

use super::args::GlobalArgs;
use super::logging;
use super::units::bytes;

/// Where the cache is, unless configured.
const CACHE_DIRECTORY_VARIABLE: &str = "KOPIA_CACHE_DIRECTORY";

pub(super) struct App {
    pub(super) global: GlobalArgs,
    pub(super) clock: Arc<dyn Clock>,
    /// Set when the user asks to stop.
    pub(super) stop: Stop,
    zone: TimeZone,
    degraded: AtomicBool,
    /// The contents of the repository, once it is open.
    contents: OnceLock<Arc<Reader>>,
}

impl App {
    pub(super) fn new(global: GlobalArgs) -> anyhow::Result<Self> {
        logging::start(&global);
        let zone = match global.timezone.as_deref() {
            None | Some("local" | "original") => TimeZone::system(),
            Some("utc") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).with_context(|| format!("time zone {name:?} is not known"))?,
        };
        Ok(Self {
            global,
            clock: Arc::new(SystemClock),
            stop: Stop::default(),
            zone,
            degraded: AtomicBool::new(false),
            contents: OnceLock::new(),
        })
    }

    /// The first signal asks to stop, the second one does.
    pub(super) fn watch_signals(&self) {
        use tokio::signal::unix::{SignalKind, signal};
        let stop = self.stop.clone();
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if stop.is_set() {
                    std::process::exit(130);
                }
                tracing::info!("Stopping; interrupt again to stop at once.");
                stop.set();
            }
        });
    }

    /// In which zone times are printed.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn now(&self) -> Zoned {
        self.clock.now().to_zoned(self.zone.clone())
    }

    pub(super) fn shows_progress(&self) -> bool {
        !self.global.no_progress && (self.global.progress || std::io::stderr().is_terminal())
    }

    /// Whether the command did its work, but not everything was in order.
    pub(super) fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    pub(super) fn set_degraded(&self) {
        self.degraded.store(true, Ordering::Relaxed);
    }

    /// The configuration file; a bare name lies in the configuration directory.
    pub(super) fn config_path(&self) -> anyhow::Result<PathBuf> {
        let file = &self.global.config_file;
        if file.components().count() > 1 || file.is_absolute() {
            return Ok(std::path::absolute(file)?);
        }
        let directory = user_config_directory().context("neither XDG_CONFIG_HOME nor HOME is set")?;
        Ok(directory.join("kopia").join(file))
    }

    pub(super) fn config(&self) -> anyhow::Result<ClientConfig> {
        Ok(ClientConfig::load(&self.config_path()?)?)
    }

    /// The directory that larder keeps its cache in.
    pub(super) fn cache_directory(&self, config: &ClientConfig) -> anyhow::Result<Option<PathBuf>> {
        Ok(config.cache_directory(&self.config_path()?, asked_cache_directory().as_deref()))
    }

    /// larder's cache on disk; None when caching is off.
    pub(super) fn disk_cache(&self, config: &ClientConfig) -> anyhow::Result<Option<DiskCacheOptions>> {
        Ok(config.disk_cache(&self.config_path()?, asked_cache_directory().as_deref()))
    }

    /// The password to open the repository: given, remembered, or asked for.
    pub(super) fn password(&self) -> anyhow::Result<SecretBytes> {
        if let Some(password) = self.given_password() {
            return Ok(password);
        }
        if let Some(password) = remembered::load_password(&self.config_path()?)? {
            return Ok(password);
        }
        ask("Enter password to open repository: ")
    }

    /// The password of a new repository; asked for twice.
    pub(super) fn new_password(&self) -> anyhow::Result<SecretBytes> {
        if let Some(password) = self.given_password() {
            return Ok(password);
        }
        loop {
            let password = ask("Enter password to create new repository: ")?;
            if password == ask("Re-enter password for verification: ")? {
                return Ok(password);
            }
            eprintln!("Passwords don't match!");
        }
    }

    /// The password of an existing repository that is connected to.
    pub(super) fn password_to_connect(&self) -> anyhow::Result<SecretBytes> {
        self.given_password().map_or_else(|| ask("Enter password to open repository: "), Ok)
    }

    fn given_password(&self) -> Option<SecretBytes> {
        let password = self.global.password.as_deref()?.trim();
        (!password.is_empty()).then(|| SecretBytes::new(password.as_bytes().to_vec()))
    }

    /// Opens the connected repository.
    pub(super) async fn open(&self) -> anyhow::Result<Repository> {
        self.open_with_memory(CacheOptions::default().memory).await
    }

    /// Opens the connected repository, to have so many bytes of decoded contents in memory.
    pub(super) async fn open_with_memory(&self, memory: u64) -> anyhow::Result<Repository> {
        let config = self.config().context("open repository")?;
        self.open_as(&config, self.password()?, memory).await
    }

    /// Opens a repository with a configuration and a password at hand.
    pub(super) async fn open_with(&self, config: &ClientConfig, password: SecretBytes) -> anyhow::Result<Repository> {
        self.open_as(config, password, CacheOptions::default().memory).await
    }

    /// With the remembered key where there is one.
    async fn open_as(&self, config: &ClientConfig, password: SecretBytes, memory: u64) -> anyhow::Result<Repository> {
        let config_path = self.config_path()?;
        let storage = config.storage()?.open(config.readonly).context("cannot open storage")?;
        let options = OpenOptions {
            identity: config.identity(),
            cache: CacheOptions { disk: self.disk_cache(config)?, memory },
            clock: Arc::clone(&self.clock),
        };
        let open = async |credential| Repository::open(Arc::clone(&storage), &credential, options.clone()).await;
        let with_remembered_key = match remembered::load_key(&config_path, &password) {
            Some(key) => match open(Credential::Key(key)).await {
                // The password was changed, and maybe to the one given now.
                Err(RepositoryError::Format(FormatError::WrongPassword)) => None,
                opened => Some(opened),
            },
            None => None,
        };
        let opened = match with_remembered_key {
            Some(opened) => opened,
            None => open(Credential::Password(password.clone()))
                .await
                .inspect(|repository| remember_key(&config_path, &password, repository)),
        };
        let repository = opened.context("failed to open repository")?;
        self.report_damage(&repository);
        // Of several repositories, the first.
        let _ = self.contents.set(Arc::clone(repository.contents()));
        Ok(repository)
    }

    /// Tells what the caches have done.
    pub(super) async fn report_caches(&self) {
        let Some(contents) = self.contents.get() else { return };
        let stats = contents.cache_stats().await;
        tracing::debug!("contents in memory: {} hits, {} misses", stats.memory_hits, stats.memory_misses);
        if let Some(disk) = stats.disk {
            tracing::debug!(
                "cache on disk: {} hits ({}), {} misses, {} written ({}), {} not written, {} evicted ({}), {} damaged",
                disk.hits,
                bytes(disk.hit_bytes),
                disk.misses,
                disk.admitted,
                bytes(disk.admitted_bytes),
                disk.dropped,
                disk.evicted,
                bytes(disk.evicted_bytes),
                disk.damaged + stats.rejected
            );
        }
        if let Some(problem) = stats.problem {
            tracing::debug!("nothing is kept in the cache: {problem}");
        }
    }

    /// Opens the repository to write to it.
    pub(super) async fn open_for_writing(&self) -> anyhow::Result<Repository> {
        if self.config().is_ok_and(|config| config.readonly) {
            anyhow::bail!("the repository is connected read-only: connect again without --readonly to write");
        }
        self.open().await
    }

    /// A source as a user names it: a path here, or with user and host.
    pub(super) fn source(&self, text: &str, identity: &Identity) -> anyhow::Result<SourceInfo> {
        let directory = std::env::current_dir()?;
        let directory = directory.to_str().context("the current directory's path is not UTF-8")?;
        Ok(SourceInfo::parse(text, &identity.hostname, &identity.username, directory)?)
    }

    /// Damage that does not keep the repository from being used must not go unnoticed either.
    fn report_damage(&self, repository: &Repository) {
        for damaged in &repository.contents().indexes().damaged {
            tracing::error!(
                "index blob {} is damaged and was left out: {}. What only it names cannot be read; restore the blob \
                 from a copy of the storage if there is one.",
                damaged.blob,
                damaged.why
            );
            self.set_degraded();
        }
        if let Err(e) = repository.blob_config() {
            tracing::error!(
                "{e}. Everything can be read, but nothing written, as it says for how long new blobs are to be locked. \
                 Put it back from a copy of the storage; if blobs were never locked in this repository, delete it."
            );
            self.set_degraded();
        }
    }

    /// An entry of an index that cannot be used is told, and the command goes on without it.
    pub(super) fn report_unusable(&self, e: &IndexError) {
        tracing::error!("an entry of an index cannot be used: {e}");
        self.set_degraded();
    }

    /// All manifests; those that cannot be read are reported.
    pub(super) async fn manifests(&self, repository: &Repository) -> anyhow::Result<larder::manifest::ManifestSet> {
        let manifests = repository.manifests().await?;
        for unreadable in &manifests.unreadable {
            let content = unreadable.content.map(|id| format!(" in content {id}")).unwrap_or_default();
            tracing::error!("manifests{content} cannot be read: {}", unreadable.why);
            self.set_degraded();
        }
        if !manifests.unreadable.is_empty() {
            tracing::error!(
                "Snapshots and policies are missing here. Put the damaged blob back from a copy of the storage if there \
                 is one."
            );
        }
        Ok(manifests)
    }
}

/// Remembers the key, if the password is remembered too; without it the next time only takes longer.
fn remember_key(config_path: &Path, password: &SecretBytes, repository: &Repository) {
    let done = remembered::load_password(config_path).and_then(|remembered| match remembered {
        Some(remembered) if remembered == *password => {
            remembered::save_key(config_path, password, repository.format_key())
        }
        _ => Ok(()),
    });
    if let Err(e) = done {
        tracing::debug!("the key is not remembered: {}", larder::error::chain(&e));
    }
}

fn asked_cache_directory() -> Option<PathBuf> {
    std::env::var_os(CACHE_DIRECTORY_VARIABLE).map(PathBuf::from)
}

fn ask(prompt: &str) -> anyhow::Result<SecretBytes> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("no password given: set KOPIA_PASSWORD, or use --password");
    }
    Ok(SecretBytes::new(rpassword::prompt_password(prompt)?.into_bytes()))
}

/// `$XDG_CONFIG_HOME` or `~/.config`.
pub(super) fn user_config_directory() -> Option<PathBuf> {
    user_directory("XDG_CONFIG_HOME", ".config")
}

/// `$XDG_CACHE_HOME` or `~/.cache`.
pub(super) fn user_cache_directory() -> Option<PathBuf> {
    user_directory("XDG_CACHE_HOME", ".cache")
}

fn user_directory(variable: &str, in_home: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(in_home)))
}

/// Who this client is, unless told otherwise: the user's login name, and the host's name up to the first dot.
pub(super) fn default_identity() -> Identity {
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let host = host.split('.').next().unwrap_or_default();
    Identity { username: login_name().unwrap_or_else(|| "nobody".to_owned()), hostname: or(host, "nohost") }
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}

/// The name of the user's id in the password file, as far as that is a file; else what the environment says.
fn login_name() -> Option<String> {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let in_file = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    in_file.or_else(|| std::env::var("USER").ok()).filter(|name| !name.is_empty())
}

/// An absolute path without `.`, `..` and doubled slashes, whether it is there or not.
pub(super) fn clean_path(path: &Path) -> anyhow::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        match component {
            std::path::Component::ParentDir => _ = clean.pop(),
            other => clean.push(other),
        }
    }
    Ok(clean)
}
