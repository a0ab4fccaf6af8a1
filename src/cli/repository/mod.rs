//! `larder repository …`

mod connect;
mod create;
mod status;
mod storage;

use clap::Subcommand;

use super::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new repository and connect to it
    Create(create::Args),
    /// Connect to an existing repository
    Connect(connect::Args),
    /// Show where the connected repository is, and how it is made
    Status(status::Args),
    /// Forget the connected repository; the repository itself stays
    Disconnect,
}

pub(super) async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create::run(app, args).await,
        Command::Connect(args) => connect::run(app, args).await,
        Command::Status(args) => status::run(app, args).await,
        Command::Disconnect => connect::disconnect(app),
    }
}
