//! `larder content …`

mod list;
mod show;
mod stats;

use clap::Subcommand;
use larder::content::index::IndexEntry;
use larder::format::CompressionAlgorithm;

use super::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List contents
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print contents
    #[command(visible_alias = "cat")]
    Show(show::Args),
    /// Count contents and add up their sizes
    Stats(stats::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
        Command::Stats(args) => stats::run(app, args).await,
    }
}

/// Name of the compressor of a content, if it is compressed.
fn compressor(entry: &IndexEntry) -> Option<String> {
    let name = |id| match CompressionAlgorithm::from_header_id(id) {
        Ok(algorithm) => algorithm.name().to_owned(),
        Err(_) => format!("unknown-{id:x}"),
    };
    (entry.compression != 0).then(|| name(entry.compression))
}

/// By how much packing made something smaller: `71.0%`.
fn saved(original: u64, packed: u64) -> String {
    let saved = if original == 0 { 0.0 } else { 100.0 * (1.0 - packed as f64 / original as f64) };
    format!("{saved:.1}%")
}
