//! Named bytes in a storage.
