//! Kinds of storage, and what each needs to be told.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use larder::blob::fs::FilesystemConfig;
use larder::blob::registry::StorageConfig;

#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// A directory
    #[command(after_help = "Example:\n  larder repository create filesystem --path /mnt/backup")]
    Filesystem(FilesystemArgs),
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

fn parse_octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("{text:?} is not an octal mode such as 0600"))
}

impl StorageCommand {
    pub(super) fn config(&self) -> anyhow::Result<StorageConfig> {
        match self {
            Self::Filesystem(args) => {
                if !args.path.is_absolute() {
                    bail!("filesystem repository path must be absolute, not {}", args.path.display());
                }
                let mut config = FilesystemConfig::new(&args.path);
                config.file_mode = Some(args.file_mode.unwrap_or(0o600));
                config.dir_mode = Some(args.dir_mode.unwrap_or(0o700));
                config.uid = args.owner_uid;
                config.gid = args.owner_gid;
                config.dir_shards = args.flat.then(Vec::new);
                Ok(StorageConfig::Filesystem(config))
            }
        }
    }

    /// How a repository is described, unless told otherwise.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Filesystem(args) => format!("Repository in Filesystem: {}", args.path.display()),
        }
    }
}
