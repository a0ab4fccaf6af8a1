//! `larder snapshot create`

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use larder::policy::{Policy, PolicyTree, SourceInfo, store};
use larder::repo::{Repository, Writer};
use larder::snapshot::create::{CHECKPOINT_INTERVAL, CreateOptions, create};
use larder::snapshot::manifest::{LONGEST_DESCRIPTION, Snapshot};
use larder::snapshot::upload::{Progress, Severity, Source, UploadOptions};

use crate::cli::app::{App, clean_path};
use crate::cli::args::{JsonArgs, parse_duration, parse_tags};
use crate::cli::output::json_object;
use crate::cli::units::{bytes, duration};
use crate::cli::{progress, snapshot::manual_source};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder snapshot create /home/me /etc
  pg_dump mydb | larder snapshot create /dumps/mydb --stdin-file mydb.sql
  larder snapshot create /dumps/mydb --stdin-file mydb.sql --stdin-command -- pg_dump mydb")]
pub(in crate::cli) struct Args {
    /// Directories or files; with --stdin-file, the path under which the stream is kept
    #[arg(value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// All sources of this user and host that were snapshotted before and are not manual
    #[arg(long)]
    all: bool,
    /// Bytes, in MiB, after which to end with an incomplete snapshot
    #[arg(long, value_name = "MB", default_value_t = 0)]
    upload_limit_mb: u64,
    /// How often to save the work so far; at most 45m
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    checkpoint_interval: Option<Duration>,
    /// Description of the snapshot
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Stop at the first error
    #[arg(long, env = "KOPIA_SNAPSHOT_FAIL_FAST")]
    fail_fast: bool,
    /// Read so many percent of unchanged files all the same
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    force_hash: f64,
    /// Files to read at once; 0: as the policy says
    #[arg(long, value_name = "N", default_value_t = 0)]
    parallel: usize,
    /// Start time to record instead of the real one: 2006-01-02 15:04:05 UTC
    #[arg(long, value_name = "TIME")]
    start_time: Option<String>,
    /// End time to record instead of the real one
    #[arg(long, value_name = "TIME")]
    end_time: Option<String>,
    /// Do not run actions, whatever the configuration says
    #[arg(long, hide = true)]
    force_disable_actions: bool,
    /// Run actions, whatever the configuration says
    #[arg(long, hide = true, conflicts_with = "force_disable_actions")]
    force_enable_actions: bool,
    /// Read standard input as a file of this name
    #[arg(long, value_name = "NAME")]
    stdin_file: Option<String>,
    /// Run the command after -- and read its output instead of standard input; nothing is saved if it fails
    #[arg(long, requires = "stdin_file")]
    stdin_command: bool,
    /// The command of --stdin-command
    #[arg(last = true, value_name = "COMMAND", requires = "stdin_command")]
    command: Vec<String>,
    /// Tags of the snapshot, each key:value
    #[arg(long, value_name = "KEY:VALUE")]
    tags: Vec<String>,
    /// Pins that keep the snapshot whatever the policy says
    #[arg(long, value_name = "PIN")]
    pin: Vec<String>,
    /// Keep the snapshot as one of another source: user@host:path, or a path
    #[arg(long, value_name = "SOURCE")]
    override_source: Option<String>,
    #[command(flatten)]
    json: JsonArgs,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let options = args.options()?;
    let repository = app.open_for_writing().await?;
    let manifests = app.manifests(&repository).await?;
    let (policies, errors) = store::load(&manifests);
    if let Some(e) = errors.first() {
        bail!("a policy cannot be understood, and so cannot be followed: {}", larder::error::chain(e));
    }
    let policies = store::by_target(&policies);
    let sources = args.sources(app, &repository, &manifests, &policies)?;
    let mut failed = Vec::new();
    for (path, source) in sources {
        if app.stop.is_set() {
            break;
        }
        let result = snapshot_one(app, &args, &repository, &options, &policies, path, &source).await;
        if let Err(e) = result {
            failed.push(e.context(format!("failed to snapshot {source}")));
        }
    }
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        n => {
            let lines: Vec<String> = failed.iter().map(|e| larder::error::chain(e.as_ref())).collect();
            bail!("encountered {n} errors:\n{}", lines.join("\n"))
        }
    }
}

