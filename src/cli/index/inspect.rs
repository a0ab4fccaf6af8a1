//! `larder index inspect`

use anyhow::bail;
use futures::StreamExt;
use jiff::Timestamp;
use larder::blob::{BlobId, BlobMetadata};
use larder::content::id::ContentId;
use larder::content::index::{Index, IndexEntry};

use crate::cli::app::App;
use crate::cli::output::Output;
use crate::cli::units::time_precise;

#[derive(Debug, clap::Args)]
#[command(after_help = "A line for each entry: when the index blob was written, its name, the content, created or \
deleted, when, its pack, and offset and length in it.

Examples:
  larder index inspect xn0_8f9f856e178348082de5f974489904e2-sb21cc5bf44e80d02147-c1
  larder index inspect --all --content-id=kfdabd9015c77f87055e2047f845560ca")]
pub(in crate::cli) struct Args {
    /// Names of index blobs
    #[arg(value_name = "BLOB")]
    blobs: Vec<BlobId>,
    /// All index blobs, those that do not count any more included
    #[arg(long, conflicts_with_all = ["blobs", "active"])]
    all: bool,
    /// All index blobs that count
    #[arg(long, conflicts_with = "blobs")]
    active: bool,
    /// Only entries of these contents
    #[arg(long, value_name = "ID")]
    content_id: Vec<ContentId>,
    /// Index blobs to fetch at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    parallel: usize,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    if !args.all && !args.active && args.blobs.is_empty() {
        bail!("name index blobs to inspect, or pass --all or --active");
    }
    let repository = app.open().await?;
    let contents = repository.contents();
    let blobs: Vec<BlobMetadata> = if args.blobs.is_empty() {
        let listed = contents.index_blobs().await?.into_iter();
        listed.filter(|blob| args.all || blob.superseded.is_none()).map(|blob| blob.metadata).collect()
    } else {
        let mut named = Vec::new();
        for id in &args.blobs {
            named.push(repository.storage().stat(id).await?);
        }
        named
    };
    let mut out = Output::new();
    let mut indexes = futures::stream::iter(blobs)
        .map(|blob| async move { (contents.open_index(&blob.id).await, blob) })
        .buffered(args.parallel.max(1));
    while let Some((index, blob)) = indexes.next().await {
        match index {
            Ok(index) => args.print(&mut out, app, &blob, &index)?,
            // The others can still be looked at.
            Err(e) if args.blobs.is_empty() => {
                tracing::error!("{}", larder::error::chain(&e));
                app.set_degraded();
            }
            Err(e) => return Err(e.into()),
        }
    }
    out.finish()
}

impl Args {
    fn print(&self, out: &mut Output, app: &App, blob: &BlobMetadata, index: &Index) -> anyhow::Result<()> {
        let written = time_precise(blob.timestamp, app.zone());
        for position in 0..index.len() {
            let IndexEntry { id, timestamp, deleted, pack, pack_offset, packed_length, .. } =
                match index.entry(position) {
                    Ok(entry) => entry,
                    Err(e) => {
                        app.report_unusable(&e);
                        continue;
                    }
                };
            if !self.content_id.is_empty() && !self.content_id.contains(&id) {
                continue;
            }
            let state = if deleted { "deleted" } else { "created" };
            let changed = i64::try_from(timestamp).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            let changed = time_precise(changed.unwrap_or(Timestamp::MAX), app.zone());
            out.line(format!("{written} {} {id} {state} {changed} {pack} {pack_offset} {packed_length}", blob.id))?;
        }
        Ok(())
    }
}
