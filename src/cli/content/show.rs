//! `larder content show`

use std::io::Read;

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use larder::content::id::ContentId;
use larder::json;

use crate::cli::app::App;
use crate::cli::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder content show -j kfdabd9015c77f87055e2047f845560ca    # a directory
  larder content show -j -z m85736a805c0e90ddf3900f97701c1e04  # manifests")]
pub(in crate::cli) struct Args {
    /// Ids of contents
    #[arg(value_name = "ID", required = true)]
    ids: Vec<ContentId>,
    /// Indent JSON
    #[arg(long, short = 'j')]
    json: bool,
    /// Unpack gzip
    #[arg(long, short = 'z')]
    unzip: bool,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    for id in &args.ids {
        // One that was never there is not damage.
        repository.contents().entry(id).map_err(|e| anyhow::anyhow!(e.to_string()))?;
        let content = repository.contents().get(id).await?;
        let shown = args.transform(&content).with_context(|| format!("content {id}"))?;
        let mut out = Output::new();
        out.bytes(&shown)?;
        out.finish()?;
    }
    Ok(())
}

impl Args {
    fn transform(&self, content: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut shown = content.to_vec();
        if self.unzip {
            shown.clear();
            MultiGzDecoder::new(content).read_to_end(&mut shown).context("it is not gzip")?;
        }
        if self.json {
            if serde_json::from_slice::<serde::de::IgnoredAny>(&shown).is_err() {
                bail!("it is not JSON{}", if self.unzip { "" } else { "; manifests need --unzip as well" });
            }
            shown = json::indent(&shown);
            shown.push(b'\n');
        }
        Ok(shown)
    }
}
