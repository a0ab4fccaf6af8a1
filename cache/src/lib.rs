//! What larder keeps on disk between runs: files that can always be made again, so none of them is worth an error.
//!
//! A [`Shelf`] is a directory of files that are written once and read where they lie, mapped into memory, so that
//! they cost no memory of the process. Each carries checksums; a file that is damaged, cut off, or half written
//! when the machine went down is noticed and answered as if it were not there. Several processes may use one shelf
//! at once: a file appears whole under its name or not at all, and a file that is deleted stays readable for those
//! who have it open.
//!
//! This crate knows nothing of repositories, contents or keys.

#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]

mod shelf;

pub use shelf::{Damaged, Shelf, ShelfDraft, ShelfFile};
