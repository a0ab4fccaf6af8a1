//! A tree of files as a file system, whatever the tree comes from.
//!
//! What a mount is made of, from the tree up: a [`Tree`] answers in plain values. Each node of it has an
//! [`Identity`] that depends only on where it lies, and [`Inodes`] gives the kernel a number for each node it knows,
//! the same one after a remount. `answer` sees to it that each request is answered, soon if it can be, `paging` cuts
//! the lists of directories into replies, `fuse` puts all that into the kernel's words, and [`Mount`] is the whole
//! from start to end.
//!
//! This crate knows nothing of repositories, snapshots or keys.

#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod answer;
mod fuse;
mod handles;
mod identity;
mod inodes;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod mount;
mod mountpoint;
mod paging;
mod tree;
mod unmount;

pub use identity::Identity;
pub use inodes::{Inodes, ROOT};
pub use mount::{Mount, Options};
pub use mountpoint::MountError;
pub use tree::{Attributes, Kind, Listing, Seen, Space, Time, Tree, TreeError, Xattr};
pub use unmount::{UnmountError, Unmounted, unmount};
