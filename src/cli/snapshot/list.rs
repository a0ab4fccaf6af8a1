//! `larder snapshot list`

use std::collections::BTreeMap;

use anyhow::bail;
use clap::ArgAction;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use larder::content::Reader;
use larder::manifest::ManifestSet;
use larder::object::ObjectId;
use larder::policy::{
    Policy, RetentionCandidate, RetentionReason, SourceInfo, compact_reasons, effective_policy, retention_reasons,
    store,
};
use larder::repo::Identity;
use larder::snapshot::entry::Entry;
use larder::snapshot::manifest::{self, Snapshot};
use larder::snapshot::{SnapshotError, labels_of_all, resolve};
use serde::Serialize;

use crate::cli::app::App;
use crate::cli::args::{JsonArgs, parse_tags};
use crate::cli::output::{JsonList, Output};
use crate::cli::units::{bytes, mode, time};

#[derive(Debug, clap::Args)]
#[command(after_help = "Each line is a snapshot: when, its root object, size, permissions, and why it is kept.
Snapshots that hold the same are shown as one line, unless -l is given.

Examples:
  larder snapshot list                          # of this user and host
  larder snapshot list -m /home/me/notes        # with ids; also where a directory above was snapshotted
  larder snapshot list --all                    # of everybody
  larder snapshot list --json me@laptop:/home/me | jq -r '.[-1].id'")]
pub(in crate::cli) struct Args {
    /// A path, or user@host, or user@host:path; of all of them unless given
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// Also incomplete snapshots
    #[arg(long, short = 'i')]
    incomplete: bool,
    /// Print sizes as plain numbers of bytes
    #[arg(long = "no-human-readable", action = ArgAction::SetFalse)]
    human_readable: bool,
    /// Also how much larger each is than the one before
    #[arg(long, short = 'd')]
    delta: bool,
    /// Also the id of the snapshot's manifest
    #[arg(long, short = 'm')]
    manifest_id: bool,
    /// Do not print why each is kept
    #[arg(long = "no-retention", action = ArgAction::SetFalse)]
    retention: bool,
    /// Also the time of the file or directory
    #[arg(long)]
    mtime: bool,
    /// Also the owner of the file or directory
    #[arg(long)]
    owner: bool,
    /// A line for each snapshot, even where several hold the same
    #[arg(long, short = 'l')]
    show_identical: bool,
    /// The newest first
    #[arg(long)]
    reverse: bool,
    /// Of all users and hosts; JSON always is
    #[arg(long, short = 'a')]
    all: bool,
    /// Only the newest of each source
    #[arg(long, short = 'n', value_name = "N")]
    max_results: Option<usize>,
    /// Only those that have a tag
    #[arg(long, value_name = "KEY:VALUE")]
    tags: Vec<String>,
    #[command(flatten)]
    json: JsonArgs,
}

/// The snapshots of one source, oldest first, each with the reasons for which it is kept.
struct Group {
    source: SourceInfo,
    snapshots: Vec<(Snapshot, Vec<RetentionReason>)>,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let tags = parse_tags(&args.tags)?;
    let repository = app.open().await?;
    let wanted = args.source.as_deref().map(|text| app.source(text, repository.identity())).transpose()?;
    let manifests = app.manifests(&repository).await?;
    let mut groups = groups(app, &manifests, wanted.as_ref());
    for group in &mut groups {
        group.snapshots.retain(|(snapshot, _)| tags.iter().all(|(key, value)| snapshot.tags.get(key) == Some(value)));
        if !args.json.json && !args.incomplete {
            group.snapshots.retain(|(snapshot, _)| snapshot.is_complete());
        }
        let most = args.max_results.filter(|most| *most > 0);
        let surplus = most.map_or(0, |most| group.snapshots.len().saturating_sub(most));
        group.snapshots.drain(..surplus);
    }
    groups.retain(|group| !group.snapshots.is_empty());
    if args.json.json {
        return print_json(&args, groups);
    }
    print(app, &args, repository.contents(), repository.identity(), wanted.as_ref(), groups).await
}

