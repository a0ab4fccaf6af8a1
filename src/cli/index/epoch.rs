//! `larder index epoch list`

use anyhow::Context;
use clap::Subcommand;
use larder::blob::BlobMetadata;

use crate::cli::app::App;
use crate::cli::output::Output;
use crate::cli::units::{bytes, duration, time};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List epochs, the newest first
    #[command(visible_alias = "ls")]
    List,
}

pub(super) async fn list(app: &App) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let epochs = repository.contents().epochs().context("the repository has no epochs: it is of an older format")?;
    let size = |blobs: &[BlobMetadata]| bytes(blobs.iter().map(|blob| blob.length).sum());
    let mut out = Output::new();
    out.line(format!("Current Epoch: {}", epochs.write_epoch))?;
    if let Some(started) = epochs.started() {
        out.line(format!("Epoch Started  {}", time(started, app.zone())))?;
    }
    for epoch in (epochs.after_chain()..=epochs.write_epoch).rev() {
        if let Some(blobs) = epochs.single(epoch) {
            let written = blobs.first().map(|blob| time(blob.timestamp, app.zone())).unwrap_or_default();
            out.line(format!("{epoch}: {written} single-epoch {} blobs, {}", blobs.len(), size(blobs)))?;
            continue;
        }
        let blobs = epochs.uncompacted(epoch);
        let times = || blobs.iter().map(|blob| blob.timestamp);
        if let Some((first, last)) = times().min().zip(times().max()) {
            let span = last.duration_since(first).unsigned_abs();
            // To the second, below which it says nothing.
            let span = duration(std::time::Duration::from_secs((span.as_millis() as u64 + 500) / 1000));
            let (first, last) = (time(first, app.zone()), time(last, app.zone()));
            out.line(format!("{epoch} {first} ... {last}, {} blobs, {}, span {span}", blobs.len(), size(blobs)))?;
        }
    }
    for (first, last, blobs) in epochs.ranges() {
        out.line(format!("{first}-{last}: range, {} blobs, {}", blobs.len(), size(blobs)))?;
    }
    out.finish()
}