impl Args {
    fn options(&self) -> anyhow::Result<CreateOptions> {
        if self.description.len() > LONGEST_DESCRIPTION {
            bail!("description too long: {} bytes, at most {LONGEST_DESCRIPTION}", self.description.len());
        }
        let tags = parse_tags(&self.tags)?;
        let mut pins = self.pin.clone();
        pins.sort();
        pins.dedup();
        let checkpoint_interval = self.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL);
        if checkpoint_interval > CHECKPOINT_INTERVAL {
            bail!("--checkpoint-interval must be at most {}", duration(CHECKPOINT_INTERVAL));
        }
        let (start_time, end_time) = (parse_time(self.start_time.as_deref())?, parse_time(self.end_time.as_deref())?);
        if start_time.zip(end_time).is_some_and(|(start, end)| start > end) {
            bail!("start time override must come before the end time override");
        }
        Ok(CreateOptions {
            upload: UploadOptions {
                parallel: self.parallel,
                force_hash: self.force_hash,
                fail_fast: self.fail_fast,
                limit: (self.upload_limit_mb > 0).then(|| self.upload_limit_mb.saturating_mul(1 << 20)),
            },
            description: self.description.clone(),
            tags,
            pins,
            start_time,
            end_time,
            checkpoint_interval,
        })
    }

    /// What to read, and the source it is kept as.
    fn sources(
        &self,
        app: &App,
        repository: &Repository,
        manifests: &larder::manifest::ManifestSet,
        policies: &[(SourceInfo, Policy)],
    ) -> anyhow::Result<Vec<(PathBuf, SourceInfo)>> {
        let identity = repository.identity();
        if self.all {
            if !self.sources.is_empty() {
                bail!("cannot use --all when a source path is provided");
            }
            return Ok(manual_source::all_automatic(manifests, policies, identity));
        }
        if self.sources.is_empty() {
            bail!("no snapshot sources: name a directory or file, or use --all");
        }
        if self.stdin_file.is_some() && self.sources.len() > 1 {
            bail!("--stdin-file goes with one source path only");
        }
        if self.override_source.is_some() && self.sources.len() > 1 {
            bail!("--override-source goes with one source path only");
        }
        let mut sources = Vec::new();
        for path in &self.sources {
            let path = clean_path(path)?;
            let source = match &self.override_source {
                Some(text) => manual_source::parse(app, text, identity)?,
                None => SourceInfo {
                    host: identity.hostname.clone(),
                    user_name: identity.username.clone(),
                    path: path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned(),
                },
            };
            sources.push((path, source));
        }
        Ok(sources)
    }

    fn input(&self, path: PathBuf, now: Timestamp) -> anyhow::Result<Source> {
        let Some(name) = self.stdin_file.clone() else {
            if let Ok(real) = path.canonicalize()
                && path.is_symlink()
            {
                tracing::info!("{} resolved to {}", path.display(), real.display());
            }
            return Ok(Source::Path(path));
        };
        if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
            bail!("--stdin-file {name:?} is not a file name");
        }
        let input: Box<dyn Read + Send> =
            if self.stdin_command { Box::new(CommandOutput::run(&self.command)?) } else { Box::new(std::io::stdin()) };
        let directory = path.to_string_lossy().into_owned();
        Ok(Source::Stream { directory, name, mtime: now, input })
    }
}

fn parse_time(text: Option<&str>) -> anyhow::Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %Q", text)
        .and_then(|parsed| parsed.to_zoned())
        .map(|zoned| zoned.timestamp())
        .or_else(|_| {
            let utc = text.strip_suffix(" UTC").unwrap_or(text);
            jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", utc)
                .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
                .map(|zoned| zoned.timestamp())
        });
    time.map(Some).map_err(|_| anyhow::anyhow!("{text:?} is not a time such as \"2006-01-02 15:04:05 UTC\""))
}

async fn snapshot_one(
    app: &App,
    args: &Args,
    repository: &Repository,
    options: &CreateOptions,
    policies: &[(SourceInfo, Policy)],
    path: PathBuf,
    source: &SourceInfo,
) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    tracing::info!("Snapshotting {source} ...");
    refuse_actions(app, args, source, policies)?;
    let writer = repository.writer().await?;
    if args.stdin_file.is_some() || args.override_source.is_some() {
        manual_source::mark(&writer, source, policies)?;
    }
    let input = args.input(path, app.clock.now())?;
    let progress = Arc::new(Progress::default());
    let work = create(&writer, source, input, policies, options, &progress, &app.stop);
    let created = progress::watch(app, work, || status(&progress, &writer), || tell(&progress)).await?;
    let snapshot = created.snapshot;
    if snapshot.id.is_none() {
        tracing::info!("Not saving snapshot because no files have been changed since previous snapshot");
        return Ok(());
    }
    report(args, &snapshot, started.elapsed())?;
    let root = snapshot.root_entry.as_ref();
    let summary = root.and_then(|root| root.summary.as_deref());
    if let Some(n) = summary.map(|s| s.num_ignored_errors).filter(|n| *n > 0) {
        tracing::warn!("Ignored {n} error(s) while snapshotting {source}.");
    }
    match summary.map_or(0, |s| s.num_failed) {
        0 => Ok(()),
        n => bail!("Found {n} fatal error(s) while snapshotting {source}."),
    }
}

