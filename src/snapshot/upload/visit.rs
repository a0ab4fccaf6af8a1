//! Visiting a directory: list it, leave out what is ignored, take what did not change from the last snapshot, and
//! make tasks of the rest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::{self, SmallFile};
use super::node::Node;
use super::{Run, add, ignore};
use crate::object::ObjectId;
use crate::policy::IgnoreContext;
use crate::snapshot::SnapshotError;
use crate::snapshot::directory::Directory;
use crate::snapshot::entry::{Entry, Kind, Name};
use crate::snapshot::local::{Listed, LocalDirectory, Metadata};
use crate::sync::lock;

/// Files and bytes of small files that make one task.
const BATCH_FILES: usize = 64;
const BATCH_BYTES: u64 = 2 << 20;

/// The directory objects among entries, each once, in their order.
pub(super) fn directories<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<ObjectId> {
    let mut seen = HashSet::new();
    entries.filter(|e| e.kind.is_directory()).map(|e| e.object).filter(|object| seen.insert(*object)).collect()
}

/// Lists a directory and sees to all that is in it.
pub(super) fn visit(
    node: &Arc<Node>,
    directory: LocalDirectory,
    parent_rules: Option<&Arc<IgnoreContext>>,
    bases: &[ObjectId],
) {
    let run = Arc::clone(&node.run);
    if run.is_over() {
        node.cut_short.store(true, Ordering::Relaxed);
    } else {
        add(&run.progress.directories, 1);
        lock(&run.stats).dir_count += 1;
        match list(node, Arc::new(directory), parent_rules, bases) {
            Ok(()) => {}
            // Rules that cannot be understood would let in what should be left out.
            Err(e @ SnapshotError::Policy(_)) => run.fail(e),
            Err(e) => node.abandon(e),
        }
    }
    visited(node);
}

/// Counts a directory as visited, whatever came of it.
fn visited(node: &Arc<Node>) {
    if node.run.unvisited.fetch_sub(1, Ordering::SeqCst) == 1 {
        node.run.links.all_seen();
    }
    node.done();
}

/// Makes tasks of a directory's entries.
fn list(
    node: &Arc<Node>,
    directory: Arc<LocalDirectory>,
    parent_rules: Option<&Arc<IgnoreContext>>,
    bases: &[ObjectId],
) -> Result<(), SnapshotError> {
    let lost = |e| SnapshotError::Source { path: directory.path().display().to_string(), source: e };
    let policy = node.policy.policy();
    if policy.ignore_cache_dirs() && ignore::is_cache(&directory) {
        return Ok(());
    }
    let rules = ignore::context(&directory, node.path(), &node.policy, parent_rules)?;
    let own = directory.metadata().map_err(lost)?;
    let known = Known::load(&node.run, bases);
    let mut small = Batch::new(node, &directory);
    for Listed { name, is_directory } in directory.list().map_err(lost)? {
        if node.run.is_over() {
            node.cut_short.store(true, Ordering::Relaxed);
            break;
        }
        let metadata = match directory.metadata_of(&name) {
            Ok(Some(metadata)) => metadata,
            // Gone since the directory was read.
            Ok(None) => continue,
            Err(e) => {
                node.fail_unseen(&name, is_directory, format!("unable to read attributes: {e}"));
                continue;
            }
        };
        if is_left_out(node, &rules, &name, &metadata, &own) {
            continue;
        }
        match metadata.kind {
            Kind::Directory => {
                let bases = known.directories(&name);
                enter(node, &directory, name, metadata, &rules, bases);
            }
            Kind::Unknown => node.fail(&name, Kind::Unknown, "unknown or unsupported entry type".to_owned()),
            _ => {
                let link = node.run.links.see(&metadata);
                let base = known.matching(&name, &metadata).filter(|base| node.run.may_take_over(base));
                let file = SmallFile { name, metadata, link };
                match base {
                    Some(base) => file::take_over(node, &directory, file, base),
                    None if file::is_large(&metadata) => file::store_large(node, &directory, file),
                    None => small.push(file),
                }
            }
        }
    }
    small.send();
    Ok(())
}

