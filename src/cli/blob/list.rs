//! `larder blob list`

use larder::blob::{BlobMetadata, list_all};
use serde::Serialize;

use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{JsonList, Output};
use crate::cli::units::time;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder blob list --prefix=x                 # indexes
  larder blob list --data-only --min-size=1000000
  larder blob list --json | jq 'map(.length) | add'")]
pub(in crate::cli) struct Args {
    /// Only blobs whose names begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// No blobs whose names begin so
    #[arg(long, value_name = "PREFIX")]
    exclude_prefix: Vec<String>,
    /// Only blobs of so many bytes or more
    #[arg(long, value_name = "BYTES")]
    min_size: Option<u64>,
    /// Only blobs of so many bytes or fewer
    #[arg(long, value_name = "BYTES")]
    max_size: Option<u64>,
    /// Only packs of contents
    #[arg(long)]
    data_only: bool,
    #[command(flatten)]
    json: JsonArgs,
}

/// A blob as kopia shows it.
#[derive(Serialize)]
pub(in crate::cli) struct Item<'a> {
    id: &'a str,
    length: u64,
    timestamp: jiff::Timestamp,
}

impl<'a> From<&'a BlobMetadata> for Item<'a> {
    fn from(blob: &'a BlobMetadata) -> Self {
        Self { id: blob.id.as_str(), length: blob.length, timestamp: blob.timestamp }
    }
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let mut blobs = list_all(&**repository.storage(), &args.prefix).await?;
    blobs.retain(|blob| args.has(blob));
    if args.json.json {
        let mut list = JsonList::begin(args.json)?;
        blobs.iter().try_for_each(|blob| list.item(&Item::from(blob)))?;
        return list.end();
    }
    let mut out = Output::new();
    for BlobMetadata { id, length, timestamp } in &blobs {
        out.line(format!("{:<70} {length:>10} {}", id.as_str(), time(*timestamp, app.zone())))?;
    }
    out.finish()
}

impl Args {
    fn has(&self, blob: &BlobMetadata) -> bool {
        !self.exclude_prefix.iter().any(|prefix| blob.id.starts_with(prefix))
            && self.min_size.is_none_or(|least| blob.length >= least)
            && self.max_size.is_none_or(|most| blob.length <= most)
            && (!self.data_only || blob.id.starts_with(['p', 'q']))
    }
}
