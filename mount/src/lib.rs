//! A tree of files as a file system, whatever the tree comes from.
//!
//! What a mount is made of, from the tree up: each node of the tree has an [`Identity`] that depends only on where it
//! lies, and [`Inodes`] gives the kernel a number for each node it knows, the same one after a remount.
//!
//! This crate knows nothing of repositories, snapshots or keys.

#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]

mod identity;
mod inodes;

pub use identity::Identity;
pub use inodes::{Inodes, ROOT};
