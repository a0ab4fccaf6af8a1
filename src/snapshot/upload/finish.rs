//! Finishing a directory: sort, sum up, write.

use std::sync::atomic::Ordering;

use super::node::{Node, Role};
use super::{Run, SnapshotError};
use crate::content::id::Prefix;
use crate::object::{ObjectId, ObjectOptions, put_bytes};
use crate::snapshot::directory;
use crate::snapshot::entry::{Entry, Kind, Rare};
use crate::snapshot::summary::{FailedEntry, Summary};

/// The entry of a node whose entries are all there. None when the upload has failed.
pub(super) fn finish(node: &Node) -> Option<Entry> {
    let (entries, failed) = {
        let mut state = node.state();
        (std::mem::take(&mut state.entries), std::mem::take(&mut state.failed))
    };
    if node.run.has_failed.load(Ordering::Relaxed) {
        return None;
    }
    match &node.role {
        Role::Directory { .. } => match write(node, entries, failed, None) {
            Ok(entry) => Some(entry),
            Err(e) => {
                node.run.fail(e);
                None
            }
        },
        Role::SingleFile { name } => {
            let Some(mut file) = entries.into_iter().next() else {
                let why = failed.into_iter().next().map_or_else(|| "canceled".to_owned(), |(failed, _)| failed.error);
                node.run.fail(SnapshotError::RootFile(why));
                return None;
            };
            file.name.clone_from(name);
            file.summary = Some(Box::new(Summary::of_file(&file)));
            Some(file)
        }
    }
}

/// Writes the directory object of a node with these entries. `checkpoint`: the directory is not at its end yet.
pub(super) fn write(
    node: &Node,
    mut entries: Vec<Entry>,
    failed: Vec<(FailedEntry, bool)>,
    checkpoint: Option<crate::snapshot::summary::Incomplete>,
) -> Result<Entry, SnapshotError> {
    let Role::Directory { name, metadata, xattrs, .. } = &node.role else {
        return Err(SnapshotError::Internal("a file is not a directory".into()));
    };
    directory::sort(&mut entries);
    let mut summary = Summary::of_directory(metadata.mtime, &entries);
    summary.fail(failed);
    let cut_short = node.cut_short.load(Ordering::Relaxed);
    summary.incomplete = checkpoint.or(summary.incomplete).or(node.run.incomplete().filter(|_| cut_short));
    let json = directory::encode(&mut entries, &summary);
    let rare = (!xattrs.is_empty()).then(|| Box::new(Rare { xattrs: xattrs.clone(), ..Rare::default() }));
    Ok(Entry {
        name: name.clone(),
        kind: Kind::Directory,
        mode: metadata.mode,
        size: 0,
        mtime: metadata.mtime,
        uid: metadata.uid,
        gid: metadata.gid,
        object: put_directory(node, &json)?,
        summary: Some(Box::new(summary)),
        rare,
    })
}

fn put_directory(node: &Node, json: &[u8]) -> Result<ObjectId, SnapshotError> {
    let run: &Run = &node.run;
    let compression = node.metadata_compression();
    let options = ObjectOptions {
        prefix: Prefix::DIRECTORY,
        compression,
        metadata_compression: compression,
        splitter: run.contents.parameters().splitter,
    };
    Ok(run.workers.with(|worker| put_bytes(&run.contents, &options, json, &mut worker.scratch))?)
}
