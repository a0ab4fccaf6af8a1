//! `larder policy …`

mod actions;
mod changes;
mod delete;
mod list;
mod set;
mod settings;
mod show;

use anyhow::bail;
use clap::{Args, Subcommand};
use larder::manifest::ManifestSet;
use larder::policy::{SourceInfo, store};
use larder::repo::Identity;

use super::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the policy in force for a target
    #[command(visible_alias = "get")]
    Show(show::Args),
    /// Change the policy of a target
    Set(set::Args),
    /// List the targets that have policies of their own
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Delete the policy of a target, which then has what less specific ones say
    #[command(visible_aliases = ["remove", "rm"])]
    Delete(delete::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show(args) => show::run(app, args).await,
        Command::Set(args) => set::run(app, args).await,
        Command::List(args) => list::run(app, args).await,
        Command::Delete(args) => delete::run(app, args).await,
    }
}

/// Whom policies are about.
#[derive(Debug, Args)]
struct TargetArgs {
    /// A path, or @host, user@host, user@host:path, (global), or the id of a policy
    #[arg(value_name = "TARGET", conflicts_with = "global")]
    targets: Vec<String>,
    /// The policy of everything
    #[arg(long)]
    global: bool,
}

impl TargetArgs {
    fn resolve(&self, app: &App, manifests: &ManifestSet, identity: &Identity) -> anyhow::Result<Vec<SourceInfo>> {
        if self.global {
            return Ok(vec![SourceInfo::global()]);
        }
        if self.targets.is_empty() {
            bail!("must pass either --global or targets, such as a path");
        }
        self.targets.iter().map(|text| resolve(app, manifests, identity, text)).collect()
    }
}

fn resolve(app: &App, manifests: &ManifestSet, identity: &Identity, text: &str) -> anyhow::Result<SourceInfo> {
    let by_id = text.parse().ok().and_then(|id| manifests.get(id)).filter(|manifest| manifest.kind() == store::KIND);
    Ok(match by_id {
        Some(manifest) => SourceInfo::from_policy_labels(&manifest.labels)?,
        None => app.source(text, identity)?,
    })
}

/// All policies that can be understood; the others are told.
fn load(app: &App, manifests: &ManifestSet) -> Vec<store::StoredPolicy> {
    let (policies, errors) = store::load(manifests);
    for e in &errors {
        tracing::error!("a policy cannot be understood: {}", larder::error::chain(e));
        app.set_degraded();
    }
    policies
}
