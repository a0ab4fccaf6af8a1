//! `larder policy show`

use larder::policy::{ActionCommand, EffectivePolicy, SourceInfo, effective_policy, store};

use super::{TargetArgs, load};
use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{Output, json_object};
use crate::cli::units::{bytes, duration};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder policy show /home/me/notes       # what applies there, and which policy says so
  larder policy show --global --json")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let policies = store::by_target(&load(app, &manifests));
    let targets = args.targets.resolve(app, &manifests, repository.identity())?;
    let mut out = Output::new();
    for (number, target) in targets.iter().enumerate() {
        let effective = effective_policy(target, &policies);
        if args.json.json {
            json_object(args.json, &effective.policy)?;
            continue;
        }
        if number > 0 {
            out.line("")?;
        }
        out.line(format!("Policy for {target}:\n"))?;
        let parents = target.parents();
        let last = policies.iter().find(|(of, policy)| policy.no_parent && (of == target || parents.contains(of)));
        if last.is_some_and(|(of, _)| of == target) {
            out.line("It does not inherit from less specific policies.\n")?;
        }
        Table::of(target, last.is_some(), &effective).print(&mut out)?;
        out.line("\nRetention, scheduling and actions are stored, but not acted on by this version of larder.")?;
    }
    out.finish()
}

/// Lines of a label, a value, and where that comes from.
struct Table<'a> {
    target: &'a SourceInfo,
    /// Whether some policy ends the inheritance before the global one.
    ended: bool,
    rows: Vec<(String, String, String)>,
}

impl<'a> Table<'a> {
    fn of(target: &'a SourceInfo, ended: bool, effective: &EffectivePolicy) -> Self {
        let mut table = Self { target, ended, rows: Vec::new() };
        table.retention(effective);
        table.files(effective);
        table.errors(effective);
        table.scheduling(effective);
        table.uploads(effective);
        table.compression(effective);
        table.actions(effective);
        table.system(effective);
        table
    }

    /// Values end in one column, as far to the left as the longest row lets them.
    fn print(&self, out: &mut Output) -> anyhow::Result<()> {
        let width = |text: &str| text.chars().count();
        let with_value = self.rows.iter().filter(|(_, _, definition)| !definition.is_empty());
        let end = with_value.map(|(label, value, _)| width(label) + width(value)).max().unwrap_or(0) + 3;
        for (label, value, definition) in &self.rows {
            if definition.is_empty() {
                out.line(label)?;
                continue;
            }
            let space = end.saturating_sub(width(label) + width(value));
            out.line(format!("{label}{:space$}{value}   {definition}", ""))?;
        }
        Ok(())
    }

    fn text(&mut self, text: impl Into<String>) {
        self.rows.push((text.into(), String::new(), String::new()));
    }

    /// A headline, after an empty line unless it is the first.
    fn section(&mut self, text: &str) {
        if !self.rows.is_empty() {
            self.text("");
        }
        self.text(text);
    }

    fn row(&mut self, label: &str, value: impl ToString, definition: &SourceInfo) {
        let definition = if definition == self.target {
            "(defined for this target)".to_owned()
        } else if self.ended && *definition == SourceInfo::global() {
            "(not set)".to_owned()
        } else {
            format!("inherited from {definition}")
        };
        self.rows.push((label.to_owned(), value.to_string(), definition));
    }

    fn number(&mut self, label: &str, value: Option<i64>, definition: &SourceInfo) {
        self.row(label, value.map_or_else(|| "-".to_owned(), |n| n.to_string()), definition);
    }

    fn retention(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let (policy, definition) = (&policy.retention, &definition.retention);
        self.section("Retention:");
        self.number("  Annual snapshots:", policy.keep_annual, &definition.keep_annual);
        self.number("  Monthly snapshots:", policy.keep_monthly, &definition.keep_monthly);
        self.number("  Weekly snapshots:", policy.keep_weekly, &definition.keep_weekly);
        self.number("  Daily snapshots:", policy.keep_daily, &definition.keep_daily);
        self.number("  Hourly snapshots:", policy.keep_hourly, &definition.keep_hourly);
        self.number("  Latest snapshots:", policy.keep_latest, &definition.keep_latest);
        let identical = policy.ignore_identical_snapshots.unwrap_or(false);
        self.row("  Ignore identical snapshots:", identical, &definition.ignore_identical_snapshots);
    }

    fn files(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let (files, of) = (&policy.files, &definition.files);
        self.section("Files policy:");
        self.row("  Ignore cache directories:", policy.ignore_cache_dirs(), &of.ignore_cache_dirs);
        if files.ignore.is_empty() {
            self.text("  No ignore rules:");
        } else {
            self.row("  Ignore rules:", "", &of.ignore);
            files.ignore.iter().for_each(|rule| self.text(format!("    {rule}")));
        }
        if files.ignore_dot_files.is_empty() {
            self.text("  Read no ignore rules from files.");
        } else {
            self.row("  Read ignore rules from files:", "", &of.ignore_dot_files);
            files.ignore_dot_files.iter().for_each(|name| self.text(format!("    {name}")));
        }
        if let Some(size) = policy.max_file_size() {
            self.row("  Ignore files above:", bytes(size), &of.max_file_size);
        }
        self.row("  Scan one filesystem only:", policy.one_file_system(), &of.one_file_system);
    }

    fn errors(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let of = &definition.error_handling;
        self.section("Error handling policy:");
        self.row("  Ignore file read errors:", policy.ignore_file_errors(), &of.ignore_file_errors);
        self.row("  Ignore directory read errors:", policy.ignore_directory_errors(), &of.ignore_directory_errors);
        self.row("  Ignore unknown types:", policy.ignore_unknown_types(), &of.ignore_unknown_types);
    }

