//! `larder snapshot …`

mod create;
mod delete;
mod list;
mod manual_source;
mod verify;

use clap::Subcommand;

use super::app::App;
use super::restore;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a snapshot of directories or files
    Create(create::Args),
    /// List snapshots
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Restore a snapshot, or a directory or file in one
    Restore(restore::Args),
    /// Check that snapshots can be restored
    Verify(verify::Args),
    /// Delete snapshots
    Delete(delete::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create::run(app, args).await,
        Command::List(args) => list::run(app, args).await,
        Command::Restore(args) => restore::run(app, args).await,
        Command::Verify(args) => verify::run(app, args).await,
        Command::Delete(args) => delete::run(app, args).await,
    }
}