/// The snapshots of the source wanted, or of all, and of the directories above it.
fn groups(app: &App, manifests: &ManifestSet, wanted: Option<&SourceInfo>) -> Vec<Group> {
    let (policies, errors) = store::load(manifests);
    for e in &errors {
        tracing::error!("a policy cannot be understood: {}", larder::error::chain(e));
        app.set_degraded();
    }
    let policies = store::by_target(&policies);
    let (found, errors) = manifest::find(manifests, &labels_of_all());
    for e in &errors {
        tracing::error!("a snapshot cannot be understood: {}", larder::error::chain(e));
        app.set_degraded();
    }
    let mut by_source: BTreeMap<SourceInfo, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in found {
        if wanted.is_none_or(|wanted| is_of(&snapshot.source, wanted)) {
            by_source.entry(snapshot.source.clone()).or_default().push(snapshot);
        }
    }
    by_source
        .into_iter()
        .map(|(source, snapshots)| {
            let reasons = reasons(&source, &snapshots, &policies);
            Group { source, snapshots: snapshots.into_iter().zip(reasons).collect() }
        })
        .collect()
}

/// Why each snapshot of a source is kept.
fn reasons(
    source: &SourceInfo,
    snapshots: &[Snapshot],
    policies: &[(SourceInfo, Policy)],
) -> Vec<Vec<RetentionReason>> {
    let candidates: Vec<RetentionCandidate> = snapshots
        .iter()
        .map(|s| RetentionCandidate { start_time: s.start_time, end_time: s.end_time, incomplete: !s.is_complete() })
        .collect();
    // In the zone of the machine, however times are printed: so they are deleted.
    retention_reasons(&effective_policy(source, policies).policy.retention, &candidates, &TimeZone::system())
}

/// Whether a source is the one wanted, one of the user or host wanted, or a directory above the path wanted.
fn is_of(source: &SourceInfo, wanted: &SourceInfo) -> bool {
    let same_user = (&source.host, &source.user_name) == (&wanted.host, &wanted.user_name);
    wanted.includes(source) || (same_user && resolve::path_below(&source.path, &wanted.path).is_some())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retention_reason: Vec<String>,
}

fn print_json(args: &Args, mut groups: Vec<Group>) -> anyhow::Result<()> {
    let mut list = JsonList::begin(args.json)?;
    if args.reverse {
        groups.iter_mut().for_each(|group| group.snapshots.reverse());
    }
    for (snapshot, reasons) in groups.iter().flat_map(|group| &group.snapshots) {
        list.item(&Item { snapshot, retention_reason: reasons.iter().map(ToString::to_string).collect() })?;
    }
    list.end()
}

async fn print(
    app: &App,
    args: &Args,
    contents: &Reader,
    identity: &Identity,
    wanted: Option<&SourceInfo>,
    mut groups: Vec<Group>,
) -> anyhow::Result<()> {
    let of_others = groups.len();
    if wanted.is_none() && !args.all {
        groups.retain(|g| (&g.source.host, &g.source.user_name) == (&identity.hostname, &identity.username));
    }
    let mut out = Output::new();
    let mut any = false;
    for group in &groups {
        let rows = rows(app, args, contents, wanted, group).await?;
        if rows.is_empty() {
            continue;
        }
        if any {
            out.line("")?;
        }
        any = true;
        out.line(group.source.to_string())?;
        for line in rows.into_iter().flat_map(|row| row.lines(app, args)) {
            out.line(line)?;
        }
    }
    out.finish()?;
    if !any {
        match wanted {
            Some(wanted) => tracing::info!("No snapshots found for {wanted}."),
            None if of_others > 0 => {
                tracing::info!("No snapshots found. Pass --all to show snapshots from all users/hosts.");
            }
            None => tracing::info!("No snapshots found."),
        }
    }
    Ok(())
}

/// Several snapshots that hold the same, or one.
struct Row {
    root: Option<ObjectId>,
    start: Timestamp,
    until: Timestamp,
    count: u64,
    before_reasons: String,
    reasons: Vec<RetentionReason>,
    pins: Vec<String>,
}

