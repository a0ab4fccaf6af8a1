//! All tests that need the library or the program from outside, in one binary, so that it is linked once. They need
//! nothing but the checkout.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cache;
mod cli;
mod contents;
mod crash;
mod damage;
mod faults;
mod fixture;
mod fixtures;
mod interrupted;
mod layering;
mod manifests;
mod mounting;
mod objects;
mod properties;
mod restores;
mod resume;
mod snapshots;
mod support;
mod upgrades;
