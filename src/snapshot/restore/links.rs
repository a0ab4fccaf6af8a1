//! Several names of one file: the first that is restored has the data, the others become names of it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Place;
use crate::snapshot::entry::{Entry, Name};
use crate::sync::lock;

#[derive(Default)]
pub(super) struct Links(Mutex<HashMap<String, State>>);

enum State {
    /// Being restored; these wait for it.
    UnderWay(Vec<(Arc<Place>, Entry)>),
    Done(Restored),
}

/// Where a file is: the path of its directory from the target on, and its name.
#[derive(Clone, Debug)]
pub(super) struct Restored {
    directory: Vec<u8>,
    name: Name,
}

/// What to do with a name of a file that has several.
pub(super) enum Turn {
    /// Restore its data, then call [`Links::finished`].
    First,
    /// Somebody else restores the data; this one comes back from [`Links::finished`].
    Waits,
    /// The data is there.
    Link(Restored),
}

impl Links {
    pub(super) fn turn(&self, id: &str, place: &Arc<Place>, entry: &Entry) -> Turn {
        let mut links = lock(&self.0);
        match links.get_mut(id) {
            None => {
                links.insert(id.to_owned(), State::UnderWay(Vec::new()));
                Turn::First
            }
            Some(State::UnderWay(waiting)) => {
                place.expect_one();
                waiting.push((Arc::clone(place), entry.clone()));
                Turn::Waits
            }
            Some(State::Done(restored)) => Turn::Link(restored.clone()),
        }
    }

    /// The first name is there, or could not be restored, so that another will be the first. Gives those that waited;
    /// their directories wait for them still.
    pub(super) fn finished(&self, place: &Place, entry: &Entry, restored: bool) -> Vec<(Arc<Place>, Entry)> {
        let Some(id) = entry.link() else { return Vec::new() };
        let mut links = lock(&self.0);
        let before = if restored {
            let place = Restored { directory: place.path.clone(), name: entry.name.clone() };
            links.insert(id.to_owned(), State::Done(place))
        } else {
            links.remove(id)
        };
        match before {
            Some(State::UnderWay(waiting)) => waiting,
            _ => Vec::new(),
        }
    }
}

impl Restored {
    /// Makes a name in a directory another name of the file. False when the file system has no such thing, or not
    /// between these two places.
    pub(super) fn link_to(&self, root: &OwnedFd, parent: &OwnedFd, name: &Name) -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path: &[u8] = if self.directory.is_empty() { b"." } else { &self.directory };
        let directory = rustix::fs::openat2(root, path, flags, Mode::empty(), inside)?;
        match rustix::fs::linkat(directory, self.name.as_bytes(), parent, name.as_bytes(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::NOTSUP) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}
