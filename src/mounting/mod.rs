//! A repository as a tree to be mounted (format page 25 §6).
//!
//! ```text
//! all                                     kopia's layout
//! └ user@host
//!   └ path_of_the_source
//!     ├ latest → 20261121-010452          the newest complete snapshot
//!     └ 20261121-010452                   a snapshot's tree; in UTC, when it was begun
//!       └ …
//!         └ .snapshots                    hidden, in every directory: the same one in every snapshot
//!           └ 20261120-010451
//! ```
//!
//! A mount may begin at any of these. What is in a snapshot never changes, so the kernel may keep it for ever; what
//! is above changes with each new snapshot and is looked at again (`view`).

mod directories;
mod file;
mod names;
mod node;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use larder_mount::{Identity, Listing, Seen, Space, Tree, TreeError, Xattr};
use tokio::sync::Semaphore;

use crate::content::Reader;
use crate::policy::SourceInfo;
use crate::repo::{Repository, RepositoryError};
use crate::snapshot::SnapshotError;
use crate::snapshot::entry::{self, Entry, Name};
use crate::snapshot::manifest::Snapshot;
use directories::{Decoded, Directories};
pub use file::OpenFile;
pub use node::Node;
use node::{EntryNode, FoundIn, attributes};
use view::{FRESH_FOR, Named, View, Views};

/// The name of the link to the newest snapshot.
const LATEST: &str = "latest";
/// The hidden directory of all versions of a directory.
const HISTORY: &str = ".snapshots";
/// Contents fetched before they are asked for, of all files and directories together.
const FETCHED_AHEAD: usize = 32;

/// What a mount shows at its root.
#[derive(Debug)]
pub enum Shown {
    All,
    Source(SourceInfo),
    /// An entry, the snapshot it is from if that is known, and its path there.
    Entry {
        entry: Box<Entry>,
        snapshot: Option<Box<Snapshot>>,
        path: Vec<Name>,
    },
}

/// A repository's snapshots as a tree.
#[derive(Debug)]
pub struct SnapshotTree {
    repository: Repository,
    contents: Arc<Reader>,
    views: Arc<Views>,
    directories: Arc<Directories>,
    ahead: Arc<Semaphore>,
    root: Node,
    mounted: Timestamp,
}

impl SnapshotTree {
    /// `until`: only snapshots that were begun by then are shown.
    pub async fn open(repository: Repository, shown: Shown, until: Option<Timestamp>) -> Result<Self, RepositoryError> {
        let contents = Arc::clone(repository.contents());
        let root = match shown {
            Shown::All => Node::All,
            Shown::Source(source) => Node::Source(Arc::new(source)),
            Shown::Entry { entry, snapshot, path } => {
                let identity = Identity::root(entry.object.to_string().as_bytes());
                let found_in = FoundIn::Top { parent: identity, snapshot: snapshot.map(Arc::from), path };
                Node::Entry(Arc::new(EntryNode { entry: *entry, identity, found_in }))
            }
        };
        Ok(Self {
            views: Views::open(repository.clone(), until).await?,
            directories: Directories::new(Arc::clone(&contents)),
            ahead: Arc::new(Semaphore::new(FETCHED_AHEAD)),
            mounted: repository.clock().now(),
            contents,
            root,
            repository,
        })
    }

    fn all(&self) -> Identity {
        Identity::root(self.repository.unique_id())
    }

    fn identity(&self, node: &Node) -> Identity {
        let source =
            |source: &SourceInfo| self.all().child(view::owner_of(source).as_bytes()).child(source.path.as_bytes());
        match node {
            Node::All => self.all(),
            Node::Owner(owner) => self.all().child(owner.as_bytes()),
            Node::Source(info) => source(info),
            Node::Latest(info) => source(info).child(LATEST.as_bytes()),
            Node::Entry(node) => node.identity,
            Node::History(node) => node.identity.child(HISTORY.as_bytes()),
        }
    }

    /// A node above the snapshots, which may change at any time.
    fn level(&self, node: Node, attributes: larder_mount::Attributes) -> Seen<Node> {
        Seen { identity: self.identity(&node), node, attributes, fresh_for: Some(FRESH_FOR) }
    }

