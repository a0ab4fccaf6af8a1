//! A mount from its start to its end.
//!
//! Mounting fails for reasons that the user can mend, so what can be checked before is checked before, and each
//! error says what to do. Unmounting has two ends: nobody uses the files any more, or the mount is taken from the
//! tree of directories while those who have files open keep them until they close.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::Tree;
use crate::answer::Answers;
use crate::fuse::{self, Mounted, Served};
use crate::mountpoint::{self, MountError};
use crate::unmount::{self, UnmountError, Unmounted};

/// How to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What `mount` and `df` show as the source. Commas, backslashes and control characters show as `_`.
    pub name: String,
    /// Whether users other than the one who mounts are let in, each as far as the stored permissions allow. Without,
    /// the one who mounts may read everything, and nobody else anything, not even root.
    pub allow_other: bool,
    /// Threads that read requests and answer those that need no wait; at least 1.
    pub threads: usize,
    /// How long a request may take before it is answered with an I/O error.
    pub deadline: Duration,
    /// Whether extended attributes are shown. Without, nothing asks for them, which newer versions of `ls -l` do for
    /// each file.
    pub has_xattrs: bool,
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            name: "larder".to_owned(),
            allow_other: false,
            threads: processors.clamp(2, 4),
            deadline: Duration::from_secs(60),
            has_xattrs: true,
        }
    }
}

/// A tree that is mounted. Dropping it unmounts, lazily if need be.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    mounted: Mounted,
    is_detached: AtomicBool,
}

impl Mount {
    /// Mounts `tree` at the empty directory `mountpoint`, read-only. Blocks for some milliseconds.
    ///
    /// The tree is asked on threads of its own, and what it has to wait for runs on `runtime`, which needs its
    /// timers and must live as long as the mount.
    ///
    /// # Errors
    ///
    /// See [`MountError`]: nothing is mounted then.
    pub fn start<T: Tree>(
        tree: Arc<T>,
        mountpoint: &Path,
        options: &Options,
        runtime: Handle,
    ) -> Result<Self, MountError> {
        let mountpoint = mountpoint::check(mountpoint)?;
        mountpoint::check_device()?;
        let served = Served::new(tree, Answers { runtime, deadline: options.deadline }, options.has_xattrs);
        let mounted =
            fuse::mount(served, &mountpoint, options).map_err(|error| mountpoint::explain(&mountpoint, error))?;
        tracing::debug!("mounted at {}", mountpoint.display());
        Ok(Self { mountpoint, mounted, is_detached: AtomicBool::new(false) })
    }

    /// Where it is mounted, absolute and without symbolic links.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Unmounts. Files that are open stay readable until they are closed, as long as this process lives; then a
    /// warning is logged, and [`wait`](Self::wait) tells when the last one is closed. It is no error when the mount
    /// has ended before.
    ///
    /// # Errors
    ///
    /// It is still mounted.
    pub async fn unmount(&self) -> Result<Unmounted, UnmountError> {
        let unmounted = self.detach()?;
        if unmounted == Unmounted::Wholly {
            self.wait().await;
        }
        Ok(unmounted)
    }

    /// Returns when the mount has ended: it was unmounted, by whomever, and nobody has a file of it open.
    pub async fn wait(&self) {
        // An error says that the sender is gone, and with it the thread that answers.
        let _ = self.mounted.clone().wait_for(|has_ended| *has_ended).await;
    }

    fn has_ended(&self) -> bool {
        *self.mounted.borrow() || self.mounted.has_changed().is_err()
    }

    fn detach(&self) -> Result<Unmounted, UnmountError> {
        if self.has_ended() {
            return Ok(Unmounted::Wholly);
        }
        // What is mounted there after that is not this mount.
        if self.is_detached.swap(true, Ordering::Relaxed) {
            return Ok(Unmounted::StillInUse);
        }
        let unmounted = unmount::unmount(&self.mountpoint);
        match &unmounted {
            Ok(Unmounted::Wholly) => {}
            Ok(Unmounted::StillInUse) => tracing::warn!(
                "{} is in use: it is unmounted for everybody else, and those who have files open keep them until \
                 they close them or this process ends",
                self.mountpoint.display()
            ),
            Err(_) => self.is_detached.store(false, Ordering::Relaxed),
        }
        unmounted
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            tracing::error!("{error}");
        }
    }
}