/// Hidden by rules, by size, or on another file system.
fn is_left_out(node: &Node, rules: &IgnoreContext, name: &Name, metadata: &Metadata, own: &Metadata) -> bool {
    let progress = &node.run.progress;
    let is_directory = metadata.kind.is_directory();
    if rules.ignores(node.path(), name.as_bytes(), is_directory) {
        if is_directory {
            add(&progress.excluded_directories, 1);
        } else {
            add(&progress.excluded_files, 1);
            add(&progress.excluded_bytes, metadata.size);
        }
        return true;
    }
    let too_large = metadata.kind == Kind::File && rules.max_file_size().is_some_and(|max| metadata.size > max);
    too_large || rules.one_file_system() && metadata.device != own.device
}

/// Makes a task of a directory in this one.
fn enter(
    node: &Arc<Node>,
    parent: &Arc<LocalDirectory>,
    name: Name,
    metadata: Metadata,
    rules: &Arc<IgnoreContext>,
    bases: Vec<ObjectId>,
) {
    let (node, parent, rules) = (Arc::clone(node), Arc::clone(parent), Arc::clone(rules));
    node.expect_one();
    node.run.unvisited.fetch_add(1, Ordering::SeqCst);
    rayon::spawn(move || {
        match parent.open_child(&name) {
            Ok(directory) => {
                drop(parent);
                let xattrs = directory.xattrs().unwrap_or_else(|e| {
                    node.warn(&name, format!("unable to read extended attributes: {e}"));
                    Default::default()
                });
                // What was opened counts, should it have been exchanged since it was listed.
                let metadata = directory.metadata().unwrap_or(metadata);
                let child = node.directory(name, metadata, xattrs);
                visit(&child, directory, Some(&rules), &bases);
            }
            Err(e) => {
                if e.kind() != std::io::ErrorKind::NotFound {
                    node.fail(&name, Kind::Directory, format!("unable to read directory: {e}"));
                }
                if node.run.unvisited.fetch_sub(1, Ordering::SeqCst) == 1 {
                    node.run.links.all_seen();
                }
            }
        }
        node.done();
    });
}

/// What earlier snapshots have in a directory, the newest first.
struct Known(Vec<HashMap<Name, Entry>>);

impl Known {
    fn load(run: &Run, bases: &[ObjectId]) -> Self {
        let load = |id: &ObjectId| match run.runtime.block_on(Directory::read(run.contents.reader(), *id)) {
            Ok(directory) => Some(directory.entries.into_iter().map(|e| (e.name.clone(), e)).collect()),
            Err(e) => {
                tracing::warn!("cannot compare with an earlier snapshot: {e}");
                None
            }
        };
        Self(bases.iter().filter_map(load).collect())
    }

    fn of<'a>(&'a self, name: &Name) -> impl Iterator<Item = &'a Entry> {
        self.0.iter().filter_map(move |entries| entries.get(name))
    }

    fn directories(&self, name: &Name) -> Vec<ObjectId> {
        directories(self.of(name))
    }

    fn matching(&self, name: &Name, metadata: &Metadata) -> Option<&Entry> {
        self.of(name).find(|entry| metadata.matches(entry))
    }
}

/// Small files that are stored by one task.
struct Batch<'a> {
    node: &'a Arc<Node>,
    directory: &'a Arc<LocalDirectory>,
    files: Vec<SmallFile>,
    bytes: u64,
}

impl<'a> Batch<'a> {
    fn new(node: &'a Arc<Node>, directory: &'a Arc<LocalDirectory>) -> Self {
        Self { node, directory, files: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, file: SmallFile) {
        self.bytes += file.metadata.size;
        self.files.push(file);
        if self.files.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        let files = std::mem::take(&mut self.files);
        self.bytes = 0;
        if files.is_empty() {
            return;
        }
        let (node, directory) = (Arc::clone(self.node), Arc::clone(self.directory));
        node.expect_one();
        rayon::spawn(move || {
            file::store_batch(&node, &directory, files);
            node.done();
        });
    }
}
