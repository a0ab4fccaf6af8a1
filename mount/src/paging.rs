//! The part of a directory's list that one reply carries.
//!
//! The kernel reads a directory in pieces and says from where on. The place of an entry in its list is that position:
//! it means the same as long as the directory is open, because an open directory keeps its list. `.` and `..` come
//! first.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crate::{Listing, Seen};

/// One entry of a directory, as it is to be put into a reply.
pub(crate) enum Shown<'a, N> {
    Itself,
    Parent,
    Entry(&'a [u8], &'a Seen<N>),
}

/// How many entries come before those of the list.
const DOTS: u64 = 2;
/// Of a name, in bytes. Linux takes a longer one for a broken file system.
const LONGEST_NAME: usize = 1024;

/// Calls `add` with the entries from position `from` on, and the position after each, until it says that the reply
/// is full.
pub(crate) fn page<N>(listing: &Listing<N>, from: u64, mut add: impl FnMut(Shown<'_, N>, u64) -> bool) {
    if from == 0 && add(Shown::Itself, 1) {
        return;
    }
    if from <= 1 && add(Shown::Parent, DOTS) {
        return;
    }
    let start = usize::try_from(from.saturating_sub(DOTS)).unwrap_or(usize::MAX);
    let rest = listing.entries.get(start..).unwrap_or_default();
    for ((name, seen), after) in rest.iter().zip(from.max(DOTS).saturating_add(1)..) {
        if can_be_shown(name) && add(Shown::Entry(name, seen), after) {
            return;
        }
    }
}

/// Whether Linux takes it for a name. One that it does not take spoils the whole directory: it answers EIO.
pub(crate) fn can_be_shown(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= LONGEST_NAME
        && !name.iter().any(|byte| matches!(byte, b'/' | b'\0'))
}

/// A directory while it is open.
pub(crate) struct OpenDirectory<N> {
    pub(crate) inode: u64,
    pub(crate) seen: Seen<N>,
    listing: Mutex<Option<Arc<Listing<N>>>>,
}

impl<N> OpenDirectory<N> {
    pub(crate) fn new(inode: u64, seen: Seen<N>) -> Self {
        Self { inode, seen, listing: Mutex::new(None) }
    }

    /// The list to go on with from this position. A directory that changes and is read from its beginning is to be
    /// listed anew: so rewinding shows what is new.
    pub(crate) fn kept(&self, from: u64) -> Option<Arc<Listing<N>>> {
        if from == 0 && self.seen.fresh_for.is_some() {
            return None;
        }
        self.listing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn keep(&self, listing: &Arc<Listing<N>>) {
        let hidden = listing.entries.iter().filter(|(name, _)| !can_be_shown(name)).count();
        if hidden > 0 {
            tracing::warn!("directory {} has {hidden} entries whose names no file system can show", self.inode);
        }
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Some(listing.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, Identity, Kind, Time};

    fn seen(name: &[u8]) -> Seen<()> {
        let attributes = Attributes {
            kind: Kind::File,
            mode: 0o644,
            size: 0,
            blocks: 0,
            mtime: Time::default(),
            links: 1,
            uid: 0,
            gid: 0,
        };
        Seen { node: (), identity: Identity::root(b"test").child(name), attributes, fresh_for: None }
    }

    fn listing(names: &[&[u8]]) -> Listing<()> {
        let entries = names.iter().map(|name| (name.to_vec(), seen(name))).collect();
        Listing { entries, parent: Identity::root(b"test") }
    }

    /// All names, read by replies of `size` entries.
    fn read(listing: &Listing<()>, size: usize) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        let mut position = 0;
        loop {
            let mut room = size;
            let before = names.len();
            page(listing, position, |shown, after| {
                if room == 0 {
                    return true;
                }
                room -= 1;
                names.push(match shown {
                    Shown::Itself => b".".to_vec(),
                    Shown::Parent => b"..".to_vec(),
                    Shown::Entry(name, _) => name.to_vec(),
                });
                position = after;
                false
            });
            if names.len() == before {
                return names;
            }
        }
    }

    #[test]
    fn each_entry_comes_once_whatever_fits_into_a_reply() {
        let listing = listing(&[b"a", b"b", b"c", b"d", b"e"]);
        let all: [&[u8]; 7] = [b".", b"..", b"a", b"b", b"c", b"d", b"e"];
        for size in 1..9 {
            assert_eq!(read(&listing, size), all, "{size}");
        }
    }

    #[test]
    fn an_empty_directory_and_a_position_behind_the_end() {
        assert_eq!(read(&listing(&[]), 10), [b".".to_vec(), b"..".to_vec()]);
        for position in [3, 100, u64::MAX] {
            page(&listing(&[b"a"]), position, |_, _| panic!("nothing is there"));
        }
    }

    #[test]
    fn names_that_would_spoil_the_directory_are_left_out() {
        let long = [b'x'; LONGEST_NAME + 1];
        let listing = listing(&[b"", b"a", b"b/c", b"..", b".", b"nul\0", &long, b"z"]);
        let shown: [&[u8]; 4] = [b".", b"..", b"a", b"z"];
        for size in 1..5 {
            assert_eq!(read(&listing, size), shown);
        }
    }

    #[test]
    fn a_directory_that_changes_is_listed_anew_from_its_beginning() {
        let list = Arc::new(listing(&[b"a"]));
        let stays = OpenDirectory::new(2, seen(b"directory"));
        let changes = OpenDirectory::new(2, Seen { fresh_for: Some(std::time::Duration::ZERO), ..seen(b"directory") });
        for directory in [&stays, &changes] {
            assert!(directory.kept(0).is_none() && directory.kept(5).is_none());
            directory.keep(&list);
            assert!(directory.kept(5).is_some());
        }
        assert!(stays.kept(0).is_some() && changes.kept(0).is_none());
    }
}
