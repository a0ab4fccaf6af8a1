//! What a policy says: the stored document, section by section.
//!
//! Format page 22 §4, which has what each field does; `section.rs` has how a field is declared and inherited. `Option` is for
//! values whose zero or `false` says something; elsewhere zero and empty mean unset.
//!
//! A policy is read leniently: a repository may hold one of a newer kopia, and a key that is not known here must not stop a
//! backup. Numbers are signed because kopia's are, and nothing refuses a negative one in a stored policy.

use serde::{Deserialize, Serialize};

use super::SourceInfo;
use super::section::{Setting, null_as_unset, section};

section! {
    /// What is backed up, how, and how long it is kept, for one target or, merged, for a source.
    Policy, PolicyDefinition {
        /// How many snapshots to keep.
        retention: RetentionPolicy => section(RetentionDefinition),
        /// Which files to leave out.
        files: FilesPolicy => section(FilesDefinition),
        /// Which errors do not fail a snapshot.
        error_handling: ErrorHandlingPolicy => section(ErrorHandlingDefinition),
        /// When to make snapshots.
        scheduling: SchedulingPolicy => section(SchedulingDefinition),
        /// How file data is compressed.
        compression: CompressionPolicy => section(CompressionDefinition),
        /// How directories and indexes of objects are compressed.
        metadata_compression: MetadataCompressionPolicy => section(MetadataCompressionDefinition),
        /// How file data is cut.
        splitter: SplitterPolicy => section(SplitterDefinition),
        /// Commands to run around a snapshot.
        actions: ActionsPolicy => section(ActionsDefinition),
        /// Snapshots of the volume beneath.
        os_snapshots: OsSnapshotsPolicy => section(OsSnapshotsDefinition),
        /// How much is logged.
        logging: LoggingPolicy => section(LoggingDefinition),
        /// How much is done in parallel.
        upload: UploadPolicy => section(UploadDefinition),
        /// Inherit nothing.
        no_parent: bool => own,
    }
}

section! {
    /// How many snapshots to keep, by age.
    RetentionPolicy, RetentionDefinition {
        /// The newest, whatever their age.
        keep_latest: Option<i64> => first,
        /// One for each of so many hours.
        keep_hourly: Option<i64> => first,
        /// One for each of so many days.
        keep_daily: Option<i64> => first,
        /// One for each of so many weeks.
        keep_weekly: Option<i64> => first,
        /// One for each of so many months.
        keep_monthly: Option<i64> => first,
        /// One for each of so many years.
        keep_annual: Option<i64> => first,
        /// Do not save a snapshot equal to the one before.
        ignore_identical_snapshots: Option<bool> => first,
    }
}

section! {
    /// Which files to leave out.
    FilesPolicy, FilesDefinition {
        /// Ignore rules.
        ignore: Vec<String> => first,
        /// Meant to drop the rules of directories above; kopia stores it without effect.
        no_parent_ignore: bool => first,
        /// Names of files that hold ignore rules.
        ignore_dot_files: Vec<String> => first,
        /// Do not look for the names that directories above look for.
        no_parent_dot_files: bool => first,
        /// Leave out the contents of directories tagged as caches.
        ignore_cache_dirs: Option<bool> => first,
        /// Leave out files of more bytes.
        max_file_size: i64 => first,
        /// Leave out what is mounted from another file system.
        one_file_system: Option<bool> => first,
    }
}

section! {
    /// Which errors do not fail a snapshot.
    ErrorHandlingPolicy, ErrorHandlingDefinition {
        /// A file that cannot be read.
        ignore_file_errors: Option<bool> => first,
        /// A directory that cannot be listed.
        ignore_directory_errors: Option<bool> => first,
        /// An entry that is no file, directory or symbolic link.
        ignore_unknown_types: Option<bool> => first,
    }
}

section! {
    /// When to make snapshots.
    SchedulingPolicy, SchedulingDefinition {
        /// Seconds from one to the next.
        interval_seconds: i64 => first,
        /// Local times of day.
        time_of_day: Vec<TimeOfDay> => times(no_parent_time_of_day),
        /// Do not add the times of less specific policies.
        no_parent_time_of_day: bool => first,
        /// Only when asked to.
        manual: bool => first,
        /// Cron expressions.
        cron: Vec<String> => first,
        /// Make up for a time that was missed.
        run_missed: Option<bool> => first,
    }
}

section! {
    /// How file data is compressed.
    CompressionPolicy, CompressionDefinition {
        /// Name of the compressor, or `none`.
        compressor_name: String => first,
        /// Extensions compressed in any case.
        only_compress: Vec<String> => union(no_parent_only_compress),
        /// Do not add those of less specific policies.
        no_parent_only_compress: bool => first,
        /// Extensions not compressed.
        never_compress: Vec<String> => union(no_parent_never_compress),
        /// Do not add those of less specific policies.
        no_parent_never_compress: bool => first,
        /// Do not compress files of fewer bytes.
        min_size: i64 => first,
        /// Do not compress files of more bytes.
        max_size: i64 => first,
    }
}

section! {
    /// How directories and indexes of objects are compressed.
    MetadataCompressionPolicy, MetadataCompressionDefinition {
        /// Name of the compressor, or `none`.
        compressor_name: String => first,
    }
}

section! {
    /// How file data is cut.
    SplitterPolicy, SplitterDefinition {
        /// Name of the splitter, instead of the repository's.
        algorithm: String => first,
    }
}

