//! `larder unmount`

use std::path::PathBuf;

use larder_mount::Unmounted;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder unmount /mnt/backups")]
pub(super) struct Args {
    /// Where it is mounted
    mountpoint: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match larder_mount::unmount(&args.mountpoint)? {
        Unmounted::Wholly => {}
        Unmounted::StillInUse => {
            eprintln!("Unmounted. Some files are still open, and stay readable until they are closed.");
        }
    }
    Ok(())
}
