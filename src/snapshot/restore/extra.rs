//! Deleting from the target what the snapshot does not have.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use super::{Place, add, io as io_error, target};
use crate::snapshot::entry::{Entry, Kind, Name};

/// Deletes what is in the directory and not among `entries`, or of the other kind: a directory in the place of
/// anything else, or the other way round.
pub(super) fn delete(place: &Place, entries: &[Entry]) {
    let wanted: HashMap<&Name, bool> = entries.iter().map(|e| (&e.name, e.kind.is_directory())).collect();
    let names = match names(&place.fd) {
        Ok(names) => names,
        Err(e) => return place.run.failed(&place.path, io_error(e)),
    };
    for name in names {
        let kind = match target::existing(&place.fd, &name) {
            Ok(Some(there)) => there.kind,
            Ok(None) => continue,
            Err(e) => return place.run.failed(&place.path_of(&name), io_error(e)),
        };
        if wanted.get(&name) != Some(&kind.is_directory())
            && let Err(e) = delete_one(place, &place.fd, &name, kind)
        {
            place.run.failed(&place.path_of(&name), io_error(e));
        }
    }
}

fn delete_one(place: &Place, parent: &OwnedFd, name: &Name, kind: Kind) -> io::Result<()> {
    let progress = &place.run.progress;
    if kind != Kind::Directory {
        rustix::fs::unlinkat(parent, name.as_bytes(), AtFlags::empty())?;
        add(if kind == Kind::Symlink { &progress.deleted_symlinks } else { &progress.deleted_files }, 1);
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name.as_bytes(), flags, Mode::empty())?;
    for name in names(&directory)? {
        if let Some(there) = target::existing(&directory, &name)? {
            delete_one(place, &directory, &name, there.kind)?;
        }
    }
    rustix::fs::unlinkat(parent, name.as_bytes(), AtFlags::REMOVEDIR)?;
    add(&progress.deleted_directories, 1);
    Ok(())
}

fn names(directory: &OwnedFd) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(Name::from(name));
        }
    }
    Ok(names)
}
