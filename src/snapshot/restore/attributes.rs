//! Giving what was restored its owner, permissions, extended attributes and times.
//!
//! In this order: a change of owner takes setuid bits and capabilities away, so it comes first; user attributes need
//! write permission, so they come before the mode; access lists are part of the mode, so they come after it; times
//! come last.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Run, add};
use crate::snapshot::entry::{Entry, Name};
use crate::snapshot::local::Metadata;

/// Of an open file or directory.
pub(super) fn set(run: &Run, fd: &impl AsFd, entry: &Entry, path: &[u8]) -> io::Result<()> {
    let fd = fd.as_fd();
    let now = Metadata::from(&rustix::fs::fstat(fd)?);
    let options = &run.options;
    if !options.skip_owners && (now.uid, now.gid) != (entry.uid, entry.gid) {
        let done = rustix::fs::fchown(fd, Some(uid(entry.uid)), Some(gid(entry.gid)));
        tolerate(run, done, "owner", path)?;
    }
    let xattrs = || entry.xattrs().into_iter().flatten();
    let set_xattr = |(name, value): (&String, &Vec<u8>)| {
        let done = rustix::fs::fsetxattr(fd, name.as_str(), value, XattrFlags::empty());
        attribute_error(run, done, name, path);
    };
    xattrs().filter(|(name, _)| !depends_on_mode(name)).for_each(set_xattr);
    if !options.skip_permissions && (now.mode != entry.mode || now.uid != entry.uid || now.gid != entry.gid) {
        tolerate(run, rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode.into())), "permissions", path)?;
    }
    xattrs().filter(|(name, _)| depends_on_mode(name)).for_each(set_xattr);
    if !options.skip_times {
        tolerate(run, rustix::fs::futimens(fd, &times(entry.mtime)), "times", path)?;
    }
    Ok(())
}

/// Of what cannot or should not be opened: a link, a FIFO, a device.
pub(super) fn set_at(run: &Run, parent: &OwnedFd, name: &Name, entry: &Entry, path: &[u8]) -> io::Result<()> {
    let options = &run.options;
    let is_link = entry.kind == crate::snapshot::entry::Kind::Symlink;
    let bytes = name.as_bytes();
    if !options.skip_owners {
        let now = Metadata::from(&rustix::fs::statat(parent, bytes, AtFlags::SYMLINK_NOFOLLOW)?);
        if (now.uid, now.gid) != (entry.uid, entry.gid) {
            let owner = (Some(uid(entry.uid)), Some(gid(entry.gid)));
            let done = rustix::fs::chownat(parent, bytes, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
            tolerate(run, done, "owner", path)?;
        }
    }
    if !options.skip_permissions && !is_link {
        let mode = Mode::from_raw_mode(entry.mode.into());
        tolerate(run, rustix::fs::chmodat(parent, bytes, mode, AtFlags::empty()), "permissions", path)?;
    }
    for (name, value) in entry.xattrs().into_iter().flatten() {
        let through = through_descriptor(parent.as_fd(), bytes);
        attribute_error(run, rustix::fs::lsetxattr(through, name.as_str(), value, XattrFlags::empty()), name, path);
    }
    if !options.skip_times {
        let done = rustix::fs::utimensat(parent, bytes, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW);
        tolerate(run, done, "times", path)?;
    }
    Ok(())
}

fn depends_on_mode(xattr: &str) -> bool {
    xattr.starts_with("system.posix_acl") || xattr.starts_with("security.")
}

/// A path to a name in an open directory, for calls that take no descriptor.
fn through_descriptor(parent: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat()
}

fn uid(id: u32) -> Uid {
    Uid::from_raw(id)
}

fn gid(id: u32) -> Gid {
    Gid::from_raw(id)
}

fn times(mtime: Timestamp) -> Timestamps {
    let (mut seconds, mut nanoseconds) = (mtime.as_second(), i64::from(mtime.subsec_nanosecond()));
    if nanoseconds < 0 {
        // Before 1970 the fraction counts downwards here, upwards there.
        (seconds, nanoseconds) = (seconds - 1, nanoseconds + 1_000_000_000);
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: time, last_modification: time }
}

/// What may not be done is counted, unless it was asked for strictly.
fn tolerate(run: &Run, done: rustix::io::Result<()>, what: &str, path: &[u8]) -> io::Result<()> {
    match done {
        Err(e @ (Errno::PERM | Errno::ACCESS)) if run.options.ignore_permission_errors => {
            add(&run.progress.attribute_errors, 1);
            tracing::debug!("{}: cannot set {what}: {e}", String::from_utf8_lossy(path));
            Ok(())
        }
        other => Ok(other?),
    }
}

/// An extended attribute that cannot be set never fails a file.
fn attribute_error(run: &Run, done: rustix::io::Result<()>, name: &str, path: &[u8]) {
    if let Err(e) = done {
        add(&run.progress.attribute_errors, 1);
        run.note(format!("{}: cannot set attribute {name}: {e}", String::from_utf8_lossy(path)));
    }
}
