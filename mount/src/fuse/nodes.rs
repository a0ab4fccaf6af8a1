//! Answers about nodes: finding them, their attributes, targets and extended attributes.

use std::sync::Arc;

use fuser::{Errno, Generation, ReplyAttr, ReplyData, ReplyEntry, ReplyStatfs, ReplyXattr};

use super::Served;
use super::convert::{attributes, errno, lifetime, nothing};
use crate::answer::Failure;
use crate::{Tree, TreeError, Xattr};

/// A number of an inode never means another file.
pub(super) const GENERATION: Generation = Generation(0);

impl<T: Tree> Served<T> {
    pub(super) fn lookup(self: &Arc<Self>, parent: u64, name: &[u8], reply: ReplyEntry) {
        let directory = match self.known(parent) {
            Ok(directory) => directory,
            Err(error) => return reply.error(error),
        };
        let stays = directory.fresh_for.is_none();
        let (served, tree, name) = (self.clone(), self.tree.clone(), name.to_vec());
        let found = async move { tree.lookup(&directory.node, &name).await };
        self.answers.answer(Self::question("lookup in the directory", parent), found, move |found| match found {
            Ok(seen) => {
                let (attributes_of, lifetime) = (seen.attributes, lifetime(seen.fresh_for));
                let number = served.inodes.tell(seen.identity, seen);
                reply.entry(&lifetime, &attributes(number, &attributes_of), GENERATION);
            }
            // The kernel keeps this, and asks no more for what shells and loaders look for everywhere.
            Err(Failure::Tree(TreeError::NotFound)) if stays => reply.entry(&lifetime(None), &nothing(), GENERATION),
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    pub(super) fn attributes(self: &Arc<Self>, inode: u64, reply: ReplyAttr) {
        let known = match self.known(inode) {
            Ok(known) => known,
            Err(error) => return reply.error(error),
        };
        if known.fresh_for.is_none() {
            return reply.attr(&lifetime(None), &attributes(inode, &known.attributes));
        }
        let (served, tree) = (self.clone(), self.tree.clone());
        let seen = async move { tree.look_again(&known.node).await };
        self.answers.answer(Self::question("attributes", inode), seen, move |seen| match seen {
            Ok(seen) => {
                let (attributes_of, lifetime) = (seen.attributes, lifetime(seen.fresh_for));
                served.inodes.refresh(inode, seen);
                reply.attr(&lifetime, &attributes(inode, &attributes_of));
            }
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    pub(super) fn target(self: &Arc<Self>, inode: u64, reply: ReplyData) {
        let known = match self.known(inode) {
            Ok(known) => known,
            Err(error) => return reply.error(error),
        };
        let tree = self.tree.clone();
        let target = async move { tree.read_link(&known.node).await };
        self.answers.answer(Self::question("target of the link", inode), target, move |target| match target {
            Ok(target) => reply.data(&target),
            Err(failure) => reply.error(errno(&failure)),
        });
    }

    pub(super) fn xattr(self: &Arc<Self>, inode: u64, name: &[u8], room: u32, reply: ReplyXattr) {
        let (name, absent) = (name.to_vec(), absent(name));
        self.xattrs("extended attribute", inode, room, reply, move |all| {
            let wanted = all.into_iter().find(|xattr| xattr.name == name);
            wanted.map(|xattr| xattr.value).ok_or(absent)
        });
    }

    pub(super) fn xattr_names(self: &Arc<Self>, inode: u64, room: u32, reply: ReplyXattr) {
        self.xattrs("names of extended attributes", inode, room, reply, |all| Ok(names(&all)));
    }

    /// Answers with what `select` makes of all extended attributes, as far as there is room for it: 0 asks for the
    /// size alone.
    fn xattrs<S>(self: &Arc<Self>, operation: &'static str, inode: u64, room: u32, reply: ReplyXattr, select: S)
    where
        S: FnOnce(Vec<Xattr>) -> Result<Vec<u8>, Errno> + Send + 'static,
    {
        if !self.has_xattrs {
            // The kernel asks no more.
            return reply.error(Errno::ENOSYS);
        }
        let known = match self.known(inode) {
            Ok(known) => known,
            Err(error) => return reply.error(error),
        };
        let tree = self.tree.clone();
        let all = async move { tree.xattrs(&known.node).await };
        self.answers.answer(Self::question(operation, inode), all, move |all| {
            match all.map_err(|failure| errno(&failure)).and_then(select).and_then(|value| fit(value, room)) {
                Ok(Fitted::Size(size)) => reply.size(size),
                Ok(Fitted::Value(value)) => reply.data(&value),
                Err(error) => reply.error(error),
            }
        });
    }

    pub(super) fn space(&self, reply: ReplyStatfs) {
        const BLOCK: u32 = 4096;
        const LONGEST_NAME: u32 = 255;
        let space = self.tree.space();
        let (total, free) = (space.total.div_ceil(BLOCK.into()), space.free / u64::from(BLOCK));
        reply.statfs(total, free, free, space.files, 0, BLOCK, LONGEST_NAME, BLOCK);
    }
}

/// What is said of an extended attribute that a node does not have. `ls -l` asks for ACLs and security labels of each
/// file, but once only where these are not supported: that is ten times faster, and nobody else tells the difference.
fn absent(name: &[u8]) -> Errno {
    if name.starts_with(b"security.") || name.starts_with(b"system.") { Errno::ENOTSUP } else { Errno::NO_XATTR }
}

#[derive(Debug, PartialEq, Eq)]
enum Fitted {
    Size(u32),
    Value(Vec<u8>),
}

fn fit(value: Vec<u8>, room: u32) -> Result<Fitted, Errno> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::E2BIG)?;
    match room {
        0 => Ok(Fitted::Size(size)),
        _ if size > room => Err(Errno::ERANGE),
        _ => Ok(Fitted::Value(value)),
    }
}

/// Each listed name, ended by a zero byte.
fn names(all: &[Xattr]) -> Vec<u8> {
    let listed = all.iter().filter(|xattr| xattr.is_listed);
    listed.flat_map(|xattr| xattr.name.iter().copied().chain([0])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_given_when_there_is_room() {
        assert_eq!(fit(vec![1, 2], 0), Ok(Fitted::Size(2)));
        assert_eq!(fit(vec![1, 2], 1), Err(Errno::ERANGE));
        assert_eq!(fit(vec![1, 2], 2), Ok(Fitted::Value(vec![1, 2])));
        assert_eq!(fit(vec![], 2), Ok(Fitted::Value(vec![])));
    }

    #[test]
    fn what_ls_asks_of_each_file_is_not_supported() {
        for name in ["security.selinux", "security.capability", "system.posix_acl_access"] {
            assert_eq!(absent(name.as_bytes()), Errno::ENOTSUP);
        }
        assert_eq!((absent(b"user.security."), absent(b"trusted.a")), (Errno::NO_XATTR, Errno::NO_XATTR));
    }

    #[test]
    fn what_is_not_listed_is_left_out() {
        let xattr = |name: &[u8], is_listed| Xattr { name: name.to_vec(), value: vec![], is_listed };
        assert_eq!(names(&[xattr(b"user.a", true), xattr(b"user.b", false), xattr(b"c", true)]), b"user.a\0c\0");
        assert_eq!(names(&[]), b"");
    }
}
