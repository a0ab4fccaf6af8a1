//! `larder restore`, also `larder snapshot restore`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use clap::{ArgAction, ValueEnum};
use larder::manifest::ManifestSet;
use larder::repo::Repository;
use larder::snapshot::entry::Entry;
use larder::snapshot::resolve::{self, SnapshotTime};
use larder::snapshot::restore::{Progress, RestoreOptions, restore};

use super::app::{App, clean_path};
use super::progress;
use super::units::{bytes, time};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder restore 48072582bf2c92f943f718ec4e56aeb3 /tmp/all       # a snapshot, by its id
  larder restore k632c2f952d1662cd5e3dfbd4b63a70a5/etc/hosts hosts   # one file in it
  larder restore /home/me/notes /tmp/notes --snapshot-time 3d-ago   # a path as it was")]
pub(super) struct Args {
    /// Snapshot, object or path to restore, and where to; a path alone is restored in place
    #[arg(value_name = "SOURCE [TARGET]", required = true, num_args = 1..=2)]
    arguments: Vec<String>,
    /// Fail when a directory exists and is not empty
    #[arg(long = "no-overwrite-directories", action = ArgAction::SetFalse)]
    overwrite_directories: bool,
    /// Fail when a file exists
    #[arg(long = "no-overwrite-files", action = ArgAction::SetFalse)]
    overwrite_files: bool,
    /// Fail when a symbolic link exists
    #[arg(long = "no-overwrite-symlinks", action = ArgAction::SetFalse)]
    overwrite_symlinks: bool,
    /// Leave blocks of zeros out, as holes
    #[arg(long)]
    write_sparse_files: bool,
    /// Form of what is written: larder writes directories and files, no archives
    #[arg(long, value_enum, default_value = "auto", value_name = "MODE")]
    mode: Mode,
    /// Threads
    #[arg(long, default_value_t = 8, value_name = "N")]
    parallel: usize,
    /// Do not set owners
    #[arg(long)]
    skip_owners: bool,
    /// Do not set permissions
    #[arg(long)]
    skip_permissions: bool,
    /// Do not set times
    #[arg(long)]
    skip_times: bool,
    /// Fail when owner, permissions or times cannot be set
    #[arg(long = "no-ignore-permission-errors", action = ArgAction::SetFalse)]
    ignore_permission_errors: bool,
    /// Write each file under another name first, and rename it when it is complete
    #[arg(long)]
    write_files_atomically: bool,
    /// Go on when an entry cannot be restored
    #[arg(long)]
    ignore_errors: bool,
    /// Leave files alone that have the same size and time
    #[arg(long)]
    skip_existing: bool,
    /// Delete what is in the target and not in the snapshot
    #[arg(long)]
    delete_extra: bool,
    /// Which snapshot of a path: latest, oldest, 3d-ago, 2026-11-21 …
    #[arg(long, default_value = "latest", value_name = "TIME")]
    snapshot_time: SnapshotTime,
    /// Sync each file to disk
    #[arg(long)]
    flush_files: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Auto,
    Local,
    Zip,
    ZipNocompress,
    Tar,
    Tgz,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let (source, target) = match args.arguments.as_slice() {
        [source, target] => (source, Some(PathBuf::from(target))),
        [source] => (source, None),
        _ => bail!("restore needs a source, and a target unless the source is a path"),
    };
    refuse_archives(args.mode, target.as_deref())?;
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let (entry, target) = if resolve::is_object_path(source) {
        let target = target.context("restore needs a target directory for a snapshot or object")?;
        (resolve::object_path(repository.contents(), &manifests, source).await?, target)
    } else {
        find_path(app, &args, &repository, &manifests, source, target).await?
    };
    let target = clean_path(&target)?;
    tracing::info!("Restoring to local filesystem ({}) with parallelism={}...", target.display(), args.parallel);
    let progress = Arc::new(Progress::default());
    let contents = Arc::clone(repository.contents());
    let work = restore(contents, entry, &target, args.options(), Arc::clone(&progress), app.stop.clone());
    let done = progress::watch(app, work, || status(&progress), || tell(&progress)).await;
    if done.is_ok() {
        tracing::info!("{}\n", summary(&progress));
        let attributes = progress.attribute_errors.load(Ordering::Relaxed);
        if attributes > 0 {
            tracing::warn!(
                "{attributes} attributes (owners, permissions, times, extended attributes) could not be restored."
            );
        }
    }
    Ok(done?)
}

