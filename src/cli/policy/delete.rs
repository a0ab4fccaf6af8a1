//! `larder policy delete`

use larder::policy::store;

use super::TargetArgs;
use crate::cli::app::App;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder policy delete /home/me/notes
  larder policy delete --dry-run me@oldhost")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    /// Only tell what would be deleted
    #[arg(long, short = 'n')]
    dry_run: bool,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = if args.dry_run { app.open().await? } else { app.open_for_writing().await? };
    let manifests = app.manifests(&repository).await?;
    let mut found = Vec::new();
    for target in args.targets.resolve(app, &manifests, repository.identity())? {
        // What cannot be understood can still be deleted: its labels say whose it is.
        let labels = target.policy_labels()?;
        if manifests.find(&labels).any(|manifest| manifest.labels == labels) {
            found.push(target);
        } else {
            tracing::warn!("{target} has no policy of its own.");
        }
    }
    for target in &found {
        tracing::info!(
            "{} policy on {:?}...",
            if args.dry_run { "Would remove" } else { "Removing" },
            target.to_string()
        );
    }
    if args.dry_run || found.is_empty() {
        return Ok(());
    }
    let writer = repository.writer().await?;
    for target in &found {
        store::delete(&writer, target)?;
    }
    Ok(writer.commit().await?)
}
