//! What a mount's nodes are: the levels above the snapshots, and entries of snapshots.
//!
//! An entry knows the entry it was found in, so that its path is there when it is asked for, and costs nothing before.

use std::sync::Arc;

use larder_mount::{Attributes, Identity, Kind, Time, Xattr};

use crate::policy::SourceInfo;
use crate::snapshot::entry::{self, Entry, Name};
use crate::snapshot::manifest::Snapshot;

/// Bytes of a block in `st_blocks`, whatever the file system.
const BLOCK: u64 = 512;
/// What the attributes are called that tell where a node comes from.
const SNAPSHOT_XATTR: &[u8] = b"user.larder.snapshot";
const OBJECT_XATTR: &[u8] = b"user.larder.object";
const PATH_XATTR: &[u8] = b"user.larder.path";

#[derive(Clone, Debug)]
pub enum Node {
    /// All users and hosts.
    All,
    /// A `user@host`, with its sources.
    Owner(Arc<str>),
    /// A source, with its snapshots.
    Source(Arc<SourceInfo>),
    /// The link to the newest snapshot of a source.
    Latest(Arc<SourceInfo>),
    Entry(Arc<EntryNode>),
    /// How a directory was in every snapshot of its source.
    History(Arc<EntryNode>),
}

#[derive(Debug)]
pub struct EntryNode {
    pub(super) entry: Entry,
    pub(super) identity: Identity,
    pub(super) found_in: FoundIn,
}

#[derive(Debug)]
pub(super) enum FoundIn {
    Directory(Arc<EntryNode>),
    /// Nothing of the snapshot: it is the first of it that the mount shows.
    Top {
        /// Of what is above.
        parent: Identity,
        /// None for a bare object.
        snapshot: Option<Arc<Snapshot>>,
        /// From the snapshot's root to the entry.
        path: Vec<Name>,
    },
}

impl EntryNode {
    pub(super) fn child(self: &Arc<Self>, entry: Entry) -> Self {
        // All names of one inode of a snapshot are one inode here.
        let identity = match entry.link() {
            Some(link) => self.top().identity.shared(link.as_bytes()),
            None => self.identity.child(entry.name.as_bytes()),
        };
        Self { entry, identity, found_in: FoundIn::Directory(Arc::clone(self)) }
    }

    pub(super) fn parent(&self) -> Identity {
        match &self.found_in {
            FoundIn::Directory(parent) => parent.identity,
            FoundIn::Top { parent, .. } => *parent,
        }
    }

    fn top(&self) -> &Self {
        let mut node = self;
        while let FoundIn::Directory(parent) = &node.found_in {
            node = parent;
        }
        node
    }

    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        match &self.top().found_in {
            FoundIn::Top { snapshot, .. } => snapshot.as_ref(),
            FoundIn::Directory(_) => None,
        }
    }

    /// From the snapshot's root.
    pub(super) fn path(&self) -> Vec<Name> {
        let (mut node, mut names) = (self, Vec::new());
        loop {
            match &node.found_in {
                FoundIn::Directory(parent) => {
                    names.push(node.entry.name.clone());
                    node = parent;
                }
                FoundIn::Top { path, .. } => {
                    names.extend(path.iter().rev().cloned());
                    names.reverse();
                    return names;
                }
            }
        }
    }

    /// The entry's own attributes, and where it comes from, which copies do not carry.
    pub(super) fn xattrs(&self) -> Vec<Xattr> {
        let own = self.entry.xattrs().into_iter().flatten();
        let mut xattrs: Vec<Xattr> = own
            .map(|(name, value)| Xattr { name: name.as_bytes().to_vec(), value: value.clone(), is_listed: true })
            .collect();
        let mut tell = |name: &[u8], value: Vec<u8>| {
            xattrs.push(Xattr { name: name.to_vec(), value, is_listed: false });
        };
        tell(OBJECT_XATTR, self.entry.object.to_string().into_bytes());
        if let Some(snapshot) = self.snapshot() {
            if let Some(id) = snapshot.id {
                tell(SNAPSHOT_XATTR, id.to_string().into_bytes());
            }
            let mut path = snapshot.source.path.clone().into_bytes();
            for name in self.path() {
                if path.last() != Some(&b'/') {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
            }
            tell(PATH_XATTR, path);
        }
        xattrs
    }
}

/// What `stat` says of an entry.
pub(super) fn attributes(entry: &Entry) -> Attributes {
    let kind = match entry.kind {
        entry::Kind::File | entry::Kind::Unknown => Kind::File,
        entry::Kind::Directory => Kind::Directory,
        entry::Kind::Symlink => Kind::Symlink,
        entry::Kind::Fifo => Kind::Fifo,
        entry::Kind::Socket => Kind::Socket,
        entry::Kind::CharacterDevice(device) => Kind::CharacterDevice(device.major, device.minor),
        entry::Kind::BlockDevice(device) => Kind::BlockDevice(device.major, device.minor),
    };
    // A directory has the bytes of the files in it, as in kopia's mount.
    let size = match (entry.kind, &entry.summary) {
        (entry::Kind::Directory, Some(summary)) => summary.size,
        (entry::Kind::File | entry::Kind::Symlink, _) => entry.size,
        _ => 0,
    };
    Attributes {
        kind,
        mode: entry.mode,
        size,
        blocks: if kind == Kind::File { size.div_ceil(BLOCK) } else { 0 },
        mtime: time(entry.mtime),
        // How many names there are in the whole snapshot is not known; more than one for those that say so.
        links: if entry.link().is_some() { 2 } else { 1 },
        uid: entry.uid,
        gid: entry.gid,
    }
}

/// What `stat` says of a directory above the snapshots.
pub(super) fn level(mtime: jiff::Timestamp) -> Attributes {
    Attributes {
        kind: Kind::Directory,
        mode: 0o555,
        size: 0,
        blocks: 0,
        mtime: time(mtime),
        links: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    }
}

pub(super) fn link(target: &str, mtime: jiff::Timestamp) -> Attributes {
    Attributes { kind: Kind::Symlink, mode: 0o777, size: target.len() as u64, ..level(mtime) }
}

fn time(time: jiff::Timestamp) -> Time {
    // Of a time before 1970 the nanoseconds count backwards; here they count from the second before.
    let nanoseconds = time.as_nanosecond();
    let second = nanoseconds.div_euclid(1_000_000_000);
    Time {
        seconds: i64::try_from(second).unwrap_or(0),
        nanoseconds: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970() {
        let before = jiff::Timestamp::from_nanosecond(-1_500_000_000).unwrap();
        assert_eq!(time(before), Time { seconds: -2, nanoseconds: 500_000_000 });
        let after = jiff::Timestamp::from_nanosecond(1_500_000_001).unwrap();
        assert_eq!(time(after), Time { seconds: 1, nanoseconds: 500_000_001 });
    }
}
