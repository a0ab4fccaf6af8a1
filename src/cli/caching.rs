//! The sizes of the cache, as flags of `repository connect`, `repository create` and `cache set`.
//!
//! Kopia has two caches, each with a size that it aims at and a limit. larder has one limit for everything: that of
//! contents and that of metadata together, each the limit where it is set, else the size.

use std::time::Duration;

use larder::repo::config::CachingConfig;

use super::args::parse_duration;

/// What `MB` means to `repository connect` and `create`.
pub(super) const MIB: i64 = 1 << 20;
/// What it means to `cache set`.
pub(super) const MILLION: i64 = 1_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct CachingArgs {
    /// Size of the cache for file data; 0: only metadata is kept
    #[arg(long, global = true, value_name = "MB", value_parser = clap::value_parser!(i64).range(0..))]
    content_cache_size_mb: Option<i64>,
    /// The same, and counts instead where it is not 0
    #[arg(long, global = true, value_name = "MB", value_parser = clap::value_parser!(i64).range(0..))]
    content_cache_size_limit_mb: Option<i64>,
    /// Size of the cache for metadata, such as directories
    #[arg(long, global = true, value_name = "MB", value_parser = clap::value_parser!(i64).range(0..))]
    metadata_cache_size_mb: Option<i64>,
    /// The same, and counts instead where it is not 0
    #[arg(long, global = true, value_name = "MB", value_parser = clap::value_parser!(i64).range(0..))]
    metadata_cache_size_limit_mb: Option<i64>,
    /// For how long kopia keeps listings
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    max_list_cache_duration: Option<Duration>,
    /// Age before which kopia evicts no file data
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    content_min_sweep_age: Option<Duration>,
    /// Age before which kopia evicts no metadata
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    metadata_min_sweep_age: Option<Duration>,
    /// Age before which kopia evicts no indexes
    #[arg(long, global = true, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    index_min_sweep_age: Option<Duration>,
}

impl CachingArgs {
    /// Changes what was given, `mb` bytes to the MB. Says what changed, in kopia's words.
    pub(super) fn apply(&self, mb: i64, caching: &mut CachingConfig) -> Vec<String> {
        let mut changes = Vec::new();
        for (given, place, name) in [
            (self.content_cache_size_mb, &mut caching.max_cache_size, "content cache size"),
            (self.content_cache_size_limit_mb, &mut caching.content_cache_size_limit_bytes, "content cache size limit"),
            (self.metadata_cache_size_mb, &mut caching.max_metadata_cache_size, "metadata cache size"),
            (
                self.metadata_cache_size_limit_mb,
                &mut caching.metadata_cache_size_limit_bytes,
                "metadata cache size limit",
            ),
        ] {
            if let Some(given) = given {
                *place = given.saturating_mul(mb);
                changes.push(format!("changing {name} to {given} MB"));
            }
        }
        if let Some(duration) = self.max_list_cache_duration {
            caching.max_list_cache_duration = duration.as_secs_f64();
            changes.push(format!("changing list cache duration to {}", super::units::duration(duration)));
        }
        for (given, key, name) in [
            (self.content_min_sweep_age, "minContentSweepAge", "content"),
            (self.metadata_min_sweep_age, "minMetadataSweepAge", "metadata"),
            (self.index_min_sweep_age, "minIndexSweepAge", "index"),
        ] {
            if let Some(age) = given {
                caching.other.insert(key.to_owned(), age.as_secs_f64().into());
                changes.push(format!("changing minimum {name} sweep age to {}", super::units::duration(age)));
            }
        }
        changes
    }
}
