//! `larder cache verify`

use crate::cli::app::App;
use crate::cli::units::bytes;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Damage in the cache is found by every command that comes across it, and harms none: what is damaged is fetched
again. This finds all of it at once, which tells whether the disk can be relied on. The repository itself is verified
with `larder snapshot verify`.

Examples:
  larder cache verify"
)]
pub(in crate::cli) struct Args {}

pub(super) fn run(app: &App, Args {}: Args) -> anyhow::Result<()> {
    let (options, cache) = super::open(app)?;
    let verified = cache.verify();
    if verified.damaged > 0 {
        tracing::warn!(
            "{} damaged contents and files were dropped from {}; they are fetched again when they are needed. Damage that \
             comes again is the disk's.",
            verified.damaged,
            options.directory.display()
        );
    }
    tracing::info!("Verified {} contents and files ({}).", verified.whole, bytes(verified.bytes));
    Ok(())
}
