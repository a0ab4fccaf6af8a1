//! Which files are names of one inode (format page 28).
//!
//! A name is marked when the inode has another one *in this snapshot*, so it may be known only when the last
//! directory has been listed. Until then the entry waits, and with it its directory. An inode whose names have all
//! been seen is decided at once, as nearly all are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::node::Node;
use crate::object::ObjectId;
use crate::snapshot::entry::{Entry, Rare};
use crate::snapshot::local::Metadata;
use crate::sync::lock;

#[derive(Default)]
pub(super) struct Links {
    inodes: Mutex<HashMap<(u64, u64), Arc<Inode>>>,
}

/// An inode with more names than one.
pub(super) struct Inode {
    id: String,
    state: Mutex<InodeState>,
}

#[derive(Default)]
struct InodeState {
    /// Names seen in this snapshot.
    seen: u64,
    /// Whether there are several, once that is known.
    shared: Option<bool>,
    /// Directories with the number of an entry that waits for it.
    waiting: Vec<(Arc<Node>, usize)>,
    /// Data that was stored for it, and the attributes it had.
    stored: Option<(Metadata, ObjectId)>,
}

impl Links {
    /// Notes a name that will be in the snapshot. None for an inode with one name only.
    pub(super) fn see(&self, metadata: &Metadata) -> Option<Arc<Inode>> {
        if metadata.links < 2 {
            return None;
        }
        let key = (metadata.device, metadata.inode);
        let id = || format!("{:x}.{}", metadata.device, metadata.inode);
        let new = || Arc::new(Inode { id: id(), state: Mutex::default() });
        let inode = Arc::clone(lock(&self.inodes).entry(key).or_insert_with(new));
        let mut state = lock(&inode.state);
        state.seen += 1;
        let all_seen = state.seen >= metadata.links;
        drop(state);
        if all_seen {
            lock(&self.inodes).remove(&key);
            inode.decide();
        }
        Some(inode)
    }

    /// There are no more names to come.
    pub(super) fn all_seen(&self) {
        let inodes = std::mem::take(&mut *lock(&self.inodes));
        inodes.into_values().for_each(|inode| inode.decide());
    }
}

impl Inode {
    /// What is stored of it already, if it was like this then.
    pub(super) fn stored(&self, metadata: &Metadata) -> Option<ObjectId> {
        lock(&self.state).stored.filter(|(known, _)| known == metadata).map(|(_, object)| object)
    }

    pub(super) fn set_stored(&self, metadata: Metadata, object: ObjectId) {
        lock(&self.state).stored = Some((metadata, object));
    }

    /// Adds an entry to its directory, marked as a link if it is one.
    pub(super) fn add_entry(&self, node: &Arc<Node>, mut entry: Entry) {
        let mut state = lock(&self.state);
        match state.shared {
            Some(shared) => {
                if shared {
                    mark(&mut entry, &self.id);
                }
                node.add_entry(entry);
            }
            None => {
                node.expect_one();
                let mut directory = node.state();
                state.waiting.push((Arc::clone(node), directory.entries.len()));
                directory.entries.push(entry);
            }
        }
    }

    fn decide(&self) {
        let mut state = lock(&self.state);
        let shared = state.seen > 1;
        state.shared = Some(shared);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (node, number) in waiting {
            if shared && let Some(entry) = node.state().entries.get_mut(number) {
                mark(entry, &self.id);
            }
            node.done();
        }
    }
}

fn mark(entry: &mut Entry, id: &str) {
    entry.rare.get_or_insert_with(|| Box::new(Rare::default())).link = Some(id.to_owned());
}
