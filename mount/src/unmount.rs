//! Taking a mount away: by the system call where that is allowed, else by fusermount3.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// How far a mount is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody uses it any more.
    Wholly,
    /// It is found no more by its path, but somebody has files of it open.
    StillInUse,
}

/// It is still mounted.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be unmounted: try `umount -l {path}` as root")]
pub struct UnmountError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Unmounts what is mounted there, lazily when somebody uses it.
pub fn unmount(mountpoint: &Path) -> Result<Unmounted, UnmountError> {
    let failed = |cause| UnmountError { path: mountpoint.to_path_buf(), cause };
    match rustix::mount::unmount(mountpoint, UnmountFlags::empty()) {
        Ok(()) => Ok(Unmounted::Wholly),
        Err(Errno::BUSY) => match rustix::mount::unmount(mountpoint, UnmountFlags::DETACH) {
            Ok(()) => Ok(Unmounted::StillInUse),
            Err(error) => Err(failed(error.into())),
        },
        Err(Errno::PERM) => by_helper(mountpoint).map_err(failed),
        // Somebody else was faster.
        Err(Errno::INVAL | Errno::NOENT) => Ok(Unmounted::Wholly),
        Err(error) => Err(failed(error.into())),
    }
}

fn by_helper(mountpoint: &Path) -> io::Result<Unmounted> {
    let run = |options: &[&str]| {
        let helper = |program| Command::new(program).args(options).arg("--").arg(mountpoint).output();
        // Where PATH is bare it is found all the same, as by fuser when it mounts.
        let output = helper("fusermount3").or_else(|_| helper("/bin/fusermount3"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    };
    match run(&["-u"]) {
        Ok(()) => Ok(Unmounted::Wholly),
        // It says in words only why it failed, so the lazy way is tried after any failure.
        Err(_) => run(&["-u", "-z"]).map(|()| Unmounted::StillInUse),
    }
}
