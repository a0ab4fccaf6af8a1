//! `larder snapshot …`

mod create;
mod manual_source;

use clap::Subcommand;

use super::app::App;
use super::restore;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a snapshot of directories or files
    Create(create::Args),
    /// Restore a snapshot, or a directory or file in one
    Restore(restore::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create::run(app, args).await,
        Command::Restore(args) => restore::run(app, args).await,
    }
}
