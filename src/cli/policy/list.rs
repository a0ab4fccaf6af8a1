//! `larder policy list`

use larder::policy::{Policy, SourceInfo};
use serde::Serialize;

use super::load;
use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{JsonList, Output};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder policy list
  larder policy list --json | jq -r '.[] | select(.scheduling.manual) | .target.path'")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    target: &'a SourceInfo,
    #[serde(flatten)]
    policy: &'a Policy,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let mut policies = load(app, &manifests);
    policies.sort_by(|a, b| a.target.cmp(&b.target));
    if args.json.json {
        let mut list = JsonList::begin(args.json)?;
        for stored in &policies {
            list.item(&Item { id: stored.id.to_string(), target: &stored.target, policy: &stored.policy })?;
        }
        return list.end();
    }
    let mut out = Output::new();
    for stored in &policies {
        out.line(format!("{} {}", stored.id, stored.target))?;
    }
    out.finish()
}
