//! The tree in the kernel's words. Only files in here name fuser.
//!
//! - `filesystem`: what the kernel may ask, and what it is told when the tree has no say in it;
//! - `nodes`, `directories`, `files`: the answers that come from the tree;
//! - `convert`: attributes, times and errors as the kernel writes them;
//! - `session`: mounting.

mod convert;
mod directories;
mod files;
mod filesystem;
mod nodes;
mod session;

pub(crate) use session::{Mounted, mount};

use std::sync::Arc;

use fuser::Errno;

use crate::answer::{Answers, Question};
use crate::handles::Handles;
use crate::paging::OpenDirectory;
use crate::{Inodes, Seen, Tree};

/// What all threads that answer the kernel share.
pub(crate) struct Served<T: Tree> {
    tree: Arc<T>,
    inodes: Inodes<Seen<T::Node>>,
    files: Handles<T::File>,
    directories: Handles<OpenDirectory<T::Node>>,
    answers: Answers,
    has_xattrs: bool,
}

impl<T: Tree> Served<T> {
    pub(crate) fn new(tree: Arc<T>, answers: Answers, has_xattrs: bool) -> Self {
        let root = tree.root();
        let inodes = Inodes::new(root.identity, root);
        Self { tree, inodes, files: Handles::new(), directories: Handles::new(), answers, has_xattrs }
    }

    /// The kernel asks only for what it was told of and did not forget: anything else is from another mount.
    fn known(&self, inode: u64) -> Result<Seen<T::Node>, Errno> {
        self.inodes.get(inode).ok_or(Errno::ESTALE)
    }

    fn question(operation: &'static str, inode: u64) -> Question {
        Question { operation, inode }
    }
}