/// Until larder runs actions itself, a snapshot whose policy relies on them must not be made without.
fn refuse_actions(
    app: &App,
    args: &Args,
    source: &SourceInfo,
    policies: &[(SourceInfo, Policy)],
) -> anyhow::Result<()> {
    let tree = PolicyTree::for_source(source, policies);
    let actions = &tree.policy().actions;
    let below = policies.iter().filter(|(target, _)| {
        (&target.host, &target.user_name) == (&source.host, &source.user_name)
            && target.path.strip_prefix(&source.path).is_some_and(|rest| rest.starts_with('/') || source.path == "/")
    });
    let in_folders =
        below.filter(|(_, p)| p.actions.before_folder.is_some() || p.actions.after_folder.is_some()).count() > 0;
    let defined = in_folders
        || [&actions.before_folder, &actions.after_folder, &actions.before_snapshot_root, &actions.after_snapshot_root]
            .iter()
            .any(|action| action.is_some());
    if !defined {
        return Ok(());
    }
    let enabled = (app.config()?.enable_actions || args.force_enable_actions) && !args.force_disable_actions;
    if enabled {
        bail!(
            "the policy of {source} has actions, which this version of larder cannot run yet: use kopia for this \
             source, or --force-disable-actions to make the snapshot without them"
        );
    }
    tracing::info!("Not executing the policy's actions because they have been disabled for this client.");
    Ok(())
}

fn report(args: &Args, snapshot: &Snapshot, took: Duration) -> anyhow::Result<()> {
    if args.json.json {
        let mut shown = snapshot.clone();
        if !args.json.json_verbose {
            shown.stats = None;
        }
        return json_object(args.json, &shown);
    }
    let partial = if snapshot.is_complete() { "" } else { " partial" };
    let root = snapshot.root_entry.as_ref().map(|root| root.object.to_string()).unwrap_or_default();
    let id = snapshot.id.map(|id| id.to_string()).unwrap_or_default();
    let took = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    tracing::info!("Created{partial} snapshot with root {root} and ID {id} in {}", duration(took));
    Ok(())
}

fn status(progress: &Progress, writer: &Writer) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = format!(
        "{} hashing, {} hashed ({}), {} cached ({}), uploaded {}",
        get(&progress.hashing_files),
        get(&progress.hashed_files),
        bytes(get(&progress.hashed_bytes)),
        get(&progress.cached_files),
        bytes(get(&progress.cached_bytes)),
        bytes(writer.contents().stats().uploaded_bytes),
    );
    for (count, what) in [(get(&progress.errors), "fatal errors"), (get(&progress.ignored_errors), "errors ignored")] {
        if count > 0 {
            text.push_str(&format!(" ({count} {what})"));
        }
    }
    text
}

/// Prints what came up.
fn tell(progress: &Progress) {
    for note in progress.take_notes() {
        match note.severity {
            Severity::Fatal => tracing::error!("Error when processing \"{}\": {}", note.path, note.problem),
            Severity::Ignored => tracing::warn!("Ignored error when processing \"{}\": {}", note.path, note.problem),
            Severity::Warning => tracing::warn!("Warning: \"{}\": {}", note.path, note.problem),
        }
    }
}

/// What a command prints, which counts only when the command succeeds.
struct CommandOutput {
    child: Child,
    output: ChildStdout,
    ended: bool,
}

impl CommandOutput {
    fn run(command: &[String]) -> anyhow::Result<Self> {
        let Some((program, arguments)) = command.split_first() else {
            bail!("--stdin-command needs a command after --");
        };
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The command has no business with the repository's password.
            .env_remove("KOPIA_PASSWORD")
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let output = child.stdout.take().context("the command's output is not connected")?;
        Ok(Self { child, output, ended: false })
    }
}

impl Read for CommandOutput {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.output.read(buffer)?;
        if read == 0 && !buffer.is_empty() && !self.ended {
            self.ended = true;
            let status = self.child.wait()?;
            if !status.success() {
                return Err(std::io::Error::other(format!("the command failed: {status}")));
            }
        }
        Ok(read)
    }
}

impl Drop for CommandOutput {
    fn drop(&mut self) {
        if !self.ended {
            // Nobody reads any more.
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}
