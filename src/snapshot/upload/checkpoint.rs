//! Saving the work so far while it goes on (format page 21 §7).
//!
//! A checkpoint is an incomplete snapshot: directories under way with the entries they have, files under way with
//! the chunks they have. What it names need not be read again should the upload end early.

use std::sync::Arc;

use super::finish;
use super::node::{Node, Role};
use crate::snapshot::SnapshotError;
use crate::snapshot::entry::Entry;
use crate::snapshot::summary::Incomplete;

pub struct Checkpointer {
    root: Arc<Node>,
}

impl Checkpointer {
    pub(super) fn new(root: Arc<Node>) -> Self {
        Self { root }
    }

    /// The root entry as things are now. None when nothing has been stored yet. Writes directories, and may block.
    pub fn root(&self) -> Result<Option<Entry>, SnapshotError> {
        match self.root.role {
            Role::Directory { .. } => checkpoint(&self.root),
            Role::SingleFile { .. } => Ok(None),
        }
    }
}

fn checkpoint(node: &Node) -> Result<Option<Entry>, SnapshotError> {
    let (mut entries, failed, directories, files) = {
        let state = node.state();
        let directories: Vec<Arc<Node>> = state.directories.values().cloned().collect();
        let files: Vec<_> = state.files.values().cloned().collect();
        (state.entries.clone(), state.failed.clone(), directories, files)
    };
    for directory in directories {
        entries.extend(checkpoint(&directory)?);
    }
    for file in files {
        entries.extend(file.checkpoint()?);
    }
    if entries.is_empty() {
        return Ok(None);
    }
    finish::write(node, entries, failed, Some(Incomplete::Checkpoint)).map(Some)
}
