//! `larder cache …`

mod clear;
mod info;
mod prefetch;
mod set;
mod sync;
mod verify;

use anyhow::Context;
use clap::Subcommand;
use larder::content::cache::{DiskCache, DiskCacheOptions};
use larder::content::{Prefetched, Reader};

use super::app::App;
use super::units::bytes;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show where the cache is, what it may take and what it takes
    Info(info::Args),
    /// Change where the cache is and what it may take
    Set(set::Args),
    /// Remove everything from the cache
    Clear(clear::Args),
    /// Fetch all metadata of the repository into the cache
    Sync(sync::Args),
    /// Fetch files and directories into the cache
    Prefetch(prefetch::Args),
    /// Read everything in the cache, and drop what is damaged
    Verify(verify::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Info(args) => info::run(app, args),
        Command::Set(args) => set::run(app, &args),
        Command::Clear(args) => clear::run(app, args),
        Command::Sync(args) => sync::run(app, args).await,
        Command::Prefetch(args) => prefetch::run(app, args).await,
        Command::Verify(args) => verify::run(app, args),
    }
}

/// The cache as it is configured. Needs no password.
fn open(app: &App) -> anyhow::Result<(DiskCacheOptions, DiskCache)> {
    let options = app.disk_cache(&app.config()?)?.context(OFF)?;
    let cache = DiskCache::open(&options);
    Ok((options, cache))
}

const OFF: &str = "caching is off: set sizes with `larder cache set`";
const LOCAL: &str = "contents are not kept, as the repository is on a disk of this machine: set a size with `larder cache set` to keep \
     them all the same";

/// Says so when the repository's contents are not kept.
fn keeps_contents(app: &App, contents: &Reader) -> anyhow::Result<bool> {
    if contents.keeps_contents() {
        return Ok(true);
    }
    app.disk_cache(&app.config()?)?.context(OFF)?;
    tracing::info!("Nothing to do: {LOCAL}.");
    Ok(false)
}

/// Tells what came of fetching contents into the cache.
async fn report(app: &App, contents: &Reader, done: Prefetched) {
    for e in &done.errors {
        tracing::error!("{}", larder::error::chain(e));
        app.set_degraded();
    }
    if done.dropped > 0 {
        let why = contents.cache_stats().await.problem;
        let why = why.unwrap_or_else(|| "they are too long for a cache of this size".to_owned());
        tracing::warn!("{} contents were fetched, but not kept: {why}", done.dropped);
    }
    tracing::info!("Fetched {} contents ({}), {} were there.", done.fetched, bytes(done.bytes), done.skipped);
}
