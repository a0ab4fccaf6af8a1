//! `larder cache prefetch`

use larder::snapshot::contents::contents_below;
use larder::snapshot::resolve;

use crate::cli::app::App;

#[derive(Debug, clap::Args)]
#[command(after_help = "A directory, or a snapshot, is fetched with everything below it.

Examples:
  larder cache prefetch 48072582bf2c92f943f718ec4e56aeb3             # a snapshot
  larder cache prefetch 48072582bf2c92f943f718ec4e56aeb3/var/lib     # a directory of it
  larder cache prefetch 9c0ae84ab761749d8d329adb31e938ce")]
pub(in crate::cli) struct Args {
    /// Ids of objects and snapshots, and paths in them
    #[arg(value_name = "ID[/PATH]", required = true)]
    objects: Vec<String>,
    /// Kopia's way to choose requests; larder reads what lies together at once
    #[arg(long, value_name = "HINT", hide = true)]
    hint: Option<String>,
    /// Requests under way at one time
    #[arg(long, value_name = "N", default_value_t = 16)]
    parallel: usize,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    // Kopia's word for doing nothing.
    if args.hint.as_deref() == Some("none") {
        return Ok(());
    }
    let repository = app.open().await?;
    let contents = repository.contents();
    if !super::keeps_contents(app, contents)? {
        return Ok(());
    }
    let manifests = app.manifests(&repository).await?;
    let mut roots = Vec::new();
    for text in &args.objects {
        let entry = resolve::object_path(contents, &manifests, text).await?;
        roots.push((entry.object, entry.kind.is_directory()));
    }
    let ids = contents_below(contents, roots, &app.stop).await?;
    let done = contents.prefetch(&ids, args.parallel).await;
    super::report(app, contents, done).await;
    Ok(())
}
