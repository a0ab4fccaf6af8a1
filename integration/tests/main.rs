//! Tests that need the strict checker, all fixtures, and time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod concurrency;
mod fidelity;
#[path = "../../tests/all/fixture.rs"]
mod fixture;
mod fixtures;
mod large;
mod pairs;
mod unreadable;