    fn directory_level(&self, node: Node) -> Seen<Node> {
        self.level(node, node::level(self.mounted))
    }

    fn latest(&self, source: &Arc<SourceInfo>, named: &Named<Arc<Snapshot>>) -> Seen<Node> {
        self.level(Node::Latest(Arc::clone(source)), node::link(&named.name, named.what.start_time))
    }

    /// The root of a snapshot. None when it has none.
    fn snapshot(&self, parent: Identity, snapshot: &Arc<Snapshot>) -> Option<Seen<Node>> {
        let entry = snapshot.root_entry.clone()?;
        Some(self.top(parent, snapshot, Vec::new(), entry))
    }

    /// The first entry that is shown of a snapshot, below `parent`.
    fn top(&self, parent: Identity, snapshot: &Arc<Snapshot>, path: Vec<Name>, entry: Entry) -> Seen<Node> {
        let id = snapshot.id.map(|id| id.to_string()).unwrap_or_default();
        let identity = parent.child(id.as_bytes());
        let mut attributes = attributes(&entry);
        if path.is_empty() {
            attributes.mtime = node::level(snapshot.start_time).mtime;
        }
        let found_in = FoundIn::Top { parent, snapshot: Some(Arc::clone(snapshot)), path };
        // The snapshot may be deleted, though what is in it never changes.
        Seen {
            identity,
            node: Node::Entry(Arc::new(EntryNode { entry, identity, found_in })),
            attributes,
            fresh_for: Some(FRESH_FOR),
        }
    }

    fn child(&self, directory: &Arc<EntryNode>, entry: &Entry) -> Seen<Node> {
        let node = directory.child(entry.clone());
        let (identity, attributes) = (node.identity, attributes(entry));
        Seen { identity, node: Node::Entry(Arc::new(node)), attributes, fresh_for: None }
    }

    async fn decoded(&self, node: &EntryNode) -> Result<Arc<Decoded>, TreeError> {
        if !node.entry.kind.is_directory() {
            return Err(TreeError::NotADirectory);
        }
        self.directories.get(node.entry.object).await.map_err(|e| io(&e))
    }

    /// What a directory was in another snapshot. None when it was none, or not there.
    async fn version(&self, snapshot: &Snapshot, path: &[Name]) -> Result<Option<Entry>, TreeError> {
        let Some(mut entry) = snapshot.root_entry.clone() else { return Ok(None) };
        for name in path {
            if !entry.kind.is_directory() {
                return Ok(None);
            }
            let directory = self.directories.get(entry.object).await.map_err(|e| io(&e))?;
            match directory.find(name.as_bytes()) {
                Some(found) => entry = found.clone(),
                None => return Ok(None),
            }
        }
        Ok(Some(entry).filter(|entry| entry.kind.is_directory()))
    }

    /// All versions of a directory that can be read, under the names of their snapshots.
    async fn history(&self, node: &Arc<EntryNode>) -> Vec<(Vec<u8>, Seen<Node>)> {
        let Some(source) = node.snapshot().map(|snapshot| snapshot.source.clone()) else { return Vec::new() };
        let (view, path, identity) =
            (self.views.current().await, node.path(), self.identity(&Node::History(Arc::clone(node))));
        let mut found = Vec::new();
        for Named { name, what: snapshot } in view.snapshots(&source) {
            match self.version(snapshot, &path).await {
                Ok(Some(entry)) => {
                    found.push((name.clone().into_bytes(), self.top(identity, snapshot, path.clone(), entry)));
                }
                Ok(None) => {}
                // One that is damaged must not hide the others.
                Err(e) => tracing::warn!("cannot show what is in snapshot {name}: {}", crate::error::chain(&e)),
            }
        }
        found
    }

    async fn history_at(&self, node: &Arc<EntryNode>, name: &[u8]) -> Result<Seen<Node>, TreeError> {
        let source = node.snapshot().map(|snapshot| &snapshot.source).ok_or(TreeError::NotFound)?;
        let view = self.views.current().await;
        let named = view.snapshots(source).iter().find(|named| named.name.as_bytes() == name);
        let (snapshot, path) = (&named.ok_or(TreeError::NotFound)?.what, node.path());
        let entry = self.version(snapshot, &path).await?.ok_or(TreeError::NotFound)?;
        Ok(self.top(self.identity(&Node::History(Arc::clone(node))), snapshot, path, entry))
    }

