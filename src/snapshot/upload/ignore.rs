//! Which entries of a directory are left out: the dot files' contents, found and read (format page 22 §3.1).

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use crate::policy::{IgnoreContext, PolicyTree};
use crate::snapshot::SnapshotError;
use crate::snapshot::entry::{Kind, Name};
use crate::snapshot::local::LocalDirectory;

/// A directory with this file in it is a cache.
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The rules that hold in a directory.
pub(super) fn context(
    directory: &LocalDirectory,
    path: &[u8],
    policy: &PolicyTree,
    parent: Option<&Arc<IgnoreContext>>,
) -> Result<Arc<IgnoreContext>, SnapshotError> {
    let mut dot_files = Vec::new();
    for name in IgnoreContext::dot_file_names(parent, policy) {
        // A link is followed, but only to a file.
        let read = std::fs::File::open(directory.path_of(&Name::from(name.as_str()))).and_then(read_file);
        match read {
            Ok(rules) => dot_files.push((name.as_str(), rules)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(SnapshotError::IgnoreFile { name: name.clone(), source: e }),
        }
    }
    Ok(IgnoreContext::for_directory(parent, path, policy, &dot_files)?)
}

fn read_file(mut file: std::fs::File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a directory is tagged as a cache, so that it is stored empty.
pub(super) fn is_cache(directory: &LocalDirectory) -> bool {
    let tag = Name::from(CACHE_TAG);
    let is_file = directory.metadata_of(&tag).ok().flatten().is_some_and(|metadata| metadata.kind == Kind::File);
    let signature = || -> io::Result<bool> {
        let Some(mut file) = directory.open_file(&tag)? else { return Ok(false) };
        let mut start = [0; CACHE_SIGNATURE.len()];
        file.read_exact(&mut start)?;
        Ok(start == CACHE_SIGNATURE)
    };
    is_file && signature().unwrap_or(false)
}
