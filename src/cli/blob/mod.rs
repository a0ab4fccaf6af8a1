//! `larder blob …`

mod list;
mod show;
mod stats;

use clap::Subcommand;
pub(super) use list::Item;

use super::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List blobs
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print blobs
    #[command(visible_alias = "cat")]
    Show(show::Args),
    /// Count blobs and add up their sizes
    Stats(stats::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
        Command::Stats(args) => stats::run(app, args).await,
    }
}
