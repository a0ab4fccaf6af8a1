//! `larder repository connect` and `disconnect`

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use larder::content::cache::CacheOptions;
use larder::format::SecretBytes;
use larder::repo::config::{self, CachingConfig, ClientConfig};
use larder::repo::{Credential, Identity, OpenOptions, Repository, remembered};

use super::storage::{Location, StorageCommand};
use crate::cli::app::{self, App};
use crate::cli::args::parse_duration;
use crate::cli::caching::{CachingArgs, MIB};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    storage: StorageCommand,
}

/// How this client uses the repository; flags of `create` as well.
#[derive(Debug, clap::Args)]
pub(super) struct ClientArgs {
    /// Directory for the cache; larder uses DIRECTORY/larder
    #[arg(long, global = true, env = "KOPIA_CACHE_DIRECTORY", value_name = "DIRECTORY")]
    cache_directory: Option<PathBuf>,
    /// Host name of this client
    #[arg(long, global = true, value_name = "NAME")]
    override_hostname: Option<String>,
    /// User name of this client
    #[arg(long, global = true, value_name = "NAME")]
    override_username: Option<String>,
    /// Never write to the repository
    #[arg(long, global = true)]
    readonly: bool,
    /// Description of the repository
    #[arg(long, global = true, value_name = "TEXT")]
    description: Option<String>,
    /// Allow the policies' actions to run
    #[arg(long, global = true)]
    enable_actions: bool,
    /// Kopia's caching of the format block
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    repository_format_cache_duration: Option<Duration>,
    /// No caching of the format block by kopia
    #[arg(long, global = true, hide = true)]
    disable_repository_format_cache: bool,
    #[command(flatten)]
    caching: CachingArgs,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let location = args.storage.location()?;
    let password = match &location.password {
        Some(password) => password.clone(),
        None => app.password_to_connect()?,
    };
    connect(app, &location, &args.client, &password).await?;
    tracing::info!("Connected to repository.");
    Ok(())
}

/// Opens the repository and remembers it.
pub(super) async fn connect(
    app: &App,
    location: &Location,
    args: &ClientArgs,
    password: &SecretBytes,
) -> anyhow::Result<Repository> {
    let config_path = app.config_path()?;
    let default = app::default_identity();
    let identity = Identity {
        username: args.override_username.clone().unwrap_or(default.username),
        hostname: args.override_hostname.clone().unwrap_or(default.hostname),
    };
    let mut config = ClientConfig {
        storage: Some(location.storage.clone()),
        api_server: None,
        caching: None,
        hostname: identity.hostname.clone(),
        username: identity.username.clone(),
        readonly: args.readonly,
        permissive_cache_loading: false,
        description: args.description.clone().unwrap_or_else(|| location.description()),
        enable_actions: args.enable_actions,
        format_blob_cache_duration: Some(args.format_cache_nanoseconds()),
        other: serde_json::Map::new(),
    };
    let open = config.storage()?.open(args.readonly).context("cannot open storage")?;
    let options = OpenOptions { identity, cache: CacheOptions::default(), clock: Arc::clone(&app.clock) };
    let repository = Repository::open(open, &Credential::Password(password.clone()), options)
        .await
        .context("failed to open repository")?;
    config.caching = Some(args.caching(&config_path, repository.unique_id()));
    config.save(&config_path)?;
    if app.global.persist_credentials {
        remembered::save_password(&config_path, password)?;
        remembered::save_key(&config_path, password, repository.format_key())?;
    } else {
        remembered::forget(&config_path)?;
    }
    Ok(repository)
}

impl ClientArgs {
    fn format_cache_nanoseconds(&self) -> i64 {
        match self.repository_format_cache_duration {
            _ if self.disable_repository_format_cache => -1,
            Some(duration) if !duration.is_zero() => i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX),
            _ => 900_000_000_000,
        }
    }

    fn caching(&self, config_path: &Path, unique_id: &[u8]) -> CachingConfig {
        let directory = match &self.cache_directory {
            Some(directory) => Some(directory.clone()),
            None => default_cache_directory(config_path, unique_id),
        };
        let cache_directory = directory.map(|d| d.display().to_string()).unwrap_or_default();
        let mut caching = CachingConfig { cache_directory, ..CachingConfig::default() };
        self.caching.apply(MIB, &mut caching);
        caching
    }
}

/// Kopia's own default, so that both use one place: named by repository and configuration file.
fn default_cache_directory(config_path: &Path, unique_id: &[u8]) -> Option<PathBuf> {
    use aws_lc_rs::digest::{SHA256, digest};
    let name = digest(&SHA256, &[unique_id, config_path.as_os_str().as_encoded_bytes()].concat());
    Some(app::user_cache_directory()?.join("kopia").join(&hex::encode(name)[..16]))
}

pub(super) fn disconnect(app: &App) -> anyhow::Result<()> {
    let config_path = app.config_path()?;
    let config = app.config()?;
    // Only what is larder's: another program may still use the rest.
    if let Some(directory) = app.cache_directory(&config)? {
        match fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                tracing::warn!("cannot remove the cache in {}: {e}", directory.display());
            }
            _ => {}
        }
    }
    remembered::forget(&config_path)?;
    config::remove(&config::maintenance_lock_file(&config_path))?;
    Ok(config::remove(&config_path)?)
}
