//! What `policy set` can change: each flag declared once, with what it changes and how.

use larder::format::{CompressionAlgorithm, SplitterAlgorithm};
use larder::policy::{ActionCommand, Policy};

pub(super) struct Setting {
    /// The flag; of a list, what follows `add-`, `remove-` and `clear-`.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: Kind,
}

pub(super) type At<T> = fn(&mut Policy) -> &mut T;

/// How a flag's value becomes a setting.
pub(super) enum Kind {
    /// A number, of which zero is one.
    Count(At<Option<i64>>),
    /// A number of `unit` bytes, of which zero is one.
    Large {
        at: At<Option<i64>>,
        unit: i64,
    },
    /// A number of bytes; zero is none.
    Bytes(At<i64>),
    /// From 0 to 10.
    Detail(At<Option<i64>>),
    Switch(At<Option<bool>>),
    /// One of several names.
    Name(At<String>, fn() -> Vec<&'static str>),
    /// One of several names, stored as a number from 0 on.
    Choice(At<Option<i64>>, &'static [&'static str]),
    /// Sorted, each once.
    List(At<Vec<String>>),
    Action(At<Option<ActionCommand>>),
    Inherit,
    Interval,
    Times,
    Crontab,
    Manual(bool),
}

fn compressors() -> Vec<&'static str> {
    let names = CompressionAlgorithm::ALL.map(CompressionAlgorithm::name);
    std::iter::once("none").chain(names).collect()
}

fn splitters() -> Vec<&'static str> {
    SplitterAlgorithm::ALL.map(SplitterAlgorithm::name).to_vec()
}

const fn setting(name: &'static str, about: &'static str, kind: Kind) -> Setting {
    Setting { name, about, kind }
}

