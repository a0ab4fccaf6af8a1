//! `larder show`, also `larder cat`

use anyhow::Context;
use futures::StreamExt;
use larder::content::Reader;
use larder::object::{Object, ObjectId, Piece};
use larder::snapshot::{SnapshotError, resolve};

use super::app::App;
use super::output::Output;

/// Pieces that are fetched before their turn.
const AHEAD: usize = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = "A directory is printed as it is stored: as JSON.

Examples:
  larder show 9c0ae84ab761749d8d329adb31e938ce > hosts
  larder show 48072582bf2c92f943f718ec4e56aeb3/etc/hosts     # in a snapshot
  larder show k632c2f952d1662cd5e3dfbd4b63a70a5 | jq .entries[].name")]
pub(super) struct Args {
    /// Id of an object or snapshot, and a path in it
    #[arg(value_name = "ID[/PATH]")]
    object_path: String,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let text = args.object_path.as_str();
    let is_manifest = text.parse().is_ok_and(|id| manifests.get(id).is_some());
    let id: ObjectId = match text.parse() {
        // Any object will do, also one that no snapshot has.
        Ok(id) if !is_manifest => id,
        _ => resolve::object_path(repository.contents(), &manifests, text).await?.object,
    };
    let object = Object::open(repository.contents(), id).await.with_context(|| format!("cannot open object {id}"))?;
    print(app, repository.contents(), &object).await
}

async fn print(app: &App, contents: &Reader, object: &Object) -> anyhow::Result<()> {
    let mut out = Output::new();
    let read = |piece: Piece| async move { piece.read(contents).await };
    let mut pieces = futures::stream::iter(object.pieces().to_vec()).map(read).buffered(AHEAD);
    while let Some(piece) = pieces.next().await {
        if app.stop.is_set() {
            return Err(SnapshotError::Canceled.into());
        }
        out.bytes(&piece?)?;
    }
    out.finish()
}