/// A target that kopia would take for an archive must not become a directory of that name by surprise.
fn refuse_archives(mode: Mode, target: Option<&Path>) -> anyhow::Result<()> {
    let name = target.and_then(Path::file_name).map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let archive = [".zip", ".tar", ".tar.gz", ".tgz"].iter().any(|suffix| name.ends_with(suffix));
    match mode {
        Mode::Local => Ok(()),
        Mode::Auto if !archive => Ok(()),
        Mode::Auto => {
            bail!("larder restores to directories, not to archives: use --mode=local for a directory of this name")
        }
        _ => bail!("larder restores to directories, not to archives: use --mode=local"),
    }
}

/// The entry of a path as it was, and where to restore it to: in place, unless told otherwise.
async fn find_path(
    app: &App,
    args: &Args,
    repository: &Repository,
    manifests: &ManifestSet,
    text: &str,
    target: Option<PathBuf>,
) -> anyhow::Result<(Entry, PathBuf)> {
    let identity = repository.identity();
    let source = app.source(text, identity)?;
    let found = resolve::path_at(repository.contents(), manifests, &source, &args.snapshot_time, &app.now()).await?;
    tracing::info!(
        "Restoring from\n  Snapshot source: {}\n  Snapshot time: {}\n  Relative path: {}\n  Object ID: {}",
        found.snapshot.source,
        time(found.snapshot.start_time, app.zone()),
        if found.relative.is_empty() { "." } else { &found.relative },
        found.entry.object
    );
    let target = match target {
        Some(target) => target,
        None if (&source.host, &source.user_name) == (&identity.hostname, &identity.username) => {
            PathBuf::from(&source.path)
        }
        None => bail!("restore needs a target for a path of another user or host"),
    };
    Ok((found.entry, target))
}

impl Args {
    fn options(&self) -> RestoreOptions {
        RestoreOptions {
            overwrite_directories: self.overwrite_directories,
            overwrite_files: self.overwrite_files,
            overwrite_symlinks: self.overwrite_symlinks,
            write_sparse_files: self.write_sparse_files,
            skip_owners: self.skip_owners,
            skip_permissions: self.skip_permissions,
            skip_times: self.skip_times,
            ignore_permission_errors: self.ignore_permission_errors,
            write_files_atomically: self.write_files_atomically,
            ignore_errors: self.ignore_errors,
            skip_existing: self.skip_existing,
            delete_extra: self.delete_extra,
            flush_files: self.flush_files,
            parallel: self.parallel,
        }
    }
}

fn status(progress: &Progress) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let done = get(&progress.files) + get(&progress.directories) + get(&progress.symlinks);
    format!(
        "Processed {done} ({}) of {} ({}).",
        bytes(get(&progress.bytes)),
        get(&progress.found_entries),
        bytes(get(&progress.found_bytes))
    )
}

fn tell(progress: &Progress) {
    for note in progress.take_notes() {
        tracing::warn!("{note}");
    }
}

/// `Restored 6 files, 4 directories and 1 symbolic links (50 KB).`
fn summary(progress: &Progress) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = format!(
        "Restored {} files, {} directories and {} symbolic links ({})",
        get(&progress.files),
        get(&progress.directories),
        get(&progress.symlinks),
        bytes(get(&progress.bytes))
    );
    if get(&progress.skipped) > 0 {
        text.push_str(&format!(", skipped {} ({})", get(&progress.skipped), bytes(get(&progress.skipped_bytes))));
    }
    for (count, what) in [
        (get(&progress.deleted_directories), "deleted directories"),
        (get(&progress.deleted_files), "deleted files"),
        (get(&progress.deleted_symlinks), "deleted symbolic links"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {what} {count}"));
        }
    }
    if get(&progress.ignored_errors) > 0 {
        text.push_str(&format!(", ignored {} errors", get(&progress.ignored_errors)));
    }
    text + "."
}
