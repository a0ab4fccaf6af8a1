//! What larder keeps on disk between runs: files that can always be made again, so none of them is worth an error.
//!
//! This crate knows nothing of repositories, contents or keys. It has two things, which may share one directory.
//!
//! # A cache of values
//!
//! A [`Cache`] keeps byte strings of up to a segment's size under keys of up to 64 bytes. A key stands for one and the
//! same value for ever. What holds at every moment, with any number of processes on the directory, killed at any
//! moment, and after a power loss:
//!
//! - What is read is what was put, or nothing. Every record carries checksums of its header, key and value that are
//!   bound to its place, and every read checks them.
//! - Everything under the directory, other files included, takes no more than the limit, as long as those others do
//!   not outgrow a reserve of one segment between two evictions. Who is about to write more asks first, with
//!   [`Cache::make_room`].
//! - So many bytes of the file system stay free as was asked for.
//! - No reader waits for a writer: what is put goes through a queue of bounded length, and is dropped when that is full,
//!   or when the disk is.
//!
//! ```text
//! directory/chunks/lock              held while segments are made and evicted; no reader waits for it
//! directory/chunks/segment-<random>  records, appended by the process that has the file locked
//! directory/…                        counted, otherwise left alone
//! ```
//!
//! Values lie in a few hundred segments (`segment`) of a fixed capacity, one record after the other (`record`). A full
//! segment ends with a table of its records (`table`); one without is read from header to header (`scan`), which also
//! finds what a killed process has left. Every process has all segments open, and keeps in memory which records there
//! are (`index`), 24 to 48 bytes for each and at most as much again for evicted ones, kept up with what other processes
//! add and evict (`view`). What is put waits in a queue (`backlog`) for the one thread that appends it (`append`) to a
//! segment that has room, for which old segments are evicted (`evict`) within the limit (`room`).
//!
//! There is no other state: no journal, no shared memory, nothing that must agree with something else. That somebody
//! has read a record, which eviction goes by, is a byte in the record that any process may set.
//!
//! # Checked files
//!
//! A [`Shelf`] is a directory of files that are written once and read where they lie, mapped into memory, so that
//! they cost no memory of the process. Each carries checksums; a file that is damaged, cut off, or half written
//! when the machine went down is noticed and answered as if it were not there. Several processes may use one shelf
//! at once: a file appears whole under its name or not at all, and a file that is deleted stays readable for those
//! who have it open.

#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]

mod append;
mod backlog;
mod cache;
mod evict;
mod index;
mod place;
mod record;
mod room;
mod scan;
mod segment;
mod shelf;
mod stats;
mod table;
mod view;

#[cfg(test)]
mod tests;
pub use backlog::Class;
pub use cache::Cache;
pub use record::Key;
pub use room::Options;
pub use shelf::{Damaged, Shelf, ShelfDraft, ShelfFile};
pub use stats::{Stats, Sum, Usage, Verified};
