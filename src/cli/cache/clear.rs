//! `larder cache clear`

use anyhow::bail;
use clap::ValueEnum;

use crate::cli::app::App;

#[derive(Debug, clap::Args)]
#[command(after_help = "Nothing is lost: what is needed is fetched again. Commands that are running go on.

Examples:
  larder cache clear
  larder cache clear --partial=indexes")]
pub(in crate::cli) struct Args {
    /// Only this part
    #[arg(long, value_enum, value_name = "PART")]
    partial: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Contents of files, and with metadata, which larder keeps together
    Contents,
    /// The same
    Metadata,
    Indexes,
    /// Kopia's; larder has none
    OwnWrites,
    /// Kopia's; larder has none
    BlobList,
}

pub(super) fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let (_, cache) = super::open(app)?;
    let cleared = match args.partial {
        None => cache.clear(),
        Some(Part::Contents | Part::Metadata) => cache.clear_contents(),
        Some(Part::Indexes) => cache.clear_indexes(),
        Some(Part::OwnWrites | Part::BlobList) => true,
    };
    if !cleared {
        bail!("cannot clear the cache{}", cache.problem().map(|why| format!(": {why}")).unwrap_or_default());
    }
    tracing::info!("Cache cleared.");
    Ok(())
}
