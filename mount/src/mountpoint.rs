//! Why a tree cannot be mounted somewhere, in words that say what to do.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Nothing is mounted, for this reason.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("the mountpoint {0} does not exist: create it with `mkdir -p {0}`")]
    Absent(PathBuf),
    #[error("the mountpoint {0} is not a directory: give an empty directory")]
    NotADirectory(PathBuf),
    #[error("the mountpoint {0} is not empty: give an empty directory")]
    NotEmpty(PathBuf),
    #[error("something is mounted at {0} already: unmount it with `umount {0}`, or give another directory")]
    Taken(PathBuf),
    #[error(
        "a mount at {0} was left behind by a process that ended: clear it with `fusermount3 -u {0}` or `umount -l {0}`"
    )]
    LeftBehind(PathBuf),
    #[error("the mountpoint {path} cannot be used")]
    Unusable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("there is no /dev/fuse: load the kernel's module with `modprobe fuse`, or give it to the container")]
    NoDevice,
    #[error("this user may not open /dev/fuse: run as root, or let the user open it")]
    DeviceDenied(#[source] io::Error),
    #[error("this user needs the program fusermount3 to mount: install the package fuse3, or run as root")]
    NoHelper,
    #[error("other users may be let in only if /etc/fuse.conf has the line `user_allow_other`: add it, or run as root")]
    OthersDenied,
    #[error("{path} cannot be mounted")]
    Refused {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

/// The mountpoint with its whole path, if a tree can be mounted there.
///
/// Something may be mounted there already when it is empty: in containers, mountpoints are often volumes.
pub(crate) fn check(mountpoint: &Path) -> Result<PathBuf, MountError> {
    let given = mountpoint.to_path_buf();
    let path = fs::canonicalize(mountpoint).map_err(|error| unusable(given.clone(), error))?;
    let metadata = fs::metadata(&path).map_err(|error| unusable(given, error))?;
    if !metadata.is_dir() {
        return Err(MountError::NotADirectory(path));
    }
    let is_empty = match fs::read_dir(&path) {
        Ok(mut entries) => entries.next().is_none(),
        // Who may not look may still mount.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => true,
        Err(error) => return Err(unusable(path, error)),
    };
    let is_mounted = fs::metadata(path.join("..")).is_ok_and(|parent| parent.dev() != metadata.dev());
    match (is_empty, is_mounted) {
        (true, _) => Ok(path),
        (false, true) => Err(MountError::Taken(path)),
        (false, false) => Err(MountError::NotEmpty(path)),
    }
}

fn unusable(path: PathBuf, cause: io::Error) -> MountError {
    match cause.kind() {
        ErrorKind::NotFound => MountError::Absent(path),
        ErrorKind::NotConnected => MountError::LeftBehind(path),
        ErrorKind::NotADirectory => MountError::NotADirectory(path),
        _ => MountError::Unusable { path, cause },
    }
}

pub(crate) fn check_device() -> Result<(), MountError> {
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(MountError::DeviceDenied(error)),
        // ENXIO and ENODEV: a node for a device that the kernel does not have.
        Err(_) => Err(MountError::NoDevice),
    }
}

/// What an error of mounting means. The device was there, so that only the helper can be missing.
pub(crate) fn explain(mountpoint: &Path, cause: io::Error) -> MountError {
    match cause.kind() {
        ErrorKind::NotFound => MountError::NoHelper,
        ErrorKind::PermissionDenied if cause.to_string().contains("user_allow_other") => MountError::OthersDenied,
        _ => MountError::Refused { path: mountpoint.to_path_buf(), cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_empty_will_do() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(check(directory.path()).unwrap(), fs::canonicalize(directory.path()).unwrap());
        assert!(matches!(check(&directory.path().join("absent")), Err(MountError::Absent(_))));
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(check(&file), Err(MountError::NotADirectory(_))));
        assert!(matches!(check(&file.join("below")), Err(MountError::NotADirectory(_))));
        assert!(matches!(check(directory.path()), Err(MountError::NotEmpty(_))));
        assert!(matches!(check(Path::new("/proc")), Err(MountError::Taken(_))));
    }

    #[test]
    fn errors_say_what_to_do() {
        let at = Path::new("/mnt");
        let told = "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf";
        let denied = io::Error::new(ErrorKind::PermissionDenied, told);
        assert!(explain(at, denied).to_string().contains("add it, or run as root"));
        assert!(explain(at, ErrorKind::NotFound.into()).to_string().contains("install the package fuse3"));
        assert!(matches!(explain(at, io::Error::other("else")), MountError::Refused { .. }));
        let left = unusable(at.to_path_buf(), io::Error::from(ErrorKind::NotConnected));
        assert!(left.to_string().contains("`fusermount3 -u /mnt`"), "{left}");
    }
}
