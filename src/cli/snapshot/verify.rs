//! `larder snapshot verify`

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::bail;
use larder::manifest::{ManifestId, ManifestSet};
use larder::repo::Repository;
use larder::snapshot::entry::{Entry, Kind};
use larder::snapshot::manifest::{self, Snapshot};
use larder::snapshot::verify::{Expected, Progress, Root, VerifyError, VerifyOptions, affected, verify};
use larder::snapshot::{SnapshotError, labels_of_all, resolve};
use serde::Serialize;

use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::json_object;
use crate::cli::progress;
use crate::cli::units::{bytes, time};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every object must have all its contents in an index, and every content must lie inside a pack that \
exists. With --verify-files-percent a part of the files is read as well; 100 is a restore without writing.

Examples:
  larder snapshot verify                                  # everything, quickly
  larder snapshot verify --verify-files-percent=1         # and one file of a hundred, read
  larder snapshot verify --verify-files-percent=100 --max-errors=-1 48072582bf2c92f943f718ec4e56aeb3
  larder snapshot verify --sources /home/me"
)]
pub(in crate::cli) struct Args {
    /// Ids of snapshots; all of them when nothing else is named either
    #[arg(value_name = "ID")]
    snapshot_ids: Vec<String>,
    /// Errors after which to stop; 0: the first, negative: never
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    max_errors: i64,
    /// Objects that are directories
    #[arg(long, value_name = "ID")]
    directory_id: Vec<String>,
    /// Objects that are files
    #[arg(long, value_name = "ID")]
    file_id: Vec<String>,
    /// All sources, as is the default
    #[arg(long, hide = true)]
    all_sources: bool,
    /// All snapshots of these sources
    #[arg(long, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Threads that look at directories
    #[arg(long, value_name = "N", default_value_t = 8)]
    parallel: usize,
    /// Files that may wait to be read
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    file_queue_length: usize,
    /// Threads that read files; one for each CPU unless given
    #[arg(long, value_name = "N", default_value_t = 0)]
    file_parallelism: usize,
    /// Read so many percent of the files
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    verify_files_percent: f64,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    stats: Stats,
    error_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    error_strings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    processed_object_count: u64,
    processed_bytes: u64,
    read_file_count: u64,
    read_bytes: u64,
    expected_total_object_count: u64,
    expected_total_file_count: u64,
    expected_total_bytes: u64,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    if !(0.0..=100.0).contains(&args.verify_files_percent) {
        bail!("--verify-files-percent must be between 0 and 100");
    }
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let mut problems = Vec::new();
    let roots = args.roots(app, &repository, &manifests, &mut problems).await?;
    let expected = Expected::of(&roots);
    let progress = Arc::new(Progress::default());
    let contents = Arc::clone(repository.contents());
    let mut done = Ok(());
    if problems.is_empty() || args.max_errors != 0 {
        let work =
            verify(Arc::clone(&contents), roots.clone(), args.options(), Arc::clone(&progress), app.stop.clone());
        done = progress::watch(app, work, || status(&progress, expected), || {}).await;
    }
    let mut errors = progress.errors();
    let order = |e: &VerifyError| roots.iter().position(|root| Arc::ptr_eq(&root.name, &e.root));
    errors.sort_by(|a, b| (order(a), &a.path).cmp(&(order(b), &b.path)));
    problems.extend(errors.iter().map(describe));
    for problem in &problems {
        tracing::error!("{problem}");
    }
    // What was found before somebody stopped it, or could not go on, is told all the same.
    done?;
    let is_all = usize::try_from(args.max_errors).is_ok_and(|max| errors.len() < max) || args.max_errors < 0;
    if !errors.is_empty() && is_all && roots.len() > 1 {
        let counts = affected(&contents, &roots, &errors, &app.stop).await?;
        for (root, count) in roots.iter().zip(counts).filter(|(_, count)| *count > 0) {
            tracing::error!("Affected: {} ({count} of its files and directories)", root.name);
        }
    }
    if !problems.is_empty() {
        tracing::error!(
            "Put the blobs that are named back from a copy of the storage if there is one. All else can be restored, with \
             larder restore --ignore-errors."
        );
    }
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    tracing::info!(
        "Finished processing {} objects ({}). Read {} files ({}).",
        get(&progress.processed_objects),
        bytes(get(&progress.processed_bytes)),
        get(&progress.read_files),
        bytes(get(&progress.read_bytes))
    );
    let count = problems.len();
    if args.json.json {
        let stats = Stats {
            processed_object_count: get(&progress.processed_objects),
            processed_bytes: get(&progress.processed_bytes),
            read_file_count: get(&progress.read_files),
            read_bytes: get(&progress.read_bytes),
            expected_total_object_count: expected.objects,
            expected_total_file_count: expected.files,
            expected_total_bytes: expected.bytes,
        };
        json_object(args.json, &Report { stats, error_count: count, error_strings: problems })?;
    }
    match count {
        0 => Ok(()),
        1 if args.max_errors == 0 => bail!("found an error and stopped; use --max-errors=-1 to find all of them"),
        1 => bail!("found 1 error"),
        n => bail!("found {n} errors"),
    }
}

