//! All tests that need the library from outside, in one binary. They need nothing but the checkout.

mod contents;
mod fixture;
mod fixtures;
mod layering;
mod manifests;
mod restores;
mod snapshots;
mod support;
