//! `larder policy set`

use anyhow::{Context, bail};
use larder::manifest::ManifestSet;
use larder::policy::{Policy, SourceInfo, store};

use super::TargetArgs;
use super::actions::ActionOptions;
use super::changes::Changes;
use crate::cli::app::App;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only what is named is changed. N is a number; inherit (or default) unsets it, so that the less \
specific policies say: those of the directories above, of the user, of the host, the global one.
Retention, scheduling and actions are stored, but not acted on by this version.

Examples:
  larder policy set --global --compression=zstd --add-never-compress=.jpg --add-never-compress=.mp4
  larder policy set /home/me --add-ignore='*.tmp' --add-ignore=/Downloads/
  larder policy set /home/me/notes --keep-daily=30 --keep-monthly=inherit
  larder policy set /srv/db --inherit=false --one-file-system=true"
)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    actions: ActionOptions,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    // Before the password is asked for.
    args.changes.apply(&mut Policy::default(), &args.actions)?;
    let repository = app.open_for_writing().await?;
    let manifests = app.manifests(&repository).await?;
    let targets = args.targets.resolve(app, &manifests, repository.identity())?;
    let mut changed = Vec::new();
    for target in targets {
        let mut policy = stored(&manifests, &target)?;
        let changes = args.changes.apply(&mut policy, &args.actions)?;
        policy.validate(&target).with_context(|| format!("cannot set the policy of {target}"))?;
        changed.push((target, policy, changes));
    }
    let writer = repository.writer().await?;
    for (target, policy, changes) in &changed {
        tracing::info!("Setting policy for {target}");
        for change in changes {
            tracing::info!(" - setting {change}");
        }
        store::set(&writer, target, policy)?;
    }
    Ok(writer.commit().await?)
}

/// The policy of a target to begin with. One that cannot be understood must not be replaced by what is left of it.
fn stored(manifests: &ManifestSet, target: &SourceInfo) -> anyhow::Result<Policy> {
    let labels = target.policy_labels()?;
    let (policies, errors) = store::load(manifests);
    let policies: Vec<_> = policies.into_iter().filter(|stored| stored.target == *target).collect();
    let manifests = manifests.find(&labels).filter(|manifest| manifest.labels == labels).count();
    if manifests > policies.len() {
        let why = errors.first().map(|e| larder::error::chain(e)).unwrap_or_default();
        bail!("the policy of {target} cannot be understood ({why}); delete it to begin anew");
    }
    Ok(policies.into_iter().next().map(|stored| stored.policy).unwrap_or_default())
}