    fn scheduling(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let (scheduling, of) = (&policy.scheduling, &definition.scheduling);
        self.section("Scheduling policy:");
        self.text("  Scheduled snapshots:");
        let before = self.rows.len();
        if let Ok(seconds @ 1..) = u64::try_from(scheduling.interval_seconds) {
            let interval = duration(std::time::Duration::from_secs(seconds));
            self.row("    Snapshot interval:", interval, &of.interval_seconds);
        }
        if !scheduling.time_of_day.is_empty() {
            self.row("    Snapshot times:", "", &of.time_of_day);
            for time in &scheduling.time_of_day {
                self.text(format!("      {:2}:{:02}", time.hour, time.minute));
            }
        }
        if !scheduling.cron.is_empty() {
            self.row("    Crontab expressions:", "", &of.cron);
            scheduling.cron.iter().for_each(|expression| self.text(format!("      {expression}")));
        }
        if self.rows.len() == before {
            self.text("    None.");
        } else {
            self.row("    Run missed snapshots:", scheduling.run_missed.unwrap_or(false), &of.run_missed);
        }
        self.row("  Manual snapshot:", scheduling.manual, &of.manual);
    }

    fn uploads(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let of = &definition.upload;
        self.section("Uploads:");
        let snapshots = policy.upload.max_parallel_snapshots;
        self.number("  Max parallel snapshots (server/UI):", snapshots, &of.max_parallel_snapshots);
        let reads = policy.upload.max_parallel_file_reads;
        self.number("  Max parallel file reads:", reads, &of.max_parallel_file_reads);
        let above = policy.parallel_upload_above_size().map_or_else(|| "-".to_owned(), bytes);
        self.row("  Parallel upload above size:", above, &of.parallel_upload_above_size);
    }

    fn compression(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let (compression, of) = (&policy.compression, &definition.compression);
        match policy.compressor() {
            None => self.section("Compression disabled."),
            Some(name) => {
                self.section("Compression:");
                self.row("  Compressor:", name, &of.compressor_name);
                self.extensions("  Compress in any case:", &compression.only_compress, &of.only_compress);
                self.extensions("  Never compress:", &compression.never_compress, &of.never_compress);
                for (label, size, of) in [
                    ("  Compress only files from:", compression.min_size, &of.min_size),
                    ("  Compress only files up to:", compression.max_size, &of.max_size),
                ] {
                    if let Ok(size @ 1..) = u64::try_from(size) {
                        self.row(label, bytes(size), of);
                    }
                }
            }
        }
        match policy.metadata_compressor() {
            None => self.section("Metadata compression disabled."),
            Some(name) => {
                self.section("Metadata compression:");
                self.row("  Compressor:", name, &definition.metadata_compression.compressor_name);
            }
        }
        self.section("Splitter:");
        let splitter = policy.splitter().unwrap_or("(repository default)");
        self.row("  Algorithm override:", splitter, &definition.splitter.algorithm);
    }

    fn extensions(&mut self, label: &str, extensions: &[String], of: &SourceInfo) {
        if !extensions.is_empty() {
            self.row(label, "", of);
            extensions.iter().for_each(|extension| self.text(format!("    {extension}")));
        }
    }

    fn actions(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        let (actions, of) = (&policy.actions, &definition.actions);
        let all = [
            ("Before this folder:", &actions.before_folder, &of.before_folder),
            ("After this folder:", &actions.after_folder, &of.after_folder),
            ("Before snapshot root:", &actions.before_snapshot_root, &of.before_snapshot_root),
            ("After snapshot root:", &actions.after_snapshot_root, &of.after_snapshot_root),
        ];
        if all.iter().all(|(_, action, _)| action.is_none()) {
            return self.section("No actions defined.");
        }
        self.section("Actions:");
        for (label, action, of) in all {
            if let Some(action) = action {
                self.row(&format!("  {label}"), "", of);
                self.action(action);
            }
        }
    }

    fn action(&mut self, action: &ActionCommand) {
        let ActionCommand { path, args, script, timeout, mode } = action;
        if script.is_empty() {
            self.text(format!("    Command: {}", [std::slice::from_ref(path), args].concat().join(" ")));
        } else {
            self.text("    Script:");
            script.lines().for_each(|line| self.text(format!("      {line}")));
        }
        let seconds = u64::try_from(*timeout).ok().filter(|n| *n > 0).unwrap_or(180);
        let mode = if mode.is_empty() { "essential" } else { mode };
        self.text(format!("    Timeout: {}, mode: {mode}", duration(std::time::Duration::from_secs(seconds))));
    }

    fn system(&mut self, EffectivePolicy { policy, definition }: &EffectivePolicy) {
        self.section("OS-level snapshot support:");
        let enable = match policy.os_snapshots.volume_shadow_copy.enable {
            None | Some(0) => "never".to_owned(),
            Some(1) => "always".to_owned(),
            Some(2) => "when-available".to_owned(),
            Some(other) => other.to_string(),
        };
        self.row("  Volume Shadow Copy:", enable, &definition.os_snapshots.volume_shadow_copy.enable);
        let (logging, of) = (&policy.logging, &definition.logging);
        self.section("Logging details (0-none, 10-maximum):");
        self.number("  Directory snapshotted:", logging.directories.snapshotted, &of.directories.snapshotted);
        self.number("  Directory ignored:", logging.directories.ignored, &of.directories.ignored);
        self.number("  Entry snapshotted:", logging.entries.snapshotted, &of.entries.snapshotted);
        self.number("  Entry ignored:", logging.entries.ignored, &of.entries.ignored);
        self.number("  Entry cache hit:", logging.entries.cache_hit, &of.entries.cache_hit);
        self.number("  Entry cache miss:", logging.entries.cache_miss, &of.entries.cache_miss);
    }
}
