//! `larder blob stats`

use larder::blob::list_all;

use crate::cli::app::App;
use crate::cli::histogram::Histogram;
use crate::cli::output::Output;
use crate::cli::units::bytes;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder blob stats
  larder blob stats --prefix=p         # packs of file data")]
pub(in crate::cli) struct Args {
    /// Sizes as plain numbers of bytes
    #[arg(long, short = 'r')]
    raw: bool,
    /// Only blobs whose names begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let (mut count, mut total, mut histogram) = (0_u64, 0_u64, Histogram::default());
    for blob in list_all(&**repository.storage(), &args.prefix).await? {
        count += 1;
        total = total.saturating_add(blob.length);
        histogram.add(blob.length);
    }
    let size = |n: u64| if args.raw { n.to_string() } else { bytes(n) };
    let mut out = Output::new();
    out.line(format!("Count: {count}"))?;
    out.line(format!("Total: {}", size(total)))?;
    out.line(format!("Average: {}", size(total.checked_div(count).unwrap_or(0))))?;
    histogram.print(&mut out, size)?;
    out.finish()
}
