//! `larder list`, also `larder ls`

use clap::ArgAction;
use larder::content::Reader;
use larder::object::ObjectId;
use larder::snapshot::directory::Directory;
use larder::snapshot::entry::Entry;
use larder::snapshot::{SnapshotError, resolve};

use super::app::App;
use super::output::{self, Output};
use super::units::{bytes, mode, time};

#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  larder ls 48072582bf2c92f943f718ec4e56aeb3                # a snapshot, by its id
  larder ls -l k632c2f952d1662cd5e3dfbd4b63a70a5/etc        # a directory in one
  larder ls -r -o 48072582bf2c92f943f718ec4e56aeb3          # everything in it, with object ids"
)]
pub(super) struct Args {
    /// Id of a snapshot or object, and a path in it
    #[arg(value_name = "ID[/PATH]")]
    object_path: String,
    /// Permissions, size, time and object id as well
    #[arg(long, short = 'l')]
    long: bool,
    /// Sizes for people
    #[arg(long, short = 'h')]
    human_readable: bool,
    /// Directories below as well
    #[arg(long, short = 'r')]
    recursive: bool,
    /// Object ids as well
    #[arg(long, short = 'o')]
    show_object_id: bool,
    /// Do not tell what is missing because it could not be read when the snapshot was made
    #[arg(long = "no-error-summary", action = ArgAction::SetFalse)]
    error_summary: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let entry = resolve::object_path(repository.contents(), &manifests, &args.object_path).await?;
    let mut listing = Listing { app, args: &args, out: Output::new() };
    if !entry.kind.is_directory() {
        listing.entry(&entry, &[])?;
        return listing.out.finish();
    }
    let prefix = match &*args.object_path {
        path if args.recursive && !args.long => format!("{}/", path.trim_end_matches('/')),
        _ => String::new(),
    };
    listing.directory(repository.contents(), entry.object, prefix.into_bytes()).await?;
    listing.out.finish()?;
    if args.error_summary {
        tell_errors(repository.contents(), entry.object).await?;
    }
    Ok(())
}

struct Listing<'a> {
    app: &'a App,
    args: &'a Args,
    out: Output,
}

impl Listing<'_> {
    async fn directory(&mut self, contents: &Reader, object: ObjectId, prefix: Vec<u8>) -> anyhow::Result<()> {
        if self.app.stop.is_set() {
            return Err(SnapshotError::Canceled.into());
        }
        let mut entries = Directory::read(contents, object).await?.entries;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in &entries {
            self.entry(entry, &prefix)?;
            if self.args.recursive && entry.kind.is_directory() {
                let below = [&prefix, entry.name.as_bytes(), b"/"].concat();
                Box::pin(self.directory(contents, entry.object, below)).await?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, prefix: &[u8]) -> anyhow::Result<()> {
        let summary = entry.summary.as_deref().filter(|_| entry.kind.is_directory());
        let mut line = Vec::new();
        if self.args.long {
            let size = summary.map_or(entry.size, |sum| sum.size);
            let size = if self.args.human_readable { bytes(size) } else { size.to_string() };
            let time = time(entry.mtime, self.app.zone());
            line.extend(format!("{} {size:>12} {time} ", mode(entry.kind, entry.mode)).into_bytes());
        }
        if self.args.long || self.args.show_object_id {
            line.extend(format!("{:<34} ", entry.object.to_string()).into_bytes());
        }
        line.extend_from_slice(&output::name(prefix));
        line.extend_from_slice(&output::name(entry.name.as_bytes()));
        if entry.kind.is_directory() && (self.args.long || self.args.recursive) {
            line.push(b'/');
        }
        if let Some(failed) = summary.map(|sum| sum.num_failed).filter(|n| *n > 0) {
            line.extend(format!(" ({failed} errors)").into_bytes());
        }
        self.out.line(line)
    }
}

/// Tells what the snapshot does not have of a directory.
async fn tell_errors(contents: &Reader, object: ObjectId) -> anyhow::Result<()> {
    let Some(summary) = Directory::read(contents, object).await?.summary.filter(|sum| sum.num_failed > 0) else {
        return Ok(());
    };
    tracing::warn!("\nNOTE: Encountered {} errors while snapshotting this directory:\n", summary.num_failed);
    for failed in &summary.errors {
        tracing::warn!("- Error in {:?}: {}", failed.path, failed.error);
    }
    Ok(())
}
