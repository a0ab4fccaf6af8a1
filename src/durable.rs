//! Names that survive a power loss: a new name is safe only when the directory that has it was synced.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory and those above it that are missing, with these permission bits, and makes their names durable.
pub fn create_directories(path: &Path, mode: u32) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_directory(parent),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            create_directories(parent, mode)?;
            create_directories(path, mode)
        }
        // Whoever made it may not have come so far as to sync it. A directory that may not be read was not made by
        // this user, and a moment ago.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => match sync_directory(parent) {
            Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => Ok(()),
            other => other,
        },
        Err(e) => Err(e),
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn directories_are_made_as_far_as_they_are_missing() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a/b/c");
        create_directories(&path, 0o700).unwrap();
        create_directories(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "").unwrap();
        for bad in ["file", "file/below"] {
            assert!(create_directories(&path.join(bad), 0o700).is_err());
        }
        create_directories(Path::new("/"), 0o700).unwrap();
    }
}
