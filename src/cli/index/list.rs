//! `larder index list`

use clap::ValueEnum;
use larder::blob::BlobMetadata;
use larder::content::IndexBlob;
use serde::Serialize;

use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::blob::Item as Blob;
use crate::cli::output::{JsonList, Output};
use crate::cli::units::time;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder index list
  larder index list --superseded --sort=size       # those that were merged into others as well")]
pub(in crate::cli) struct Args {
    /// Print only how many there are, and how large
    #[arg(long)]
    summary: bool,
    /// Those that do not count any more as well
    #[arg(long)]
    superseded: bool,
    /// By what to sort
    #[arg(long, value_enum, value_name = "KEY", default_value = "time")]
    sort: Sort,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sort {
    Time,
    Size,
    Name,
}

#[derive(Serialize)]
struct Item<'a> {
    #[serde(flatten)]
    blob: Blob<'a>,
    /// What took its place; null when it counts.
    #[serde(rename = "Superseded")]
    superseded: Option<Vec<Blob<'a>>>,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let mut blobs = repository.contents().index_blobs().await?;
    blobs.retain(|blob| args.superseded || blob.superseded.is_none());
    match args.sort {
        Sort::Time => blobs.sort_by_key(|blob| blob.metadata.timestamp),
        Sort::Size => blobs.sort_by_key(|blob| blob.metadata.length),
        // So they come.
        Sort::Name => {}
    }
    if args.json.json {
        let mut list = JsonList::begin(args.json)?;
        for IndexBlob { metadata, superseded } in &blobs {
            let superseded = superseded.as_ref().map(|by| by.iter().map(Blob::from).collect());
            list.item(&Item { blob: metadata.into(), superseded })?;
        }
        return list.end();
    }
    let mut out = Output::new();
    if !args.summary {
        for IndexBlob { metadata: BlobMetadata { id, length, timestamp }, superseded } in &blobs {
            let superseded = if superseded.is_some() { " superseded" } else { "" };
            let written = time(*timestamp, app.zone());
            out.line(format!("{:<60} {length:>12} {written}{superseded}", id.as_str()))?;
        }
    }
    if args.summary {
        let size: u64 = blobs.iter().map(|blob| blob.metadata.length).sum();
        out.line(format!("total {} indexes, {size} bytes", blobs.len()))?;
    } else {
        out.line(format!("total {} indexes", blobs.len()))?;
    }
    out.finish()
}
