//! larder: a content store for backups that reads and writes kopia's repositories.
//!
//! # Layers
//!
//! A module uses only modules below its own line; the test `layering` fails otherwise.
//!
//! ```text
//! cli                                arguments, output, exit codes (in the binary only)
//! mounting                           snapshots as a tree to be mounted
//! snapshot │ policy                  what a snapshot is, making and restoring one; what to back up and keep
//! repo                               opening, connecting, creating; Repository (read), Writer (session)
//! object │ manifest                  byte streams made of contents; labelled JSON documents
//! content (index, epoch)             deduplicated, packed, encrypted pieces, and the indexes that find them
//! format                             repository format, keys, hashing, encryption, compression, splitter
//! blob                               named bytes in a storage, and the storages
//! ──────────────                     leaves: clock, bytes, durable, sync, and the crates larder-cache and larder-mount
//! ```
//!
//! Inside one line nothing imports its neighbour, except `snapshot` → `policy`.

pub mod blob;
pub mod bytes;
pub mod clock;
pub mod content;
pub mod durable;
pub mod error;
pub mod format;
pub mod json;
pub mod manifest;
pub mod mounting;
pub mod object;
pub mod policy;
pub mod repo;
pub mod snapshot;
mod sync;
