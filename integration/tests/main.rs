//! Tests that need the strict checker, all fixtures, and time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cache;
mod concurrency;
mod crash;
mod fidelity;
#[path = "../../tests/all/fixture.rs"]
mod fixture;
mod fixtures;
#[path = "../../tests/all/interrupted.rs"]
mod interrupted;
mod large;
mod mount;
mod pairs;
mod power;
mod resume;
mod unreadable;
