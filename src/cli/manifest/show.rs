//! `larder manifest show`

use larder::json;
use larder::manifest::{Manifest, ManifestError, ManifestId};

use crate::cli::app::App;
use crate::cli::output::Output;
use crate::cli::units::time;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  larder manifest show 48072582bf2c92f943f718ec4e56aeb3 | grep -v '^//' | jq .rootEntry.obj")]
pub(in crate::cli) struct Args {
    /// Ids of manifests
    #[arg(value_name = "ID", required = true)]
    ids: Vec<ManifestId>,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let mut shown = Vec::new();
    for id in args.ids {
        shown.push(manifests.get(id).ok_or(ManifestError::NotFound(id))?);
    }
    let mut out = Output::new();
    for (number, Manifest { id, labels, modified, data }) in shown.into_iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        out.line(format!("// id: {id}"))?;
        out.line(format!("// length: {}", data.get().len()))?;
        out.line(format!("// modified: {}", time(*modified, app.zone())))?;
        for (key, value) in labels {
            out.line(format!("// label {key}:{value}"))?;
        }
        out.bytes(&json::indent(data.get().as_bytes()))?;
    }
    out.finish()
}
