//! `larder snapshot delete`

use std::collections::BTreeMap;

use anyhow::bail;
use larder::manifest::{ManifestId, ManifestSet};
use larder::object::ObjectId;
use larder::policy::Level;
use larder::repo::Identity;
use larder::snapshot::manifest::{self, Snapshot};
use larder::snapshot::{labels_of_all, manifest::labels_of_source};

use crate::cli::app::App;
use crate::cli::units::time;

#[derive(Debug, clap::Args)]
#[command(after_help = "Without --delete it only says what it would delete.
The root object of several snapshots stands for all of them: they hold the same.
The space is freed by the repository's maintenance, later.

Examples:
  larder snapshot delete 48072582bf2c92f943f718ec4e56aeb3            # only tells
  larder snapshot delete 48072582bf2c92f943f718ec4e56aeb3 --delete
  larder snapshot delete --all-snapshots-for-source me@oldhost:/home/me --delete")]
pub(in crate::cli) struct Args {
    /// Ids of snapshots or of their root objects; sources with --all-snapshots-for-source
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Delete all snapshots of the sources named
    #[arg(long)]
    all_snapshots_for_source: bool,
    /// Do delete
    #[arg(long)]
    delete: bool,
    /// The old name of --delete
    #[arg(long, hide = true)]
    unsafe_ignore_source: bool,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let delete = args.delete || args.unsafe_ignore_source;
    let repository = if delete { app.open_for_writing().await? } else { app.open().await? };
    let manifests = app.manifests(&repository).await?;
    // All of it is found before anything is deleted; what is named twice counts once.
    let mut named = BTreeMap::new();
    for text in &args.ids {
        let found = if args.all_snapshots_for_source {
            of_source(app, &manifests, repository.identity(), text)?
        } else {
            by_id(&manifests, text)?
        };
        named.extend(found.into_iter().filter_map(|snapshot| Some(((snapshot.start_time, snapshot.id?), snapshot))));
    }
    for ((start, id), Snapshot { source, .. }) in &named {
        let start = time(*start, app.zone());
        if delete {
            tracing::info!("Deleting snapshot {id} of {source} at {start}...");
        } else {
            tracing::info!("Would delete snapshot {id} of {source} at {start} (pass --delete to confirm)");
        }
    }
    if !delete {
        return Ok(());
    }
    let writer = repository.writer().await?;
    for (_, id) in named.keys() {
        match writer.manifests().get(*id) {
            Some(manifest) => writer.delete_manifest(manifest),
            None => tracing::info!("Snapshot {id} has been deleted meanwhile."),
        }
    }
    Ok(writer.commit().await?)
}

fn of_source(app: &App, manifests: &ManifestSet, identity: &Identity, text: &str) -> anyhow::Result<Vec<Snapshot>> {
    let source = app.source(text, identity)?;
    if source.level() != Level::Path {
        bail!("{text:?} is not a source of snapshots: name one with its path, such as user@host:/path");
    }
    let found = understood(manifest::find(manifests, &labels_of_source(&source)))?;
    if found.is_empty() {
        bail!("no snapshots of {source}");
    }
    Ok(found)
}

/// The snapshot of this id, or all those with this root object.
fn by_id(manifests: &ManifestSet, text: &str) -> anyhow::Result<Vec<Snapshot>> {
    if let Some(manifest) = text.parse::<ManifestId>().ok().and_then(|id| manifests.get(id)) {
        if manifest.kind() != manifest::KIND {
            bail!("{text} is not a snapshot: it is a manifest of type {:?}", manifest.kind());
        }
        return Ok(vec![Snapshot::parse(manifest)?]);
    }
    let root = text.parse::<ObjectId>().ok();
    let (all, errors) = manifest::find(manifests, &labels_of_all());
    let found: Vec<Snapshot> =
        all.into_iter().filter(|s| root.is_some() && s.root_entry.as_ref().map(|entry| entry.object) == root).collect();
    if found.is_empty() {
        // One that cannot be understood may have been meant.
        understood((found, errors))?;
        bail!("snapshot {text:?} not found");
    }
    Ok(found)
}

fn understood<E: Into<anyhow::Error>>((found, errors): (Vec<Snapshot>, Vec<E>)) -> anyhow::Result<Vec<Snapshot>> {
    match errors.into_iter().next() {
        Some(e) => Err(e.into()),
        None => Ok(found),
    }
}
