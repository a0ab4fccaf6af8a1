//! A tree of values in memory: for tests, and as what a mount can be compared with in benchmarks.
//!
//! It answers as fast as a tree can, counts what it is asked, and misbehaves where it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::{Attributes, Identity, Kind, Listing, Seen, Space, Time, Tree, TreeError, Xattr};

/// Bytes after which the pattern comes again: a prime number, so that no block of it looks like the one before.
pub const PERIOD: u64 = 1_048_573;
/// Bytes of the pattern that a read gets without copying.
const AT_ONCE: usize = 1 << 20;

/// The byte of a [`Content::Pattern`] at an offset.
pub fn pattern(offset: u64) -> u8 {
    let place = offset % PERIOD;
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8
}

/// What a node is to be made of.
#[derive(Clone, Debug)]
pub struct Item {
    pub attributes: Attributes,
    pub content: Content,
    pub xattrs: Vec<Xattr>,
    pub fresh_for: Option<Duration>,
    pub trouble: Trouble,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// Of a device, a fifo or a socket.
    Nothing,
    Bytes(Bytes),
    /// As many bytes as the size in the attributes says.
    Pattern,
    Target(Vec<u8>),
    Directory(Vec<(Vec<u8>, Item)>),
}

/// How a node misbehaves when its contents are read: bytes, entries or target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// The answer takes so long.
    Slow(Duration),
    /// There is no answer.
    Hangs,
    Fails,
    Panics,
}

impl Item {
    /// A file of the pattern.
    pub fn pattern(size: u64) -> Self {
        Self::new(Kind::File, 0o644, size, Content::Pattern)
    }

    pub fn file(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(Kind::File, 0o644, bytes.len() as u64, Content::Bytes(bytes))
    }

    pub fn link(target: &[u8]) -> Self {
        Self::new(Kind::Symlink, 0o777, target.len() as u64, Content::Target(target.to_vec()))
    }

    pub fn directory<N: AsRef<[u8]>>(entries: impl IntoIterator<Item = (N, Self)>) -> Self {
        let entries = entries.into_iter().map(|(name, item)| (name.as_ref().to_vec(), item)).collect();
        Self::new(Kind::Directory, 0o755, 4096, Content::Directory(entries))
    }

    /// A device, a fifo or a socket.
    pub fn special(kind: Kind) -> Self {
        Self::new(kind, 0o600, 0, Content::Nothing)
    }

    #[must_use]
    pub fn with_trouble(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    fn new(kind: Kind, mode: u16, size: u64, content: Content) -> Self {
        let mtime = Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
        let attributes = Attributes { kind, mode, size, blocks: size.div_ceil(512), mtime, links: 1, uid: 0, gid: 0 };
        Self { attributes, content, xattrs: Vec::new(), fresh_for: None, trouble: Trouble::None }
    }
}

/// The tree.
pub struct Memory {
    root: Arc<Node>,
    pattern: Bytes,
    asked: Asked,
}

/// How often the tree was asked.
#[derive(Debug, Default)]
pub struct Asked {
    pub lookups: AtomicU64,
    pub lists: AtomicU64,
    pub looks_again: AtomicU64,
    pub opens: AtomicU64,
    pub reads: AtomicU64,
    pub xattrs: AtomicU64,
}

/// A node of [`Memory`].
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    item: Item,
    entries: BTreeMap<Vec<u8>, Arc<Self>>,
    listing: Option<Arc<Listing<Arc<Self>>>>,
}

impl Node {
    fn new(identity: Identity, parent: Identity, mut item: Item) -> Arc<Self> {
        let children = match &mut item.content {
            Content::Directory(entries) => std::mem::take(entries),
            _ => return Arc::new(Self { identity, item, entries: BTreeMap::new(), listing: None }),
        };
        let named = |(name, item): (Vec<u8>, Item)| {
            let child = Self::new(identity.child(&name), identity, item);
            (name, child)
        };
        let entries: BTreeMap<_, _> = children.into_iter().map(named).collect();
        let listed = entries.iter().map(|(name, child)| (name.clone(), child.seen())).collect();
        let listing = Some(Arc::new(Listing { entries: listed, parent }));
        Arc::new(Self { identity, item, entries, listing })
    }

    fn seen(self: &Arc<Self>) -> Seen<Arc<Self>> {
        let (attributes, fresh_for) = (self.item.attributes, self.item.fresh_for);
        Seen { node: self.clone(), identity: self.identity, attributes, fresh_for }
    }

