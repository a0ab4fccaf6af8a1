//! A snapshot from beginning to end: what to compare with, upload, checkpoints, manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::manifest::{self, Snapshot, Stats};
use super::summary::Incomplete;
use super::upload::{Checkpointer, Progress, Source, Upload, UploadOptions};
use super::{SnapshotError, Stop};
use crate::format::{CompressionAlgorithm, FormatError, SplitterAlgorithm};
use crate::manifest::ManifestId;
use crate::policy::{Policy, PolicyTree, SourceInfo};
use crate::repo::Writer;

/// How often to save the work so far, unless asked for more often (format page 21 §7).
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(45 * 60);
/// How often to look whether an index or a checkpoint is due.
const TICK: Duration = Duration::from_millis(250);
const SHORTEST_TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub struct CreateOptions {
    pub upload: UploadOptions,
    pub description: String,
    /// Keys with `tag:` before them.
    pub tags: BTreeMap<String, String>,
    pub pins: Vec<String>,
    /// Instead of the real times; of one given alone the other follows by the real duration.
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub checkpoint_interval: Duration,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            upload: UploadOptions::default(),
            description: String::new(),
            tags: BTreeMap::new(),
            pins: Vec::new(),
            start_time: None,
            end_time: None,
            checkpoint_interval: CHECKPOINT_INTERVAL,
        }
    }
}

/// A snapshot that was made. Without an id it was not saved, because it is the same as the one before.
#[derive(Debug)]
pub struct Created {
    pub snapshot: Snapshot,
}

/// Makes a snapshot and saves it; it is visible to all when this returns. `policies` are all of the repository, the
/// newest first.
pub async fn create(
    writer: &Writer,
    source: &SourceInfo,
    input: Source,
    policies: &[(SourceInfo, Policy)],
    options: &CreateOptions,
    progress: &Arc<Progress>,
    stop: &Stop,
) -> Result<Created, SnapshotError> {
    let clock = Arc::clone(writer.repository().clock());
    let (earlier, unreadable) = manifest::find(writer.manifests(), &manifest::labels_of_source(source));
    for e in unreadable {
        tracing::warn!("cannot compare with an earlier snapshot: {}", crate::error::chain(&e));
    }
    let policy = PolicyTree::for_source(source, policies);
    warn_of_unknown_algorithms(&policy);
    let start = clock.now();
    let upload = Upload::start(
        Arc::clone(writer.contents()),
        input,
        policy.clone(),
        manifest::bases(&earlier),
        options.upload.clone(),
        Arc::clone(progress),
        stop.clone(),
    )?;
    let mut checkpoints = Checkpoints { writer, source, start, saved: Vec::new() };
    let checkpointer = Arc::new(upload.checkpointer());
    let mut next_checkpoint = Instant::now() + options.checkpoint_interval;
    let mut ticks = interval(TICK.min(options.checkpoint_interval).max(SHORTEST_TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut finish = std::pin::pin!(upload.finish());
    let uploaded = loop {
        tokio::select! {
            uploaded = &mut finish => break uploaded?,
            _ = ticks.tick() => {
                let saved = async {
                    if Instant::now() >= next_checkpoint {
                        checkpoints.save(&checkpointer).await?;
                        next_checkpoint = Instant::now() + options.checkpoint_interval;
                    } else if writer.contents().is_flush_due() {
                        writer.flush().await?;
                    }
                    Ok::<_, SnapshotError>(())
                };
                if let Err(e) = saved.await {
                    // Nothing more can be written: let the tasks end, and tell why.
                    stop.set();
                    let _ = finish.await;
                    return Err(e);
                }
            }
        }
    };
    let end = clock.now();
    let (start_time, end_time) = times(options, start, end);
    let mut snapshot = Snapshot {
        id: None,
        source: source.clone(),
        description: options.description.clone(),
        start_time,
        end_time,
        stats: Some(uploaded.stats),
        incomplete: uploaded.incomplete,
        root_entry: Some(uploaded.root),
        tags: options.tags.clone(),
        pins: options.pins.clone(),
    };
    let same_as_before = |earlier: &Snapshot| {
        let object = |s: &Snapshot| s.root_entry.as_ref().map(|root| root.object);
        earlier.is_complete() && object(earlier) == object(&snapshot)
    };
    let identical = snapshot.is_complete() && earlier.last().is_some_and(same_as_before);
    if !(identical && policy.policy().ignore_identical_snapshots()) {
        snapshot.id = Some(writer.put_manifest(snapshot.labels(), &snapshot)?);
    }
    checkpoints.delete_superseded(&snapshot);
    writer.flush().await?;
    Ok(Created { snapshot })
}

/// A compressor that is not known compresses nothing, a splitter that is not known is the repository's (format pages 22
/// §3.3, 20 §3). That is no reason not to make a backup, but nobody asked for it either.
fn warn_of_unknown_algorithms(policy: &PolicyTree) {
    let mut told = BTreeSet::new();
    let mut tell = |e: FormatError, instead: &str| {
        if told.insert(e.to_string()) {
            tracing::warn!("the policy cannot be followed, {instead}: {e}");
        }
    };
    for policy in policy.policies() {
        for compressor in [policy.compressor(), policy.metadata_compressor()].into_iter().flatten() {
            if let Err(e) = compressor.parse::<CompressionAlgorithm>() {
                tell(e, "data is stored uncompressed");
            }
        }
        if let Some(Err(e)) = policy.splitter().map(str::parse::<SplitterAlgorithm>) {
            tell(e, "the repository's splitter is used");
        }
    }
}

/// Checkpoints that this run has saved.
struct Checkpoints<'a> {
    writer: &'a Writer,
    source: &'a SourceInfo,
    start: Timestamp,
    saved: Vec<(ManifestId, Timestamp)>,
}

impl Checkpoints<'_> {
    async fn save(&mut self, checkpointer: &Arc<Checkpointer>) -> Result<(), SnapshotError> {
        let checkpointer = Arc::clone(checkpointer);
        let root = tokio::task::spawn_blocking(move || checkpointer.root()).await;
        let Some(root) = root.map_err(|e| SnapshotError::Internal(Box::new(e)))?? else { return Ok(()) };
        let now = self.writer.repository().clock().now();
        let snapshot = Snapshot {
            id: None,
            source: self.source.clone(),
            description: String::new(),
            start_time: self.start,
            end_time: now,
            stats: Some(Stats::default()),
            incomplete: Some(Incomplete::Checkpoint),
            root_entry: Some(root),
            tags: BTreeMap::new(),
            pins: Vec::new(),
        };
        let id = self.writer.put_manifest(snapshot.labels(), &snapshot)?;
        self.saved.push((id, now));
        self.writer.flush().await?;
        Ok(())
    }

    /// A snapshot that holds all they do makes them superfluous.
    fn delete_superseded(&self, snapshot: &Snapshot) {
        if snapshot.is_complete() {
            for (id, modified) in &self.saved {
                self.writer.delete_manifest_by_id(*id, *modified);
            }
        }
    }
}

fn times(options: &CreateOptions, start: Timestamp, end: Timestamp) -> (Timestamp, Timestamp) {
    let duration = end.duration_since(start);
    match (options.start_time, options.end_time) {
        (None, None) => (start, end),
        (Some(start), None) => (start, start.saturating_add(duration).unwrap_or(start)),
        (None, Some(end)) => (end.saturating_sub(duration).unwrap_or(end), end),
        (Some(start), Some(end)) => (start, end),
    }
}
