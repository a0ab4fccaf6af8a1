//! The local file system as a source: listing, attributes, and reading files with holes.
//!
//! Everything goes through an open directory and a name in it, so no path is walked twice and none is too long.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::entry::{Device, Entry, Kind, Name, Xattrs};

/// Attributes of a file, directory or anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub kind: Kind,
    /// Permission bits, setuid, setgid and sticky.
    pub mode: u16,
    /// Bytes of a file, or of a link's target; 0 for anything else.
    pub size: u64,
    pub mtime: Timestamp,
    pub uid: u32,
    pub gid: u32,
    /// Number of the file system and of the inode in it.
    pub device: u64,
    pub inode: u64,
    /// Names of the inode.
    pub links: u64,
    /// Whether fewer blocks are allocated than the size asks for.
    pub sparse: bool,
}

impl Metadata {
    /// Whether an entry of an earlier snapshot holds the same data, as kopia decides it (format page 21 §5).
    pub fn matches(&self, entry: &Entry) -> bool {
        self.kind == entry.kind
            && self.mtime == entry.mtime
            && self.mode == entry.mode
            && (self.uid, self.gid) == (entry.uid, entry.gid)
            && self.size == entry.size
    }
}

impl From<&Stat> for Metadata {
    fn from(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharacterDevice(device(stat.st_rdev)),
            FileType::BlockDevice => Kind::BlockDevice(device(stat.st_rdev)),
            FileType::Unknown => Kind::Unknown,
        };
        let size = match kind {
            Kind::File | Kind::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        };
        Self {
            kind,
            mode: (stat.st_mode & 0o7777) as u16,
            size,
            mtime: storable_time(stat.st_mtime, stat.st_mtime_nsec),
            uid: stat.st_uid,
            gid: stat.st_gid,
            device: stat.st_dev,
            inode: stat.st_ino,
            links: stat.st_nlink,
            sparse: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size,
        }
    }
}

fn device(number: u64) -> Device {
    Device { major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
}

/// Kopia keeps times as nanoseconds in 64 bits: 1677 to 2262. Others become the nearest of these.
fn storable_time(seconds: i64, nanoseconds: impl TryInto<i32>) -> Timestamp {
    let earliest = Timestamp::from_nanosecond(i64::MIN.into()).unwrap_or(Timestamp::MIN);
    let latest = Timestamp::from_nanosecond(i64::MAX.into()).unwrap_or(Timestamp::MAX);
    let end = if seconds < 0 { earliest } else { latest };
    let time = Timestamp::new(seconds, nanoseconds.try_into().unwrap_or(0)).unwrap_or(end);
    time.clamp(earliest, latest)
}

/// What a directory's own list says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: Name,
    /// As far as the file system tells so early.
    pub is_directory: bool,
}

/// An open directory.
#[derive(Debug)]
pub struct LocalDirectory {
    fd: OwnedFd,
    path: PathBuf,
}