/// All of them, under the headings of the help.
pub(super) static SETTINGS: &[(&str, &[Setting])] = &[
    (
        "Inheritance",
        &[setting("inherit", "Whether less specific policies count where this one says nothing", Kind::Inherit)],
    ),
    (
        "Retention",
        &[
            setting("keep-latest", "Newest snapshots to keep", Kind::Count(|p| &mut p.retention.keep_latest)),
            setting("keep-hourly", "Snapshots to keep, one an hour", Kind::Count(|p| &mut p.retention.keep_hourly)),
            setting("keep-daily", "Snapshots to keep, one a day", Kind::Count(|p| &mut p.retention.keep_daily)),
            setting("keep-weekly", "Snapshots to keep, one a week", Kind::Count(|p| &mut p.retention.keep_weekly)),
            setting("keep-monthly", "Snapshots to keep, one a month", Kind::Count(|p| &mut p.retention.keep_monthly)),
            setting("keep-annual", "Snapshots to keep, one a year", Kind::Count(|p| &mut p.retention.keep_annual)),
            setting(
                "ignore-identical-snapshots",
                "Do not save a snapshot that is the same as the one before",
                Kind::Switch(|p| &mut p.retention.ignore_identical_snapshots),
            ),
        ],
    ),
    (
        "Files",
        &[
            setting("ignore", "rules of files to leave out, as in .gitignore", Kind::List(|p| &mut p.files.ignore)),
            setting("dot-ignore", "names of files that hold such rules", Kind::List(|p| &mut p.files.ignore_dot_files)),
            setting("max-file-size", "Leave out larger files, in bytes", Kind::Bytes(|p| &mut p.files.max_file_size)),
            setting(
                "one-file-system",
                "Leave out what is mounted from elsewhere",
                Kind::Switch(|p| &mut p.files.one_file_system),
            ),
            setting(
                "ignore-cache-dirs",
                "Leave out what is in directories tagged as caches",
                Kind::Switch(|p| &mut p.files.ignore_cache_dirs),
            ),
        ],
    ),
    (
        "Errors",
        &[
            setting(
                "ignore-file-errors",
                "Files that cannot be read do not make a snapshot fail",
                Kind::Switch(|p| &mut p.error_handling.ignore_file_errors),
            ),
            setting(
                "ignore-dir-errors",
                "Directories that cannot be read do not make a snapshot fail",
                Kind::Switch(|p| &mut p.error_handling.ignore_directory_errors),
            ),
            setting(
                "ignore-unknown-types",
                "Entries of unknown types do not make a snapshot fail",
                Kind::Switch(|p| &mut p.error_handling.ignore_unknown_types),
            ),
        ],
    ),
    (
        "Scheduling",
        &[
            setting("snapshot-interval", "Time from one snapshot to the next; 0: none", Kind::Interval),
            setting("snapshot-time", "Times of day, such as 2:30,14:30", Kind::Times),
            setting("snapshot-time-crontab", "Cron expressions, with ; between them", Kind::Crontab),
            setting("run-missed", "Make up for times that were missed", Kind::Switch(|p| &mut p.scheduling.run_missed)),
            setting("manual", "Make snapshots only when asked to, and forget the schedule", Kind::Manual(true)),
            setting("no-manual", "Take --manual back", Kind::Manual(false)),
        ],
    ),
    (
        "Compression",
        &[
            setting(
                "compression",
                "Compressor of files, such as zstd, s2-default, gzip or none",
                Kind::Name(|p| &mut p.compression.compressor_name, compressors),
            ),
            setting(
                "metadata-compression",
                "Compressor of directories, one of the same",
                Kind::Name(|p| &mut p.metadata_compression.compressor_name, compressors),
            ),
            setting(
                "compression-min-size",
                "Do not compress smaller files, in bytes",
                Kind::Bytes(|p| &mut p.compression.min_size),
            ),
            setting(
                "compression-max-size",
                "Do not compress larger files, in bytes",
                Kind::Bytes(|p| &mut p.compression.max_size),
            ),
            setting(
                "only-compress",
                "extensions that are compressed even if they are never to be, such as .txt",
                Kind::List(|p| &mut p.compression.only_compress),
            ),
            setting(
                "never-compress",
                "extensions that are not compressed, such as .jpg",
                Kind::List(|p| &mut p.compression.never_compress),
            ),
        ],
    ),
    (
        "Upload",
        &[
            setting(
                "splitter",
                "How files are cut into contents",
                Kind::Name(|p| &mut p.splitter.algorithm, splitters),
            ),
            setting(
                "max-parallel-file-reads",
                "Files read at once",
                Kind::Count(|p| &mut p.upload.max_parallel_file_reads),
            ),
            setting(
                "max-parallel-snapshots",
                "Snapshots that a server makes at once",
                Kind::Count(|p| &mut p.upload.max_parallel_snapshots),
            ),
            setting(
                "parallel-upload-above-size-mib",
                "Read larger files in parts, in parallel, in MiB",
                Kind::Large { at: |p| &mut p.upload.parallel_upload_above_size, unit: 1 << 20 },
            ),
            setting(
                "enable-volume-shadow-copy",
                "Volume shadow copies (Windows)",
                Kind::Choice(|p| &mut p.os_snapshots.volume_shadow_copy.enable, &["never", "always", "when-available"]),
            ),
        ],
    ),
    (
        "Actions",
        &[
            setting(
                "before-folder-action",
                "Command before this very directory is read; empty: none",
                Kind::Action(|p| &mut p.actions.before_folder),
            ),
            setting(
                "after-folder-action",
                "Command when this very directory is done; empty: none",
                Kind::Action(|p| &mut p.actions.after_folder),
            ),
            setting(
                "before-snapshot-root-action",
                "Command before a snapshot; empty: none",
                Kind::Action(|p| &mut p.actions.before_snapshot_root),
            ),
            setting(
                "after-snapshot-root-action",
                "Command after a snapshot; empty: none",
                Kind::Action(|p| &mut p.actions.after_snapshot_root),
            ),
        ],
    ),
    (
        "Logging: how much is told, from 0 to 10",
        &[
            setting(
                "log-dir-snapshotted",
                "About directories in the snapshot",
                Kind::Detail(|p| &mut p.logging.directories.snapshotted),
            ),
            setting(
                "log-dir-ignored",
                "About directories left out",
                Kind::Detail(|p| &mut p.logging.directories.ignored),
            ),
            setting(
                "log-entry-snapshotted",
                "About files in the snapshot",
                Kind::Detail(|p| &mut p.logging.entries.snapshotted),
            ),
            setting("log-entry-ignored", "About files left out", Kind::Detail(|p| &mut p.logging.entries.ignored)),
            setting(
                "log-entry-cache-hit",
                "About files that did not change",
                Kind::Detail(|p| &mut p.logging.entries.cache_hit),
            ),
            setting(
                "log-entry-cache-miss",
                "About files that are new or did change",
                Kind::Detail(|p| &mut p.logging.entries.cache_miss),
            ),
        ],
    ),
];

pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|(_, settings)| *settings)
}
