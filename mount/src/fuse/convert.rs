//! Attributes, times and errors as the kernel writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};

use crate::answer::Failure;
use crate::{Attributes, Kind, Time, TreeError};

/// As long as any machine runs; the kernel cuts it to the longest time that it can count.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// What reads are asked in, at least. A larger one changes how the kernel counts a file's blocks.
const BLOCK: u32 = 4096;

/// How long the kernel may believe something.
pub(super) fn lifetime(fresh_for: Option<Duration>) -> Duration {
    fresh_for.map_or(FOR_EVER, |time| time.min(FOR_EVER))
}

pub(super) fn errno(failure: &Failure) -> Errno {
    match failure {
        Failure::Tree(TreeError::NotFound) => Errno::ENOENT,
        Failure::Tree(TreeError::NotADirectory) => Errno::ENOTDIR,
        Failure::Tree(TreeError::IsADirectory) => Errno::EISDIR,
        Failure::Tree(TreeError::NotALink) => Errno::EINVAL,
        Failure::Tree(TreeError::Io(_)) | Failure::Late(_) | Failure::Panic => Errno::EIO,
    }
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice(..) => FileType::CharDevice,
        Kind::BlockDevice(..) => FileType::BlockDevice,
    }
}

/// Times other than mtime are not kept in a backup; they show mtime, as nothing happened to the file since.
pub(super) fn attributes(inode: u64, attributes: &Attributes) -> FileAttr {
    let mtime = time(attributes.mtime);
    FileAttr {
        ino: INodeNo(inode),
        // The kernel takes a size that is negative as its own type for a broken file system.
        size: attributes.size.min(i64::MAX as u64),
        blocks: attributes.blocks,
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: mtime,
        kind: file_type(attributes.kind),
        perm: attributes.mode & 0o7777,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device(attributes.kind),
        blksize: BLOCK,
        flags: 0,
    }
}

/// What the kernel is told about when there is nothing, and it may keep that: number 0, and no more of it is read.
pub(super) fn nothing() -> FileAttr {
    let mtime = Time::default();
    let kind = Kind::File;
    attributes(0, &Attributes { kind, mode: 0, size: 0, blocks: 0, mtime, links: 0, uid: 0, gid: 0 })
}

/// Linux's packing of 12 bits of major and 20 bits of minor number.
fn device(kind: Kind) -> u32 {
    match kind {
        Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
        }
        Kind::File | Kind::Directory | Kind::Symlink | Kind::Fifo | Kind::Socket => 0,
    }
}

/// 1970 for what no clock of this machine can say.
fn time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let start = if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    let nanoseconds = Duration::from_nanos(time.nanoseconds.min(999_999_999).into());
    start.and_then(|start| start.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_number() {
        let io = || TreeError::Io("the disk is gone".into());
        for (failure, expected) in [
            (Failure::Tree(TreeError::NotFound), 2),
            (Failure::Tree(TreeError::NotADirectory), 20),
            (Failure::Tree(TreeError::IsADirectory), 21),
            (Failure::Tree(TreeError::NotALink), 22),
            (Failure::Tree(io()), 5),
            (Failure::Late(Duration::ZERO), 5),
            (Failure::Panic, 5),
        ] {
            assert_eq!(errno(&failure).code(), expected, "{failure:?}");
        }
    }

    #[test]
    fn times_before_and_after_1970_keep_their_nanoseconds() {
        let at = |seconds, nanoseconds| time(Time { seconds, nanoseconds });
        assert_eq!(at(0, 0), UNIX_EPOCH);
        assert_eq!(at(1, 5), UNIX_EPOCH + Duration::new(1, 5));
        assert_eq!(at(-2, 800_000_000), UNIX_EPOCH - Duration::new(1, 200_000_000));
        assert_eq!(at(-1, 0), UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(at(1, u32::MAX), UNIX_EPOCH + Duration::new(1, 999_999_999));
        for seconds in [i64::MIN, i64::MIN + 1, i64::MAX] {
            let far = at(seconds, 999_999_999);
            assert!(far != UNIX_EPOCH && far.duration_since(UNIX_EPOCH).is_ok() == (seconds > 0));
        }
    }

    #[test]
    fn device_numbers_are_packed_as_linux_does() {
        assert_eq!(device(Kind::CharacterDevice(1, 3)), 0x103);
        assert_eq!(device(Kind::BlockDevice(0xabc, 0xf_edcb)), 0xfeda_bccb);
        assert_eq!(device(Kind::Fifo), 0);
    }

    #[test]
    fn attributes_are_what_the_kernel_takes() {
        let stored = Attributes {
            kind: Kind::File,
            mode: 0o104_755,
            size: u64::MAX,
            blocks: 3,
            mtime: Time { seconds: -5, nanoseconds: 1 },
            links: 2,
            uid: 10,
            gid: u32::MAX,
        };
        let told = attributes(9, &stored);
        assert_eq!((told.ino.0, told.perm, told.size), (9, 0o4755, i64::MAX as u64));
        assert_eq!((told.nlink, told.uid, told.gid, told.blocks), (2, 10, u32::MAX, 3));
        assert_eq!((told.ctime, told.atime), (told.mtime, told.mtime));
        assert_eq!(nothing().ino.0, 0);
    }

    #[test]
    fn what_stays_is_believed_for_ever() {
        assert_eq!(lifetime(None), FOR_EVER);
        assert_eq!(lifetime(Some(Duration::MAX)), FOR_EVER);
        assert_eq!(lifetime(Some(Duration::from_millis(5))), Duration::from_millis(5));
    }
}
