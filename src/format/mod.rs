//! The repository format: everything that turns bytes into stored bytes and back.
