//! Answers about the lists of directories.
//!
//! A reply with attributes tells the kernel of each node in it, which it will give back one by one: so a node is
//! counted exactly when its entry fitted into the reply.

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyOpen,
};

use super::Served;
use super::convert::{attributes, errno, file_type, lifetime};
use super::nodes::GENERATION;
use crate::paging::{OpenDirectory, Shown, page};
use crate::{Kind, Listing, Tree, TreeError};

/// An open directory, and its list.
type Opened<T> = (Arc<OpenDirectory<<T as Tree>::Node>>, Arc<Listing<<T as Tree>::Node>>);

impl<T: Tree> Served<T> {
    /// The list is read only when it is asked for: the kernel may have it still.
    pub(super) fn open_directory(&self, inode: u64, reply: ReplyOpen) {
        match self.known(inode) {
            Ok(seen) if seen.attributes.kind == Kind::Directory => {
                let flags = match seen.fresh_for {
                    None => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
                    Some(_) => FopenFlags::empty(),
                };
                let handle = self.directories.open(OpenDirectory::new(inode, seen));
                reply.opened(FileHandle(handle), flags);
            }
            Ok(_) => reply.error(Errno::ENOTDIR),
            Err(error) => reply.error(error),
        }
    }

    pub(super) fn names(self: &Arc<Self>, handle: u64, from: u64, mut reply: ReplyDirectory) {
        let Some(directory) = self.directories.get(handle) else { return reply.error(Errno::EBADF) };
        let served = self.clone();
        let question = Self::question("list of the directory", directory.inode);
        self.answers.answer(question, self.listed(directory, from), move |listed| match listed {
            Ok((directory, listing)) => {
                page(&listing, from, |shown, after| match shown {
                    Shown::Itself => reply.add(INodeNo(directory.inode), after, FileType::Directory, "."),
                    Shown::Parent => {
                        reply.add(INodeNo(served.inodes.number(listing.parent)), after, FileType::Directory, "..")
                    }
                    Shown::Entry(name, seen) => {
                        let number = INodeNo(served.inodes.number(seen.identity));
                        reply.add(number, after, file_type(seen.attributes.kind), OsStr::from_bytes(name))
                    }
                });
                reply.ok();
            }
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    pub(super) fn entries(self: &Arc<Self>, handle: u64, from: u64, reply: ReplyDirectoryPlus) {
        let Some(directory) = self.directories.get(handle) else { return reply.error(Errno::EBADF) };
        let served = self.clone();
        let question = Self::question("list of the directory", directory.inode);
        self.answers.answer(question, self.listed(directory, from), move |listed| match listed {
            Ok((directory, listing)) => served.reply_entries(&directory, &listing, from, reply),
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    fn reply_entries(
        &self,
        directory: &OpenDirectory<T::Node>,
        listing: &Listing<T::Node>,
        from: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let own = attributes(directory.inode, &directory.seen.attributes);
        // Of `.` and `..` the kernel takes the number alone, and counts nothing.
        let dots = |reply: &mut ReplyDirectoryPlus, number: u64, after: u64, name: &str| {
            let attributes = FileAttr { ino: INodeNo(number), ..own };
            reply.add(attributes.ino, after, name, &Duration::ZERO, &attributes, GENERATION)
        };
        page(listing, from, |shown, after| match shown {
            Shown::Itself => dots(&mut reply, directory.inode, after, "."),
            Shown::Parent => dots(&mut reply, self.inodes.number(listing.parent), after, ".."),
            Shown::Entry(name, seen) => {
                let number = self.inodes.tell(seen.identity, seen.clone());
                let attributes = attributes(number, &seen.attributes);
                let (name, lifetime) = (OsStr::from_bytes(name), lifetime(seen.fresh_for));
                let is_full = reply.add(attributes.ino, after, name, &lifetime, &attributes, GENERATION);
                if is_full {
                    self.inodes.forget(number, 1);
                }
                is_full
            }
        });
        reply.ok();
    }

    fn listed(
        &self,
        directory: Arc<OpenDirectory<T::Node>>,
        from: u64,
    ) -> impl Future<Output = Result<Opened<T>, TreeError>> + Send + 'static {
        let tree = self.tree.clone();
        async move {
            if let Some(listing) = directory.kept(from) {
                return Ok((directory, listing));
            }
            let listing = tree.list(&directory.seen.node).await?;
            directory.keep(&listing);
            Ok((directory, listing))
        }
    }

    pub(super) fn close_directory(&self, handle: u64) {
        drop(self.directories.close(handle));
    }
}
