//! `larder blob show`

use larder::blob::{BlobId, BlobRange};
use larder::json;
use larder::repo::Repository;

use crate::cli::app::App;
use crate::cli::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = "--decrypt acts on logs and, in repositories of format version 1, on indexes and the logs of \
their compaction: blobs whose names begin with _, n, m or l. Contents of packs are shown by larder content show.

Examples:
  larder blob show kopia.repository
  larder blob show --decrypt _log_20261121011808_6b02_1795223888_1795223888_1_df42c8707a95d974e0c9262ffe097367 | zcat")]
pub(in crate::cli) struct Args {
    /// Names of blobs
    #[arg(value_name = "BLOB", required = true)]
    ids: Vec<BlobId>,
    /// Decrypt what is encrypted as a whole
    #[arg(long)]
    decrypt: bool,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    for id in &args.ids {
        let shown = args.read(&repository, id).await?;
        let mut out = Output::new();
        out.bytes(&shown)?;
        out.finish()?;
    }
    Ok(())
}

impl Args {
    async fn read(&self, repository: &Repository, id: &BlobId) -> anyhow::Result<Vec<u8>> {
        if !self.decrypt || !id.starts_with(['_', 'n', 'm', 'l']) {
            return Ok(repository.storage().get(id, BlobRange::All).await?.to_vec());
        }
        let plaintext = repository.contents().open_blob(id).await?;
        if id.starts_with(['m', 'l']) {
            let mut text = json::indent(&plaintext);
            text.push(b'\n');
            return Ok(text);
        }
        Ok(plaintext.to_vec())
    }
}
