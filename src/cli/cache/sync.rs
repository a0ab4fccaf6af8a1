//! `larder cache sync`

use crate::cli::app::App;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Metadata are directories, lists of the pieces of large files, and manifests. With all of them in the cache,
listing and comparing snapshots needs no requests.

Examples:
  larder cache sync
  larder cache sync --parallel=32"
)]
pub(in crate::cli) struct Args {
    /// Requests under way at one time
    #[arg(long, value_name = "N", default_value_t = 16)]
    parallel: usize,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let contents = repository.contents();
    if super::keeps_contents(app, contents)? {
        let ids = contents.metadata_ids().await?;
        let done = contents.prefetch(&ids, args.parallel).await;
        super::report(app, contents, done).await;
    }
    Ok(())
}