section! {
    /// Commands to run around a snapshot.
    ActionsPolicy, ActionsDefinition {
        /// Before this very directory is listed.
        before_folder: Option<ActionCommand> => own,
        /// When this very directory is done.
        after_folder: Option<ActionCommand> => own,
        /// Before the root of a snapshot is read.
        before_snapshot_root: Option<ActionCommand> => first,
        /// When a snapshot is done.
        after_snapshot_root: Option<ActionCommand> => first,
    }
}

section! {
    /// Snapshots of the volume beneath.
    OsSnapshotsPolicy, OsSnapshotsDefinition {
        /// Windows volume shadow copies.
        volume_shadow_copy: VolumeShadowCopyPolicy => section(VolumeShadowCopyDefinition),
    }
}

section! {
    /// Windows volume shadow copies.
    VolumeShadowCopyPolicy, VolumeShadowCopyDefinition {
        /// 0 never, 1 always, 2 when available.
        enable: Option<i64> => first,
    }
}

section! {
    /// How much is logged, from 0 (nothing) to 10.
    LoggingPolicy, LoggingDefinition {
        /// About directories.
        directories: DirectoryLoggingPolicy => section(DirectoryLoggingDefinition),
        /// About other entries.
        entries: EntryLoggingPolicy => section(EntryLoggingDefinition),
    }
}

section! {
    /// How much is logged about directories.
    DirectoryLoggingPolicy, DirectoryLoggingDefinition {
        /// About those in the snapshot.
        snapshotted: Option<i64> => first,
        /// About those left out.
        ignored: Option<i64> => first,
    }
}

section! {
    /// How much is logged about entries that are not directories.
    EntryLoggingPolicy, EntryLoggingDefinition {
        /// About those in the snapshot.
        snapshotted: Option<i64> => first,
        /// About those left out.
        ignored: Option<i64> => first,
        /// About those taken from an earlier snapshot.
        cache_hit: Option<i64> => first,
        /// About those not in an earlier snapshot.
        cache_miss: Option<i64> => first,
    }
}

section! {
    /// How much is done in parallel.
    UploadPolicy, UploadDefinition {
        /// Snapshots that a server makes at a time.
        max_parallel_snapshots: Option<i64> => first,
        /// Files read at a time.
        max_parallel_file_reads: Option<i64> => first,
        /// Files of more bytes are cut into parts of so many, uploaded in parallel.
        parallel_upload_above_size: Option<i64> => first,
    }
}

/// A command or script to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionCommand {
    /// The command.
    #[serde(skip_serializing_if = "Setting::is_unset", deserialize_with = "null_as_unset")]
    pub path: String,
    /// Its arguments.
    #[serde(skip_serializing_if = "Setting::is_unset", deserialize_with = "null_as_unset")]
    pub args: Vec<String>,
    /// Or the text of a script.
    #[serde(skip_serializing_if = "Setting::is_unset", deserialize_with = "null_as_unset")]
    pub script: String,
    /// Seconds until it is stopped; 0 is the default of 180.
    #[serde(skip_serializing_if = "Setting::is_unset", deserialize_with = "null_as_unset")]
    pub timeout: i64,
    /// `essential`, `optional` or `async`.
    #[serde(skip_serializing_if = "Setting::is_unset", deserialize_with = "null_as_unset")]
    pub mode: String,
}

/// A local time at which to make a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeOfDay {
    /// Hour, from 0.
    pub hour: i64,
    /// Minute.
    #[serde(rename = "min")]
    pub minute: i64,
}

impl Policy {
    /// What applies where no policy says otherwise, and what the global policy of a new repository spells out.
    pub fn default_global() -> Self {
        Policy {
            retention: RetentionPolicy {
                keep_latest: Some(10),
                keep_hourly: Some(48),
                keep_daily: Some(7),
                keep_weekly: Some(4),
                keep_monthly: Some(24),
                keep_annual: Some(3),
                ignore_identical_snapshots: Some(false),
            },
            files: FilesPolicy { ignore_dot_files: vec![".kopiaignore".into()], ..FilesPolicy::default() },
            error_handling: ErrorHandlingPolicy {
                ignore_file_errors: Some(false),
                ignore_directory_errors: Some(false),
                ignore_unknown_types: Some(true),
            },
            scheduling: SchedulingPolicy { run_missed: Some(true), ..SchedulingPolicy::default() },
            compression: CompressionPolicy { compressor_name: "none".into(), ..CompressionPolicy::default() },
            metadata_compression: MetadataCompressionPolicy { compressor_name: "zstd-fastest".into() },
            os_snapshots: OsSnapshotsPolicy { volume_shadow_copy: VolumeShadowCopyPolicy { enable: Some(0) } },
            logging: LoggingPolicy {
                directories: DirectoryLoggingPolicy { snapshotted: Some(5), ignored: Some(5) },
                entries: EntryLoggingPolicy {
                    snapshotted: Some(0),
                    ignored: Some(5),
                    cache_hit: Some(0),
                    cache_miss: Some(0),
                },
            },
            upload: UploadPolicy {
                max_parallel_snapshots: Some(1),
                max_parallel_file_reads: None,
                parallel_upload_above_size: Some(2 << 30),
            },
            ..Policy::default()
        }
    }
}

#[cfg(test)]
mod tests;
