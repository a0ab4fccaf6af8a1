//! What a mount shows: a tree of nodes that can be read.
//!
//! A tree knows nothing of FUSE. It answers in plain values, takes as long as it needs, and may be asked from many
//! tasks at once; the mount sees to deadlines, inode numbers and the kernel's rules.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::Identity;

/// A read-only tree.
pub trait Tree: Send + Sync + 'static {
    /// What stands for a node; cheap to clone.
    type Node: Clone + Send + Sync + 'static;
    /// An open file: what it keeps to be read quickly.
    type File: Send + Sync + 'static;

    fn root(&self) -> Seen<Self::Node>;

    /// The entry of a directory with this name, also one that [`list`](Self::list) leaves out.
    fn lookup(
        &self,
        directory: &Self::Node,
        name: &[u8],
    ) -> impl Future<Output = Result<Seen<Self::Node>, TreeError>> + Send;

    /// All entries of a directory, without `.` and `..`.
    fn list(&self, directory: &Self::Node) -> impl Future<Output = Result<Arc<Listing<Self::Node>>, TreeError>> + Send;

    /// A node as it is now, for those whose attributes do not stay.
    fn look_again(&self, node: &Self::Node) -> impl Future<Output = Result<Seen<Self::Node>, TreeError>> + Send;

    fn open(&self, file: &Self::Node) -> impl Future<Output = Result<Self::File, TreeError>> + Send;

    /// Bytes of an open file from `offset` on; fewer than `length` only at its end.
    fn read(
        &self,
        file: &Self::File,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Bytes, TreeError>> + Send;

    /// The target of a symbolic link.
    fn read_link(&self, link: &Self::Node) -> impl Future<Output = Result<Vec<u8>, TreeError>> + Send;

    /// All extended attributes of a node.
    fn xattrs(&self, node: &Self::Node) -> impl Future<Output = Result<Vec<Xattr>, TreeError>> + Send;

    fn space(&self) -> Space;
}

/// A node as it was found.
#[derive(Clone, Debug)]
pub struct Seen<N> {
    pub node: N,
    pub identity: Identity,
    pub attributes: Attributes,
    /// How long the kernel may believe it: attributes, and of a directory also which names it has. None: for ever,
    /// which also says that a file's contents and extended attributes stay as they are.
    pub fresh_for: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Listing<N> {
    /// Names, each once, and what has them, in the order in which they are shown.
    pub entries: Vec<(Vec<u8>, Seen<N>)>,
    /// Of the directory that holds this one, for its `..`.
    pub parent: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    /// Major and minor number.
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub kind: Kind,
    /// Permission bits, setuid, setgid and sticky.
    pub mode: u16,
    /// Bytes.
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    pub mtime: Time,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Seconds since 1970, which may be negative, and nanoseconds after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    /// False for what is answered when asked for, but left out of lists, so that copies do not carry it.
    pub is_listed: bool,
}

/// What `statfs` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub total: u64,
    pub free: u64,
    pub files: u64,
}

/// Why a tree cannot answer, by what the caller is told.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("there is no such entry")]
    NotFound,
    #[error("it is not a directory")]
    NotADirectory,
    #[error("it is a directory")]
    IsADirectory,
    #[error("it is not a symbolic link")]
    NotALink,
    /// What lies below cannot be had or is damaged: an I/O error, and a line in the log.
    #[error("{0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
}
