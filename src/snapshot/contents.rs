//! Which contents an entry is made of, with everything below it.

use std::collections::HashSet;

use super::directory::Directory;
use super::{SnapshotError, Stop};
use crate::content::Reader;
use crate::content::id::ContentId;
use crate::object::{Object, ObjectId};

/// The contents of objects, and of all that lies below those that are directories, each once. Reads directories and
/// lists, but no files.
pub async fn contents_below(
    contents: &Reader,
    roots: Vec<(ObjectId, bool)>,
    stop: &Stop,
) -> Result<Vec<ContentId>, SnapshotError> {
    let contents = &contents.for_scan();
    let (mut todo, mut seen, mut found) = (roots, HashSet::new(), HashSet::new());
    while let Some((id, is_directory)) = todo.pop() {
        if stop.is_set() {
            return Err(SnapshotError::Canceled);
        }
        if !seen.insert(id) {
            continue;
        }
        found.insert(id.content);
        if id.list().is_some() || is_directory {
            found.extend(Object::open(contents, id).await?.pieces().iter().map(|piece| piece.content));
        }
        if is_directory {
            let below = Directory::read(contents, id).await?.entries;
            todo.extend(below.into_iter().map(|entry| (entry.object, entry.kind.is_directory())));
        }
    }
    Ok(found.into_iter().collect())
}
