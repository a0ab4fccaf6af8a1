//! Which index blobs count (format page 07).
//!
//! Writers append index blobs to an *epoch* (`xn<E>_…`). Maintenance starts a new one from time to time by putting
//! a marker (`xe<E>`), compacts an old epoch into one set (`xs<E>_…`), and several into a range (`xr<A>_<B>_…`).
//! Nobody locks anything: what counts follows from the names alone, so every client that lists the same blobs
//! comes to the same set. An epoch is *settled* when the newest is two further on; only settled ones are compacted,
//! because a writer with an older view may still write to the one before the newest.
//!
//! [`names`] reads the blob names, [`plan`] draws the conclusions. Both are pure.

pub mod names;
pub mod plan;
