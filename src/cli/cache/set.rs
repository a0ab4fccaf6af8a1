//! `larder cache set`

use std::path::PathBuf;

use anyhow::{Context, bail};
use larder::repo::config::CachingConfig;

use crate::cli::app::{App, clean_path};
use crate::cli::caching::{CachingArgs, MILLION};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "MB are millions of bytes here. One limit holds for the whole cache: that of file data and that of metadata together.
It holds from the next command on.

Examples:
  larder cache set --content-cache-size-limit-mb=20000 --metadata-cache-size-limit-mb=2000
  larder cache set --content-cache-size-mb=0 --content-cache-size-limit-mb=0      # metadata only
  larder cache set --cache-directory=/fast/cache"
)]
pub(in crate::cli) struct Args {
    /// Directory for the cache; larder uses DIRECTORY/larder
    #[arg(long, value_name = "DIRECTORY")]
    cache_directory: Option<PathBuf>,
    #[command(flatten)]
    caching: CachingArgs,
}

pub(super) fn run(app: &App, args: &Args) -> anyhow::Result<()> {
    let mut config = app.config()?;
    let before = app.cache_directory(&config)?;
    let caching = config.caching.get_or_insert_with(CachingConfig::default);
    let mut changes = Vec::new();
    if let Some(directory) = &args.cache_directory {
        let directory = clean_path(directory)?;
        let text = directory.to_str().context("the path of the cache directory is not UTF-8")?;
        caching.cache_directory = text.to_owned();
        changes.push(format!("changing cache directory to {text}"));
    }
    changes.extend(args.caching.apply(MILLION, caching));
    if changes.is_empty() {
        bail!("no changes: give what to change, such as --content-cache-size-limit-mb=20000");
    }
    if caching.cache_directory.is_empty() {
        bail!("caching is off: give a --cache-directory as well");
    }
    config.save(&app.config_path()?)?;
    for change in changes {
        tracing::info!("{change}");
    }
    if let Some(before) = before.filter(|before| before.exists())
        && app.cache_directory(&config)?.is_some_and(|now| now != before)
    {
        tracing::info!("What is in {} is not used any more and may be deleted.", before.display());
    }
    Ok(())
}
