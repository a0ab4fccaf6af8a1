//! The command line, run as users and scripts run it: on repositories that kopia made, and on new ones.

mod cache;
mod client;
mod content;
mod damage;
mod list;
mod policy;
mod refusals;
mod repository;
mod shape;
mod snapshot;
