//! `larder index …`

mod epoch;
mod inspect;
mod list;

use clap::Subcommand;

use super::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List index blobs
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print the entries of index blobs
    Inspect(inspect::Args),
    /// Look at index epochs
    #[command(subcommand)]
    Epoch(epoch::Command),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Inspect(args) => inspect::run(app, args).await,
        Command::Epoch(epoch::Command::List) => epoch::list(app).await,
    }
}
