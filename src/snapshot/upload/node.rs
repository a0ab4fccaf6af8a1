//! A directory under way: what is known of it, and how many things it still waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::file::LargeFile;
use super::{Run, Severity, add, finish};
use crate::format::CompressionAlgorithm;
use crate::policy::PolicyTree;
use crate::snapshot::SnapshotError;
use crate::snapshot::entry::{Entry, Kind, Name, Xattrs};
use crate::snapshot::local::Metadata;
use crate::snapshot::summary::FailedEntry;
use crate::sync::lock;

pub(super) struct Node {
    pub(super) run: Arc<Run>,
    parent: Option<Arc<Node>>,
    pub(super) role: Role,
    pub(super) policy: PolicyTree,
    pub(super) state: Mutex<State>,
    /// Entries that are not there yet, and one more while the directory is being listed.
    waiting: AtomicUsize,
    /// Set when entries were left out because the upload is to end.
    pub(super) cut_short: AtomicBool,
}

pub(super) enum Role {
    Directory {
        name: Name,
        path: Vec<u8>,
        metadata: Metadata,
        xattrs: Xattrs,
    },
    /// Holds the one file that is the whole snapshot, under this name.
    SingleFile {
        name: Name,
    },
}

#[derive(Default)]
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    /// Entries that could not be read, and whether that is ignored.
    pub(super) failed: Vec<(FailedEntry, bool)>,
    /// Directories in this one that are not finished.
    pub(super) directories: HashMap<Name, Arc<Node>>,
    /// Large files in this one that are not finished.
    pub(super) files: HashMap<Name, Arc<LargeFile>>,
    /// Why the directory itself cannot be stored.
    pub(super) abandoned: Option<SnapshotError>,
}

impl Node {
    pub(super) fn root(
        run: &Arc<Run>,
        name: Name,
        metadata: Metadata,
        xattrs: Xattrs,
        policy: PolicyTree,
    ) -> Arc<Self> {
        let role = Role::Directory { name, path: Vec::new(), metadata, xattrs };
        Self::new(run, None, role, policy)
    }

    pub(super) fn single_file(run: &Arc<Run>, name: Name, policy: PolicyTree) -> Arc<Self> {
        Self::new(run, None, Role::SingleFile { name }, policy)
    }

    /// A directory in this one, which from now on waits for it.
    pub(super) fn directory(self: &Arc<Self>, name: Name, metadata: Metadata, xattrs: Xattrs) -> Arc<Self> {
        let policy = self.policy.child(name.as_bytes());
        let role = Role::Directory { path: self.path_of(&name), name: name.clone(), metadata, xattrs };
        let child = Self::new(&self.run, Some(Arc::clone(self)), role, policy);
        self.expect_one();
        self.state().directories.insert(name, Arc::clone(&child));
        child
    }

    fn new(run: &Arc<Run>, parent: Option<Arc<Self>>, role: Role, policy: PolicyTree) -> Arc<Self> {
        Arc::new(Self {
            run: Arc::clone(run),
            parent,
            role,
            policy,
            state: Mutex::default(),
            waiting: AtomicUsize::new(1),
            cut_short: AtomicBool::new(false),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// From the root of the snapshot, without slashes at its ends.
    pub(super) fn path(&self) -> &[u8] {
        match &self.role {
            Role::Directory { path, .. } => path,
            Role::SingleFile { .. } => &[],
        }
    }

    pub(super) fn path_of(&self, name: &Name) -> Vec<u8> {
        match self.path() {
            [] => name.as_bytes().to_vec(),
            path => [path, b"/", name.as_bytes()].concat(),
        }
    }

    pub(super) fn metadata_compression(&self) -> Option<CompressionAlgorithm> {
        compressor(self.policy.policy().metadata_compressor())
    }

    /// One more entry is to come.
    pub(super) fn expect_one(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// One thing less to wait for; the last one finishes the directory, and those above that waited for it only.
    pub(super) fn done(self: &Arc<Self>) {
        let mut node = Arc::clone(self);
        while node.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            let abandoned = node.state().abandoned.take();
            let finished = if abandoned.is_none() { finish::finish(&node) } else { None };
            let Some(parent) = node.parent.clone() else {
                if let Some(e) = abandoned {
                    node.run.fail(e);
                }
                return node.run.completed(finished);
            };
            if let Role::Directory { name, .. } = &node.role {
                parent.state().directories.remove(name);
                if let Some(e) = abandoned {
                    parent.fail(name, Kind::Directory, crate::error::chain(&e));
                }
            }
            parent.state().entries.extend(finished);
            node = parent;
        }
    }

    /// Gives the directory up: it will be missing in the one above, which says why.
    pub(super) fn abandon(&self, e: SnapshotError) {
        self.state().abandoned.get_or_insert(e);
    }

    pub(super) fn add_entry(&self, entry: Entry) {
        self.state().entries.push(entry);
    }

    /// Notes that an entry cannot be stored.
    pub(super) fn fail(&self, name: &Name, kind: Kind, problem: String) {
        // An entry's own policy says whether its errors matter; that of the data of a file is its directory's (format
        // page 21 §6).
        let own = self.policy.child(name.as_bytes());
        let ignored = match kind {
            Kind::Directory => own.policy().ignore_directory_errors(),
            Kind::Unknown => own.policy().ignore_unknown_types(),
            _ => self.policy.policy().ignore_file_errors(),
        };
        self.note_failure(name, problem, ignored);
    }

    /// Notes that an entry cannot even be looked at.
    pub(super) fn fail_unseen(&self, name: &Name, is_directory: bool, problem: String) {
        let own = self.policy.child(name.as_bytes());
        let policy = own.policy();
        let ignored = if is_directory { policy.ignore_directory_errors() } else { policy.ignore_file_errors() };
        self.note_failure(name, problem, ignored);
    }

    fn note_failure(&self, name: &Name, problem: String, ignored: bool) {
        let path = self.path_of(name);
        let progress = &self.run.progress;
        add(if ignored { &progress.ignored_errors } else { &progress.errors }, 1);
        progress.note(&path, problem.clone(), if ignored { Severity::Ignored } else { Severity::Fatal });
        let path = String::from_utf8_lossy(&path).into_owned();
        self.state().failed.push((FailedEntry { path, error: problem }, ignored));
        if self.run.options.fail_fast && !ignored {
            self.run.stop.set();
        }
    }

    /// Notes that an entry is not quite as it should be.
    pub(super) fn warn(&self, name: &Name, problem: String) {
        self.run.progress.note(&self.path_of(name), problem, Severity::Warning);
    }
}

/// A name that is not known means no compression (format page 22 §3.3).
pub(super) fn compressor(name: Option<&str>) -> Option<CompressionAlgorithm> {
    name.and_then(|name| name.parse().ok())
}