async fn rows(
    app: &App,
    args: &Args,
    contents: &Reader,
    wanted: Option<&SourceInfo>,
    group: &Group,
) -> anyhow::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut size_before = 0;
    for (snapshot, reasons) in &group.snapshots {
        if app.stop.is_set() {
            bail!(SnapshotError::Canceled);
        }
        let below = wanted.and_then(|wanted| resolve::path_below(&snapshot.source.path, &wanted.path));
        let below = below.unwrap_or_default();
        let found = match entry(contents, snapshot, &below).await {
            Ok(entry) => Ok(entry),
            // A snapshot of a directory above, from when the path was not there.
            Err(SnapshotError::NotFound(_)) if !below.is_empty() => continue,
            Err(e) => {
                app.set_degraded();
                Err(larder::error::chain(&e))
            }
        };
        let root = found.as_ref().ok().map(|entry| entry.object);
        let same = rows.last_mut().filter(|row| !args.show_identical && root.is_some() && row.root == root);
        if let Some(row) = same {
            row.until = snapshot.start_time;
            row.count += 1;
            row.reasons.extend(reasons);
            row.pins.extend(snapshot.pins.iter().cloned());
            continue;
        }
        let before_reasons = match &found {
            Ok(entry) => bits(app, args, snapshot, entry, &mut size_before).join(" "),
            Err(problem) => format!("<ERROR> {problem}"),
        };
        rows.push(Row {
            root,
            start: snapshot.start_time,
            until: snapshot.start_time,
            count: 1,
            before_reasons,
            reasons: reasons.clone(),
            pins: snapshot.pins.clone(),
        });
    }
    if args.reverse {
        rows.reverse();
    }
    Ok(rows)
}

/// The entry that is listed: the root, or what is below it.
async fn entry(contents: &Reader, snapshot: &Snapshot, below: &str) -> Result<Entry, SnapshotError> {
    let root = snapshot.root_entry.clone().ok_or_else(|| SnapshotError::NotFound("it has no root".to_owned()))?;
    let path: Vec<&str> = below.split('/').filter(|element| !element.is_empty()).collect();
    resolve::descend(contents, root, &path).await
}

/// What is said of an entry, up to the reasons.
fn bits(app: &App, args: &Args, snapshot: &Snapshot, entry: &Entry, size_before: &mut u64) -> Vec<String> {
    let summary = entry.summary.as_deref();
    let size = summary.map_or(entry.size, |sum| sum.size);
    let size_text = |n: u64| if args.human_readable { bytes(n) } else { n.to_string() };
    let mut bits = vec![entry.object.to_string()];
    if let Some(incomplete) = snapshot.incomplete {
        bits.push(format!("incomplete:{}", incomplete.name()));
    }
    bits.push(size_text(size));
    bits.push(mode(entry.kind, entry.mode));
    if args.owner {
        bits.push(format!("uid:{}", entry.uid));
        bits.push(format!("gid:{}", entry.gid));
    }
    if args.mtime {
        bits.push(format!("modified:{}", time(entry.mtime, app.zone())));
    }
    if args.manifest_id {
        bits.push(format!("manifest:{}", snapshot.id.map(|id| id.to_string()).unwrap_or_default()));
    }
    if args.delta {
        match (size.checked_sub(*size_before), size_before.checked_sub(size)) {
            (Some(0), _) => {}
            (Some(more), _) => bits.push(format!("(+{})", size_text(more))),
            (None, less) => bits.push(format!("(-{})", size_text(less.unwrap_or_default()))),
        }
        *size_before = size;
    }
    if let Some(summary) = summary {
        bits.push(format!("files:{}", summary.files));
        bits.push(format!("dirs:{}", summary.dirs));
        if summary.num_failed > 0 {
            bits.push(format!("errors:{}", summary.num_failed));
        }
    }
    bits
}

impl Row {
    fn lines(mut self, app: &App, args: &Args) -> Vec<String> {
        let mut line = format!("  {} {}", time(self.start, app.zone()), self.before_reasons);
        if args.retention && !self.reasons.is_empty() {
            line.push_str(&format!(" ({})", compact_reasons(&self.reasons).join(",")));
        }
        if !self.pins.is_empty() {
            self.pins.sort();
            self.pins.dedup();
            line.push_str(&format!(" pins:{}", self.pins.join(",")));
        }
        let mut lines = vec![line];
        if self.count > 1 {
            let until = time(self.until, app.zone());
            lines.push(format!("  + {} identical snapshots until {until}", self.count - 1));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SourceInfo {
        SourceInfo::parse(text, "h", "u", "/").unwrap()
    }

    #[test]
    fn what_is_wanted() {
        for (wanted, of, yes) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a", true),
            ("/a/b", "/", true),
            ("/a/b", "/a/b/c", false),
            ("/ab", "/a", false),
            ("/a", "x@h:/a", false),
            ("u@h", "/a", true),
            ("u@h", "x@h:/a", false),
            ("@h", "x@h:/a", true),
            ("@x", "/a", false),
        ] {
            assert_eq!(is_of(&source(of), &source(wanted)), yes, "{wanted} {of}");
        }
    }
}
