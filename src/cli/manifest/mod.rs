//! `larder manifest …`

mod list;
mod show;

use clap::Subcommand;

use super::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List manifests: snapshots, policies and what else has labels
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print manifests
    #[command(visible_alias = "cat")]
    Show(show::Args),
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
    }
}