impl LocalDirectory {
    /// Opens a directory by its path; links in it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory in this one, if it still is one.
    pub fn open_child(&self, name: &Name) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name.as_bytes(), flags, Mode::empty())?;
        Ok(Self { fd, path: self.path_of(name) })
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata::from(&rustix::fs::fstat(&self.fd)?))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn path_of(&self, name: &Name) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name.as_bytes()))
    }

    /// What is in it, in the order of the inodes, which is the order in which they are read the quickest.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        // Not opened by its name `.`, which who may list a directory but not enter it cannot do.
        let mut directory = Dir::new(self.fd.try_clone()?)?;
        directory.rewind();
        let mut found = Vec::new();
        for entry in directory {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let is_directory = entry.file_type() == FileType::Directory;
                found.push((entry.ino(), Listed { name: Name::from(name), is_directory }));
            }
        }
        found.sort_unstable_by_key(|(inode, _)| *inode);
        Ok(found.into_iter().map(|(_, listed)| listed).collect())
    }

    /// Attributes of what has this name, which is not followed when it is a link. None when it is gone.
    pub fn metadata_of(&self, name: &Name) -> io::Result<Option<Metadata>> {
        match rustix::fs::statat(&self.fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a regular file for reading. None when it is gone.
    pub fn open_file(&self, name: &Name) -> io::Result<Option<File>> {
        // Something else may have taken the name meanwhile: not blocking keeps a FIFO from stopping us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |more| rustix::fs::openat(&self.fd, name.as_bytes(), flags | more, Mode::empty());
        // Only the owner may read a file without leaving a trace.
        let opened = match open(OFlags::NOATIME) {
            Err(Errno::PERM) => open(OFlags::empty()),
            other => other,
        };
        match opened {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The target of a link. None when it is gone.
    pub fn read_link(&self, name: &Name) -> io::Result<Option<Vec<u8>>> {
        match rustix::fs::readlinkat(&self.fd, name.as_bytes(), Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Extended attributes of what has this name, as far as a restore can set them again.
    pub fn xattrs_of(&self, name: &Name) -> io::Result<Xattrs> {
        read_xattrs(&self.path_of(name)).or_else(|e| match e.raw_os_error().map(Errno::from_raw_os_error) {
            // The path is too long; there is one through the open directory.
            Some(Errno::NAMETOOLONG) => {
                let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
                path.push(std::ffi::OsStr::from_bytes(name.as_bytes()));
                read_xattrs(&path)
            }
            _ => Err(e),
        })
    }

    /// The directory's own extended attributes.
    pub fn xattrs(&self) -> io::Result<Xattrs> {
        read_xattrs(&self.path)
    }
}

/// Whether an attribute is kept (format page 28). What the system itself derives, such as a security context, is not.
fn is_kept(name: &str) -> bool {
    name.starts_with("user.")
        || name.starts_with("trusted.")
        || matches!(name, "security.capability" | "system.posix_acl_access" | "system.posix_acl_default")
}

fn read_xattrs(path: &Path) -> io::Result<Xattrs> {
    let mut found = Xattrs::new();
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(e) if no_xattrs(&e) => return Ok(found),
        Err(e) => return Err(e),
    };
    for name in names {
        let Some(name) = name.to_str().filter(|name| is_kept(name)) else { continue };
        match xattr::get(path, name) {
            Ok(Some(value)) => _ = found.insert(name.to_owned(), value),
            Ok(None) => {}
            Err(e) if no_xattrs(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// The file system has none, or the file is gone.
fn no_xattrs(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported
        || matches!(e.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::NOTSUP | Errno::NOENT | Errno::NODATA))
}

/// A range of a file, in which holes are not read but made up.
#[derive(Debug)]
pub struct RangeReader {
    file: File,
    position: u64,
    /// None: to the end of the file, wherever that is by then.
    end: Option<u64>,
    sparse: bool,
    /// End of the hole or the data that `position` is in.
    extent: Option<Extent>,
}

#[derive(Clone, Copy, Debug)]
enum Extent {
    Hole(u64),
    Data(u64),
}

impl RangeReader {
    pub fn new(file: File, start: u64, end: Option<u64>, sparse: bool) -> Self {
        Self { file, position: start, end, sparse, extent: None }
    }

    /// What the file looks like now.
    pub fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata::from(&rustix::fs::fstat(&self.file)?))
    }

    fn extent(&mut self) -> io::Result<Extent> {
        if let Some(extent) = self.extent {
            let (Extent::Hole(end) | Extent::Data(end)) = extent;
            if end > self.position {
                return Ok(extent);
            }
        }
        let seek = |to| rustix::fs::seek(self.file.as_fd(), to);
        let extent = match seek(SeekFrom::Data(self.position)) {
            Ok(data) if data > self.position => Extent::Hole(data),
            Ok(_) => Extent::Data(seek(SeekFrom::Hole(self.position))?),
            // A hole up to the end.
            Err(Errno::NXIO) => {
                let size = self.file.metadata()?.len();
                if size > self.position { Extent::Hole(size) } else { Extent::Data(u64::MAX) }
            }
            // This file system does not know.
            Err(_) => Extent::Data(u64::MAX),
        };
        self.extent = Some(extent);
        Ok(extent)
    }
}

impl Read for RangeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let extent = if self.sparse { self.extent()? } else { Extent::Data(u64::MAX) };
        let (Extent::Hole(end) | Extent::Data(end)) = extent;
        let left = end.min(self.end.unwrap_or(u64::MAX)).saturating_sub(self.position);
        let wanted = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let out = out.get_mut(..wanted).unwrap_or_default();
        let read = match extent {
            Extent::Hole(_) => {
                out.fill(0);
                wanted
            }
            Extent::Data(_) => self.file.read_at(out, self.position)?,
        };
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn lists_what_is_there() {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("file"), "abc").unwrap();
        std::fs::create_dir(directory.path().join("dir")).unwrap();
        symlink("target", directory.path().join("link")).unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"bad\xff");
        std::fs::write(directory.path().join(odd), "").unwrap();
        let open = LocalDirectory::open(directory.path()).unwrap();
        let mut listed = open.list().unwrap();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let expected = [&b"bad\xff"[..], b"dir", b"file", b"link"];
        let expected = expected.map(|name| Listed { name: Name::from(name), is_directory: name == b"dir" });
        assert_eq!(listed, expected);
        let metadata = |name: &str| open.metadata_of(&Name::from(name)).unwrap().unwrap();
        assert_eq!((metadata("file").kind, metadata("file").size), (Kind::File, 3));
        assert_eq!((metadata("link").kind, metadata("link").size), (Kind::Symlink, 6));
        assert_eq!((metadata("dir").kind, metadata("dir").size), (Kind::Directory, 0));
        assert_eq!(open.read_link(&Name::from("link")).unwrap().unwrap(), b"target");
        assert!(open.open_child(&Name::from("link")).is_err());
        assert!(open.open_file(&Name::from("link")).is_err());
        for gone in ["gone"].map(Name::from) {
            assert_eq!(open.metadata_of(&gone).unwrap(), None);
            assert!(open.open_file(&gone).unwrap().is_none());
            assert!(open.read_link(&gone).unwrap().is_none());
        }
    }

    #[test]
    fn holes_read_as_zeros() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        file.as_file().write_all_at(b"middle", 1 << 20).unwrap();
        file.flush().unwrap();
        let expected = std::fs::read(file.path()).unwrap();
        for sparse in [false, true] {
            for (start, end) in
                [(0, None), (5, Some(2_000_000)), ((1 << 20) + 3, None), (3 << 20, None), (0, Some(9 << 20))]
            {
                let mut bytes = Vec::new();
                let mut reader = RangeReader::new(file.reopen().unwrap(), start, end, sparse);
                reader.read_to_end(&mut bytes).unwrap();
                let end = end.map_or(expected.len(), |end| (end as usize).min(expected.len()));
                assert!(bytes == expected[start as usize..end], "{start} {end}");
            }
        }
    }

    #[test]
    fn times_fit() {
        let text = |seconds, nanoseconds: i64| storable_time(seconds, nanoseconds).to_string();
        assert_eq!(text(0, 5), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(text(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(i64::MAX, 0), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(text(-i64::MAX, 0), "1677-09-21T00:12:43.145224192Z");
    }
}
