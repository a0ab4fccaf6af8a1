//! What to back up and what to keep.