    /// The entries of a source's directory.
    fn snapshots(&self, view: &View, source: &Arc<SourceInfo>) -> Vec<(Vec<u8>, Seen<Node>)> {
        let parent = self.identity(&Node::Source(Arc::clone(source)));
        let latest = view.latest(source).map(|named| (LATEST.into(), self.latest(source, named)));
        let snapshots = view.snapshots(source).iter();
        let roots = snapshots.filter_map(|n| Some((n.name.clone().into_bytes(), self.snapshot(parent, &n.what)?)));
        roots.chain(latest).collect()
    }

    /// Has the directories in a directory fetched: who lists it often goes on into them.
    fn fetch_directories(&self, decoded: &Decoded) {
        for entry in decoded.entries.iter().filter(|entry| entry.kind.is_directory()) {
            if self.directories.has(&entry.object) {
                continue;
            }
            let Ok(turn) = Arc::clone(&self.ahead).try_acquire_owned() else { return };
            let (directories, object) = (Arc::clone(&self.directories), entry.object);
            tokio::spawn(async move {
                // An error is met again by whoever goes there.
                let _ = directories.get(object).await;
                drop(turn);
            });
        }
    }
}

impl Tree for SnapshotTree {
    type Node = Node;
    type File = OpenFile;

    fn root(&self) -> Seen<Node> {
        match &self.root {
            Node::Entry(node) => Seen {
                node: self.root.clone(),
                identity: node.identity,
                attributes: attributes(&node.entry),
                fresh_for: None,
            },
            level => self.directory_level(level.clone()),
        }
    }

    async fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Seen<Node>, TreeError> {
        let view = match directory {
            Node::Entry(_) | Node::History(_) => Arc::default(),
            _ => self.views.current().await,
        };
        let found = match directory {
            Node::All => view
                .owners
                .iter()
                .find(|(_, named)| named.name.as_bytes() == name)
                .map(|(owner, _)| self.directory_level(Node::Owner(owner.as_str().into()))),
            Node::Owner(owner) => view.owners.get(&**owner).and_then(|owner| {
                let named = owner.what.sources.iter().find(|named| named.name.as_bytes() == name)?;
                Some(self.directory_level(Node::Source(Arc::clone(&named.what))))
            }),
            Node::Source(source) if name == LATEST.as_bytes() => {
                view.latest(source).map(|named| self.latest(source, named))
            }
            Node::Source(source) => {
                let named = view.snapshots(source).iter().find(|named| named.name.as_bytes() == name);
                named.and_then(|named| self.snapshot(self.identity(directory), &named.what))
            }
            Node::Latest(_) => return Err(TreeError::NotADirectory),
            Node::Entry(node) => match self.decoded(node).await?.find(name) {
                Some(entry) => Some(self.child(node, entry)),
                None if name == HISTORY.as_bytes() && node.snapshot().is_some() => {
                    Some(self.directory_level(Node::History(Arc::clone(node))))
                }
                None => None,
            },
            Node::History(node) => return self.history_at(node, name).await,
        };
        found.ok_or(TreeError::NotFound)
    }

