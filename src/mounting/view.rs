//! Which snapshots there are, and under which names, at one moment.
//!
//! A mount stays up for weeks: it looks again when it is asked for the list of snapshots and the last look was some
//! time ago. When that fails or takes long, what was known before is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::names;
use crate::policy::SourceInfo;
use crate::repo::{Repository, RepositoryError};
use crate::snapshot::labels_of_all;
use crate::snapshot::manifest::{self, Snapshot};

/// How old a view may be.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);
/// How long somebody waits for a new one.
const PATIENCE: Duration = Duration::from_secs(3);

/// A name and what has it.
#[derive(Debug)]
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) what: T,
}

/// `user@host`, and the sources below.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) sources: Vec<Named<Arc<SourceInfo>>>,
}

#[derive(Debug, Default)]
pub(super) struct View {
    /// By `user@host`.
    pub(super) owners: BTreeMap<String, Named<Owner>>,
    /// Oldest first, with distinct names.
    snapshots: BTreeMap<String, Vec<Named<Arc<Snapshot>>>>,
}

impl View {
    /// Of snapshots that are given oldest first.
    pub(super) fn new(snapshots: impl Iterator<Item = Snapshot>) -> Self {
        let mut sources: BTreeMap<String, (Arc<SourceInfo>, Vec<Arc<Snapshot>>)> = BTreeMap::new();
        for snapshot in snapshots {
            let source = &snapshot.source;
            let place = sources.entry(source.to_string()).or_insert_with(|| (Arc::new(source.clone()), Vec::new()));
            place.1.push(Arc::new(snapshot));
        }
        let mut by_owner: BTreeMap<String, BTreeMap<String, Arc<SourceInfo>>> = BTreeMap::new();
        for (source, _) in sources.values() {
            by_owner.entry(owner_of(source)).or_default().insert(source.path.clone(), Arc::clone(source));
        }
        let owner_names = names::distinct(by_owner.keys().map(|owner| names::safe(owner)).collect());
        let owners = by_owner.into_iter().zip(owner_names).map(|((owner, paths), name)| {
            let names = names::distinct(paths.keys().map(|path| names::safe(path)).collect());
            let sources = paths.into_values().zip(names).map(|(what, name)| Named { name, what }).collect();
            (owner, Named { name, what: Owner { sources } })
        });
        let named = |snapshots: Vec<Arc<Snapshot>>| {
            let names = names::distinct(snapshots.iter().map(|snapshot| names::of_snapshot(snapshot)).collect());
            snapshots.into_iter().zip(names).map(|(what, name)| Named { name, what }).collect()
        };
        let owners = owners.collect();
        let snapshots = sources.into_iter().map(|(key, (_, snapshots))| (key, named(snapshots))).collect();
        Self { owners, snapshots }
    }

    /// The snapshots of a source, oldest first.
    pub(super) fn snapshots(&self, source: &SourceInfo) -> &[Named<Arc<Snapshot>>] {
        self.snapshots.get(&source.to_string()).map_or(&[], Vec::as_slice)
    }

    /// The newest complete snapshot of a source.
    pub(super) fn latest(&self, source: &SourceInfo) -> Option<&Named<Arc<Snapshot>>> {
        self.snapshots(source).iter().rev().find(|named| named.what.is_complete())
    }
}

pub(super) fn owner_of(source: &SourceInfo) -> String {
    format!("{}@{}", source.user_name, source.host)
}

/// The current view.
#[derive(Debug)]
pub(super) struct Views {
    repository: Repository,
    /// Only snapshots that were begun by then.
    until: Option<Timestamp>,
    current: ArcSwap<(Instant, Arc<View>)>,
    refreshing: Mutex<()>,
}

impl Views {
    pub(super) async fn open(repository: Repository, until: Option<Timestamp>) -> Result<Arc<Self>, RepositoryError> {
        let current = ArcSwap::from_pointee((Instant::now(), Arc::default()));
        let views = Self { repository, until, current, refreshing: Mutex::default() };
        views.load().await?;
        Ok(Arc::new(views))
    }

    /// The snapshots there are now, or a moment ago.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<View> {
        if self.current.load().0.elapsed() >= FRESH_FOR {
            let views = Arc::clone(self);
            let refreshed = tokio::spawn(async move { views.refresh().await });
            if tokio::time::timeout(PATIENCE, refreshed).await.is_err() {
                tracing::warn!("it takes long to look for new snapshots: those known before are shown");
            }
        }
        self.known()
    }

    /// The snapshots there were at the last look.
    pub(super) fn known(&self) -> Arc<View> {
        Arc::clone(&self.current.load().1)
    }

    async fn refresh(&self) {
        let _one = self.refreshing.lock().await;
        if self.current.load().0.elapsed() < FRESH_FOR {
            return;
        }
        let refreshed = match self.repository.contents().refresh().await {
            Ok(()) => self.load().await,
            Err(e) => Err(e.into()),
        };
        if let Err(e) = refreshed {
            tracing::warn!("cannot look for new snapshots, those known before are shown: {}", crate::error::chain(&e));
        }
    }

    async fn load(&self) -> Result<(), RepositoryError> {
        let manifests = self.repository.manifests().await?;
        let (snapshots, unreadable) = manifest::find(&manifests, &labels_of_all());
        for e in unreadable {
            tracing::warn!("a snapshot cannot be shown: {}", crate::error::chain(&e));
        }
        let shown = snapshots.into_iter().filter(|s| self.until.is_none_or(|until| s.start_time <= until));
        self.current.store(Arc::new((Instant::now(), Arc::new(View::new(shown)))));
        Ok(())
    }
}
