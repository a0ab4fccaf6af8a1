//! Making files in the target: always in an open directory, never through a link.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::RestoreOptions;
use crate::snapshot::entry::{Device, Kind, Name};
use crate::snapshot::local::Metadata;

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the directory to restore into, and makes it and those above when they are not there.
pub(super) fn open_root(path: &Path, options: &RestoreOptions) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let fd = rustix::fs::open(path, OPEN_DIRECTORY, Mode::empty())?;
    if !options.overwrite_directories && !is_empty(&fd)? {
        return Err(exists("it is not empty"));
    }
    remove_access_lists(&fd);
    Ok(fd)
}

/// What is made in a directory would inherit its default list. Lists of the snapshot are set in the end.
fn remove_access_lists(fd: &OwnedFd) {
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        // Nearly always there is none, or the file system has no such thing.
        let _ = rustix::fs::fremovexattr(fd, name);
    }
}

/// Opens the directory above a single file.
pub(super) fn open_parent(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(rustix::fs::open(path, OPEN_DIRECTORY, Mode::empty())?)
}

/// Opens a directory in another one, and makes it when it is not there.
pub(super) fn make_directory(parent: &OwnedFd, name: &Name, options: &RestoreOptions) -> io::Result<OwnedFd> {
    let existed = match rustix::fs::mkdirat(parent, name.as_bytes(), Mode::RWXU) {
        Ok(()) => false,
        Err(Errno::EXIST) => true,
        Err(e) => return Err(e.into()),
    };
    let fd = match rustix::fs::openat(parent, name.as_bytes(), OPEN_DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(exists("it exists and is not a directory")),
        other => other?,
    };
    if existed && !options.overwrite_directories && !is_empty(&fd)? {
        return Err(exists("the directory exists and is not empty"));
    }
    remove_access_lists(&fd);
    Ok(fd)
}

fn is_empty(fd: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(fd)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What lies under a name; it is not followed.
pub(super) fn existing(parent: &OwnedFd, name: &Name) -> io::Result<Option<Metadata>> {
    match rustix::fs::statat(parent, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Metadata::from(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Takes what lies under a name out of the way, so that what is made there is new: another name of the same file, or
/// whatever a link points to, stays as it is.
pub(super) fn clear(parent: &OwnedFd, name: &Name) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name.as_bytes(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if existing(parent, name)?.is_some_and(|m| m.kind.is_directory()) => {
            Err(exists("it exists and is a directory"))
        }
        Err(e) => Err(e.into()),
    }
}

/// A new file, which must not be there.
pub(super) fn create_file(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// A name that nobody else has, for a file that is renamed when it is complete.
pub(super) fn temporary_name(name: &Name) -> io::Result<Vec<u8>> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    // The end of a long name is given up, so that the whole is not too long.
    let start = name.as_bytes().get(..200).unwrap_or(name.as_bytes());
    Ok([b".", start, b".larder-", hex::encode(random).as_bytes()].concat())
}

/// Makes a FIFO, socket or device.
pub(super) fn make_special(parent: &OwnedFd, name: &Name, kind: Kind) -> io::Result<()> {
    let (kind, device) = match kind {
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::CharacterDevice(Device { major, minor }) => {
            (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
        }
        Kind::BlockDevice(Device { major, minor }) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        _ => return Err(ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::fs::mknodat(parent.as_fd(), name.as_bytes(), kind, Mode::RUSR | Mode::WUSR, device)?)
}

fn exists(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, why)
}