    async fn list(&self, directory: &Node) -> Result<Arc<Listing<Node>>, TreeError> {
        let entries = match directory {
            Node::All => {
                let view = self.views.current().await;
                let owner = |(owner, named): (&String, &Named<_>)| {
                    (named.name.clone().into_bytes(), self.directory_level(Node::Owner(owner.as_str().into())))
                };
                view.owners.iter().map(owner).collect()
            }
            Node::Owner(owner) => {
                let view = self.views.current().await;
                let sources = view.owners.get(&**owner).map_or(&[][..], |owner| &owner.what.sources);
                let source = |named: &Named<Arc<SourceInfo>>| {
                    (named.name.clone().into_bytes(), self.directory_level(Node::Source(Arc::clone(&named.what))))
                };
                sources.iter().map(source).collect()
            }
            Node::Source(source) => self.snapshots(&*self.views.current().await, source),
            Node::Latest(_) => return Err(TreeError::NotADirectory),
            Node::Entry(node) => {
                let decoded = self.decoded(node).await?;
                self.fetch_directories(&decoded);
                decoded.entries.iter().map(|e| (e.name.as_bytes().to_vec(), self.child(node, e))).collect()
            }
            Node::History(node) => self.history(node).await,
        };
        let parent = match directory {
            Node::All => self.all(),
            Node::Owner(_) => self.all(),
            Node::Source(source) | Node::Latest(source) => self.all().child(view::owner_of(source).as_bytes()),
            Node::Entry(node) => node.parent(),
            Node::History(node) => node.identity,
        };
        Ok(Arc::new(Listing { entries, parent }))
    }

    async fn look_again(&self, node: &Node) -> Result<Seen<Node>, TreeError> {
        match node {
            Node::Latest(source) => {
                let view = self.views.current().await;
                view.latest(source).map(|named| self.latest(source, named)).ok_or(TreeError::NotFound)
            }
            Node::Entry(entry) => {
                let mut attributes = attributes(&entry.entry);
                let mut fresh_for = None;
                let is_root = matches!(&self.root, Node::Entry(root) if root.identity == entry.identity);
                if let FoundIn::Top { snapshot: Some(snapshot), path, .. } = &entry.found_in
                    && !is_root
                {
                    fresh_for = Some(FRESH_FOR);
                    if path.is_empty() {
                        attributes.mtime = node::level(snapshot.start_time).mtime;
                    }
                }
                Ok(Seen { node: node.clone(), identity: entry.identity, attributes, fresh_for })
            }
            level => Ok(self.directory_level(level.clone())),
        }
    }

    async fn open(&self, file: &Node) -> Result<OpenFile, TreeError> {
        let Node::Entry(node) = file else { return Err(TreeError::IsADirectory) };
        match node.entry.kind {
            entry::Kind::Directory => Err(TreeError::IsADirectory),
            _ => OpenFile::open(&self.contents, node.entry.object, &self.ahead).await.map_err(boxed),
        }
    }

    async fn read(&self, file: &OpenFile, offset: u64, length: usize) -> Result<Bytes, TreeError> {
        file.read(offset, length).await.map_err(boxed)
    }

    async fn read_link(&self, link: &Node) -> Result<Vec<u8>, TreeError> {
        match link {
            Node::Latest(source) => {
                let view = self.views.current().await;
                Ok(view.latest(source).ok_or(TreeError::NotFound)?.name.clone().into_bytes())
            }
            Node::Entry(node) if node.entry.kind == entry::Kind::Symlink => {
                let object = crate::object::Object::open(&self.contents, node.entry.object).await.map_err(boxed)?;
                Ok(object.read(&self.contents).await.map_err(boxed)?.to_vec())
            }
            _ => Err(TreeError::NotALink),
        }
    }

    async fn xattrs(&self, node: &Node) -> Result<Vec<Xattr>, TreeError> {
        match node {
            Node::Entry(node) => Ok(node.xattrs()),
            _ => Ok(Vec::new()),
        }
    }

    /// As much as the newest snapshots of all sources have.
    fn space(&self) -> Space {
        let view = self.views.known();
        let sources = view.owners.values().flat_map(|owner| &owner.what.sources);
        let roots = sources.filter_map(|source| view.latest(&source.what)?.what.root_entry.as_ref());
        let summaries = roots.filter_map(|root| root.summary.as_deref());
        let (total, files) = summaries.fold((0_u64, 0_u64), |(size, files), summary| {
            (size.saturating_add(summary.size), files.saturating_add(summary.files))
        });
        Space { total, free: 0, files }
    }
}

fn io(e: &Arc<SnapshotError>) -> TreeError {
    TreeError::Io(Box::new(Arc::clone(e)))
}

fn boxed(e: impl std::error::Error + Send + Sync + 'static) -> TreeError {
    TreeError::Io(Box::new(e))
}
