//! All tests that need the library from outside, in one binary. They need nothing but the checkout.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod contents;
mod fixture;
mod fixtures;
mod layering;
mod manifests;
mod restores;
mod snapshots;
mod support;
