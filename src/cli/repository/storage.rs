//! Kinds of storage, and what each needs to be told.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use larder::blob::fs::FilesystemConfig;
use larder::blob::registry::StorageConfig;
use larder::format::SecretBytes;
use larder::repo::ConnectionToken;
use larder::repo::config::ClientConfig;

#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// A directory
    #[command(after_help = "Example:\n  larder repository create filesystem --path /mnt/backup")]
    Filesystem(FilesystemArgs),
    /// The storage of another configuration file, or of a token
    #[command(after_help = "Examples:
  larder repository status -t                                        # prints a token
  larder repository connect from-config --token eyJ2ZXJzaW9uIjoi…
  larder repository connect from-config --file /etc/larder/other.config")]
    FromConfig(FromConfigArgs),
}

#[derive(Debug, Args)]
pub(super) struct FilesystemArgs {
    /// Directory of the repository; an absolute path
    #[arg(long, value_name = "DIRECTORY")]
    path: PathBuf,
    /// User id of what is written
    #[arg(long, value_name = "UID")]
    owner_uid: Option<u32>,
    /// Group id of what is written
    #[arg(long, value_name = "GID")]
    owner_gid: Option<u32>,
    /// Permissions of files, octal; 0600 unless given
    #[arg(long, value_name = "MODE", value_parser = parse_octal)]
    file_mode: Option<u32>,
    /// Permissions of directories, octal; 0700 unless given
    #[arg(long, value_name = "MODE", value_parser = parse_octal)]
    dir_mode: Option<u32>,
    /// Put all files into one directory
    #[arg(long)]
    flat: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct FromConfigArgs {
    /// Configuration file of larder or kopia
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Token that repository status -t prints
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File with a token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read a token from standard input
    #[arg(long)]
    token_stdin: bool,
}

fn parse_octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("{text:?} is not an octal mode such as 0600"))
}

/// Where a repository is.
pub(super) struct Location {
    pub(super) storage: StorageConfig,
    /// The one that came with a token.
    pub(super) password: Option<SecretBytes>,
}

impl StorageCommand {
    pub(super) fn location(&self) -> anyhow::Result<Location> {
        match self {
            Self::Filesystem(args) => Ok(Location { storage: args.config()?, password: None }),
            Self::FromConfig(args) => args.location(),
        }
    }
}

impl FilesystemArgs {
    fn config(&self) -> anyhow::Result<StorageConfig> {
        if !self.path.is_absolute() {
            bail!("filesystem repository path must be absolute, not {}", self.path.display());
        }
        let mut config = FilesystemConfig::new(&self.path);
        config.file_mode = Some(self.file_mode.unwrap_or(0o600));
        config.dir_mode = Some(self.dir_mode.unwrap_or(0o700));
        config.uid = self.owner_uid;
        config.gid = self.owner_gid;
        config.dir_shards = self.flat.then(Vec::new);
        Ok(StorageConfig::Filesystem(config))
    }
}

impl FromConfigArgs {
    fn location(&self) -> anyhow::Result<Location> {
        if let Some(file) = &self.file {
            if !file.exists() {
                bail!("there is no configuration file {}", file.display());
            }
            return Ok(Location { storage: ClientConfig::load(file)?.storage()?.clone(), password: None });
        }
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => SecretBytes::new(token.clone().into_bytes()),
            (None, Some(file)) => {
                let token = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                SecretBytes::new(token)
            }
            (None, None) => {
                let mut token = Vec::new();
                std::io::stdin().read_to_end(&mut token).context("cannot read the token")?;
                SecretBytes::new(token)
            }
        };
        let token = std::str::from_utf8(token.as_bytes()).context("the token is not text")?;
        let token = ConnectionToken::decode(token)?;
        Ok(Location { storage: token.storage, password: token.password })
    }
}

impl Location {
    /// How a repository is described, unless told otherwise.
    pub(super) fn description(&self) -> String {
        match &self.storage {
            StorageConfig::Filesystem(config) => format!("Repository in Filesystem: {}", config.path.display()),
            StorageConfig::Unknown { kind, .. } => format!("Repository in {kind}"),
        }
    }
}