/// `snapshot 4807… of usr@hst:/data/src at 2026-11-21 01:04:52 UTC: sub/x.txt: content … does not exist`
fn describe(error: &VerifyError) -> String {
    match error.path.as_str() {
        "" => format!("{}: {}", error.root, error.problem),
        path => format!("{}: {path}: {}", error.root, error.problem),
    }
}

fn status(progress: &Progress, expected: Expected) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "Processed {} of at most {} objects ({}). Read {} files ({}).",
        get(&progress.processed_objects),
        expected.objects,
        bytes(get(&progress.processed_bytes)),
        get(&progress.read_files),
        bytes(get(&progress.read_bytes))
    )
}

impl Args {
    fn options(&self) -> VerifyOptions {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        VerifyOptions {
            parallel: self.parallel,
            file_parallel: if self.file_parallelism == 0 { cpus } else { self.file_parallelism },
            file_queue: self.file_queue_length,
            files_percent: self.verify_files_percent,
            max_errors: u64::try_from(self.max_errors).ok().map(|max| max.max(1)),
        }
    }

    /// What to check. What cannot even be begun with is a problem like others.
    async fn roots(
        &self,
        app: &App,
        repository: &Repository,
        manifests: &ManifestSet,
        problems: &mut Vec<String>,
    ) -> anyhow::Result<Vec<Root>> {
        let (all, unreadable) = manifest::find(manifests, &labels_of_all());
        let everything = self.snapshot_ids.is_empty()
            && self.directory_id.is_empty()
            && self.file_id.is_empty()
            && self.sources.is_empty();
        let mut snapshots: Vec<Snapshot> = Vec::new();
        if everything {
            problems.extend(unreadable.iter().map(|e| larder::error::chain(e)));
            snapshots.clone_from(&all);
        }
        for text in &self.sources {
            let source = app.source(text, repository.identity())?;
            let before = snapshots.len();
            snapshots.extend(all.iter().filter(|snapshot| source.includes(&snapshot.source)).cloned());
            if snapshots.len() == before {
                bail!("no snapshots of {source}");
            }
        }
        for text in &self.snapshot_ids {
            let manifest = text.parse::<ManifestId>().ok().and_then(|id| manifests.get(id));
            match manifest.filter(|manifest| manifest.kind() == manifest::KIND) {
                Some(manifest) => snapshots.push(Snapshot::parse(manifest)?),
                None => bail!("snapshot {text:?} not found"),
            }
        }
        let mut roots = Vec::new();
        for snapshot in snapshots {
            let id = snapshot.id.map(|id| id.to_string()).unwrap_or_default();
            let start = time(snapshot.start_time, app.zone());
            let name = format!("snapshot {id} of {} at {start}", snapshot.source);
            match snapshot.root_entry {
                Some(entry) => roots.push(Root { name: name.into(), entry }),
                None => problems.push(format!("{name}: it has no root")),
            }
        }
        for (texts, is_directory) in [(&self.directory_id, true), (&self.file_id, false)] {
            for text in texts {
                if !resolve::is_object_path(text) {
                    bail!("{text:?} is not an object id");
                }
                let name = format!("{} {text}", if is_directory { "directory" } else { "file" });
                match object(repository, manifests, text, is_directory).await {
                    Ok(entry) => roots.push(Root { name: name.into(), entry }),
                    Err(e) => problems.push(format!("{name}: {}", larder::error::chain(&e))),
                }
            }
        }
        Ok(roots)
    }
}

/// The entry of an object that is said to be a directory or a file.
async fn object(
    repository: &Repository,
    manifests: &ManifestSet,
    text: &str,
    is_directory: bool,
) -> Result<Entry, SnapshotError> {
    let mut entry = resolve::object_path(repository.contents(), manifests, text).await?;
    if is_directory {
        entry.kind = Kind::Directory;
    } else if entry.kind.is_directory() {
        entry.kind = Kind::File;
        entry.size = larder::object::Object::open(repository.contents(), entry.object).await?.len();
    }
    Ok(entry)
}
