//! The command line: kopia's (format page 26), so that users and scripts can switch.
//!
//! Each command is a file with its arguments and what it does. [`app`] opens repositories for them, [`output`] and
//! [`units`] print. Data goes to standard output; messages, warnings and progress to standard error. The exit code is
//! 0 or 1, as kopia's.

mod app;
mod args;
mod blob;
mod cache;
mod caching;
mod content;
mod hints;
mod histogram;
mod index;
mod list;
mod logging;
mod manifest;
mod mount;
mod output;
mod policy;
mod progress;
mod ranges;
mod repository;
mod restore;
mod show;
mod snapshot;
mod units;
mod unmount;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use app::App;
use args::GlobalArgs;

#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    about = "Backups in kopia's repository format: snapshot, mount, list, verify and restore",
    after_help = "Examples:
  larder repository create filesystem --path /mnt/backup
  larder snapshot create /home/me
  larder snapshot list
  larder mount all /mnt/backups
  larder restore SNAPSHOT /tmp/restored
  larder policy set --global --compression=zstd --add-ignore='*.tmp'
  larder repository connect filesystem --path /mnt/backup     # one that kopia made",
    disable_help_subcommand = false
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create, connect to and look at repositories
    #[command(visible_alias = "repo", subcommand)]
    Repository(Box<repository::Command>),
    /// Make, list, check and delete snapshots
    #[command(visible_alias = "snap", subcommand)]
    Snapshot(snapshot::Command),
    /// Restore a snapshot, or a directory or file in one
    Restore(restore::Args),
    /// Show snapshots as a file system
    Mount(mount::Args),
    /// End what `mount` began
    #[command(visible_alias = "umount")]
    Unmount(unmount::Args),
    /// Show and change what is backed up, how, and for how long it is kept
    #[command(visible_alias = "policies", subcommand)]
    Policy(policy::Command),
    /// List the entries of a directory in a snapshot
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print a file, or any object, in a snapshot
    #[command(visible_alias = "cat")]
    Show(show::Args),
    /// Look at manifests: labelled documents, such as snapshots and policies
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Look at contents: the pieces that data is stored in
    #[command(subcommand)]
    Content(content::Command),
    /// Look at index blobs: where contents are
    #[command(subcommand)]
    Index(index::Command),
    /// Look at blobs: what lies in the storage
    #[command(subcommand)]
    Blob(blob::Command),
    /// Look at, fill and empty the cache: what is kept on this machine of what was read
    #[command(subcommand)]
    Cache(cache::Command),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let command = args::with_negations(Cli::command());
    let cli = match parse(command, std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Some(command) = cli.command else {
        // As kopia does: usage, and no error.
        _ = args::with_negations(Cli::command()).print_help();
        return ExitCode::SUCCESS;
    };
    let app = match App::new(cli.global) {
        Ok(app) => app,
        Err(e) => return fail(&e),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e.into()),
    };
    let done = runtime.block_on(async {
        app.watch_signals();
        let done = run(&app, command).await;
        app.report_caches().await;
        done
    });
    // Blocking calls that hang must not keep the program from ending.
    runtime.shutdown_background();
    match done {
        Ok(()) if app.is_degraded() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Repository(command) => repository::run(app, *command).await,
        Command::Snapshot(command) => snapshot::run(app, command).await,
        Command::Restore(args) => restore::run(app, args).await,
        Command::Mount(args) => mount::run(app, args).await,
        Command::Unmount(args) => unmount::run(&args),
        Command::Policy(command) => policy::run(app, command).await,
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
        Command::Manifest(command) => manifest::run(app, command).await,
        Command::Content(command) => content::run(app, command).await,
        Command::Index(command) => index::run(app, command).await,
        Command::Blob(command) => blob::run(app, command).await,
        Command::Cache(command) => cache::run(app, command).await,
    }
}

fn parse(mut command: clap::Command, arguments: impl Iterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let parsed = command.try_get_matches_from_mut(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|e| {
        use clap::error::ErrorKind;
        match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                _ = e.print();
                ExitCode::SUCCESS
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                _ = e.print();
                ExitCode::FAILURE
            }
            _ => {
                let text = e.render().to_string();
                let text = text.trim_start_matches("error: ").trim_end();
                eprintln!("larder: error: {text}");
                ExitCode::FAILURE
            }
        }
    })
}

fn fail(e: &anyhow::Error) -> ExitCode {
    output::error(&hints::explain(e));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_consistent() {
        args::with_negations(Cli::command()).debug_assert();
    }
}
