//! Answers about the contents of files.

use std::sync::Arc;

use fuser::{Errno, FileHandle, FopenFlags, ReplyData, ReplyOpen};

use super::Served;
use super::convert::errno;
use crate::Tree;

impl<T: Tree> Served<T> {
    pub(super) fn open_file(self: &Arc<Self>, inode: u64, reply: ReplyOpen) {
        let seen = match self.known(inode) {
            Ok(seen) => seen,
            Err(error) => return reply.error(error),
        };
        // Nothing is written, so there is nothing to be told of when a descriptor is closed.
        let mut flags = FopenFlags::FOPEN_NOFLUSH;
        if seen.fresh_for.is_none() {
            flags |= FopenFlags::FOPEN_KEEP_CACHE;
        }
        let (served, tree) = (self.clone(), self.tree.clone());
        let opened = async move { tree.open(&seen.node).await };
        self.answers.answer(Self::question("opening of the file", inode), opened, move |opened| match opened {
            Ok(file) => reply.opened(FileHandle(served.files.open(file)), flags),
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    pub(super) fn read(self: &Arc<Self>, inode: u64, handle: u64, offset: u64, length: u32, reply: ReplyData) {
        let Some(file) = self.files.get(handle) else { return reply.error(Errno::EBADF) };
        let Ok(length) = usize::try_from(length) else { return reply.error(Errno::EINVAL) };
        let tree = self.tree.clone();
        let bytes = async move { tree.read(&file, offset, length).await };
        self.answers.answer(Self::question("read", inode), bytes, move |bytes| match bytes {
            // The kernel has room for what it asked for, and takes more than that for a broken file system.
            Ok(bytes) => reply.data(bytes.get(..length).unwrap_or(&bytes)),
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    pub(super) fn close_file(&self, handle: u64) {
        let _inside = self.answers.runtime.enter();
        drop(self.files.close(handle));
    }
}