    async fn misbehave(&self) -> Result<(), TreeError> {
        match self.item.trouble {
            Trouble::None => Ok(()),
            Trouble::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Trouble::Hangs => std::future::pending().await,
            Trouble::Fails => Err(TreeError::Io("the tree fails here, as it was told to".into())),
            #[expect(clippy::panic, reason = "it was told to")]
            Trouble::Panics => panic!("the tree panics here, as it was told to"),
        }
    }
}

impl Memory {
    /// A tree whose nodes have the same identities whenever it is made under this name.
    pub fn new(name: &str, root: Item) -> Self {
        let identity = Identity::root(name.as_bytes());
        let pattern = (0..PERIOD + AT_ONCE as u64).map(pattern).collect();
        Self { root: Node::new(identity, identity, root), pattern, asked: Asked::default() }
    }

    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    fn pattern(&self, offset: u64, length: usize) -> Bytes {
        let part = |offset: u64, length: usize| {
            let start = (offset % PERIOD) as usize;
            self.pattern.slice(start..start + length)
        };
        if length <= AT_ONCE {
            return part(offset, length);
        }
        let mut all = BytesMut::with_capacity(length);
        while all.len() < length {
            let here = (length - all.len()).min(AT_ONCE);
            all.extend_from_slice(&part(offset + all.len() as u64, here));
        }
        all.freeze()
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tree for Memory {
    type Node = Arc<Node>;
    type File = Arc<Node>;

    fn root(&self) -> Seen<Arc<Node>> {
        self.root.seen()
    }

    async fn lookup(&self, directory: &Arc<Node>, name: &[u8]) -> Result<Seen<Arc<Node>>, TreeError> {
        count(&self.asked.lookups);
        if directory.listing.is_none() {
            return Err(TreeError::NotADirectory);
        }
        directory.entries.get(name).map(Node::seen).ok_or(TreeError::NotFound)
    }

    async fn list(&self, directory: &Arc<Node>) -> Result<Arc<Listing<Arc<Node>>>, TreeError> {
        count(&self.asked.lists);
        directory.misbehave().await?;
        directory.listing.clone().ok_or(TreeError::NotADirectory)
    }

    async fn look_again(&self, node: &Arc<Node>) -> Result<Seen<Arc<Node>>, TreeError> {
        count(&self.asked.looks_again);
        Ok(node.seen())
    }

    async fn open(&self, file: &Arc<Node>) -> Result<Arc<Node>, TreeError> {
        count(&self.asked.opens);
        if file.listing.is_some() { Err(TreeError::IsADirectory) } else { Ok(file.clone()) }
    }

    async fn read(&self, file: &Arc<Node>, offset: u64, length: usize) -> Result<Bytes, TreeError> {
        count(&self.asked.reads);
        file.misbehave().await?;
        let left = file.item.attributes.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        Ok(match &file.item.content {
            Content::Pattern => self.pattern(offset, length),
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                bytes.slice(start..start.saturating_add(length).min(bytes.len()))
            }
            Content::Nothing | Content::Target(_) | Content::Directory(_) => Bytes::new(),
        })
    }

    async fn read_link(&self, link: &Arc<Node>) -> Result<Vec<u8>, TreeError> {
        link.misbehave().await?;
        match &link.item.content {
            Content::Target(target) => Ok(target.clone()),
            _ => Err(TreeError::NotALink),
        }
    }

    async fn xattrs(&self, node: &Arc<Node>) -> Result<Vec<Xattr>, TreeError> {
        count(&self.asked.xattrs);
        Ok(node.item.xattrs.clone())
    }

    fn space(&self) -> Space {
        Space { total: 1 << 40, free: 1 << 30, files: 12345 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pattern_is_the_same_however_it_is_read() {
        let size = 5 * PERIOD + 17;
        let tree = Memory::new("test", Item::directory([("file", Item::pattern(size))]));
        let file = tree.lookup(&tree.root().node, b"file").await.unwrap().node;
        for (offset, length) in [(0, 10), (PERIOD - 3, 7), (5, AT_ONCE), (3 * PERIOD - 1, AT_ONCE + 5), (size - 3, 9)] {
            let read = tree.read(&file, offset, length).await.unwrap();
            assert_eq!(read.len() as u64, (length as u64).min(size - offset));
            assert!(read.iter().zip(offset..).all(|(byte, at)| *byte == pattern(at)), "{offset} {length}");
        }
        assert!(tree.read(&file, size + 1, 10).await.unwrap().is_empty());
    }
}
