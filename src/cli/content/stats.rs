//! `larder content stats`

use std::collections::BTreeMap;

use larder::content::index::IndexEntry;

use super::{compressor, saved};
use crate::cli::app::App;
use crate::cli::histogram::Histogram;
use crate::cli::output::Output;
use crate::cli::ranges::RangeArgs;
use crate::cli::units::bytes;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder content stats
  larder content stats --non-prefixed       # file data only")]
pub(in crate::cli) struct Args {
    /// Sizes as plain numbers of bytes
    #[arg(long, short = 'r')]
    raw: bool,
    #[command(flatten)]
    range: RangeArgs,
}

#[derive(Default)]
struct Sum {
    count: u64,
    original: u64,
    packed: u64,
}

impl Sum {
    fn add(&mut self, entry: &IndexEntry) {
        self.count += 1;
        self.original += u64::from(entry.original_length);
        self.packed += u64::from(entry.packed_length);
    }
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let (mut all, mut histogram) = (Sum::default(), Histogram::default());
    // Those without a compressor come first.
    let mut methods: BTreeMap<Option<String>, Sum> = BTreeMap::new();
    let each = |entry: IndexEntry| {
        if !entry.deleted {
            all.add(&entry);
            histogram.add(entry.packed_length.into());
            methods.entry(compressor(&entry)).or_default().add(&entry);
        }
        Ok(())
    };
    args.range.for_each(&repository, each, |e| app.report_unusable(&e))?;
    let size = |n: u64| if args.raw { n.to_string() } else { bytes(n) };
    let mut out = Output::new();
    out.line(format!("Count: {}", all.count))?;
    out.line(format!("Total Bytes: {}", size(all.original)))?;
    out.line(format!("Total Packed: {} (compression {})", size(all.packed), saved(all.original, all.packed)))?;
    out.line("By Method:")?;
    for (name, Sum { count, original, packed }) in &methods {
        match name {
            None => out.line(format!("  {:<22} count: {count} size: {}", "(uncompressed)", size(*original)))?,
            Some(name) => out.line(format!(
                "  {name:<22} count: {count} size: {} packed: {} compression: {}",
                size(*original),
                size(*packed),
                saved(*original, *packed)
            ))?,
        }
    }
    out.line(format!("Average: {}", size(all.original.checked_div(all.count).unwrap_or(0))))?;
    histogram.print(&mut out, size)?;
    out.finish()
}
