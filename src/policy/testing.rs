//! Policies for property tests.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn words() -> impl Strategy<Value = Vec<String>> {
    vec("[a-d]{0,2}", 0..4)
}

fn action() -> impl Strategy<Value = Option<ActionCommand>> {
    proptest::option::of(
        ("[a-c]?", words(), "[a-c]?", 0..3_i64, "(optional)?")
            .prop_map(|(path, args, script, timeout, mode)| ActionCommand { path, args, script, timeout, mode }),
    )
}

fn retention() -> impl Strategy<Value = RetentionPolicy> {
    any::<([Option<i64>; 6], Option<bool>)>().prop_map(
        |([keep_latest, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_annual], identical)| RetentionPolicy {
            keep_latest,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_annual,
            ignore_identical_snapshots: identical,
        },
    )
}

fn files() -> impl Strategy<Value = FilesPolicy> {
    (words(), words(), any::<[bool; 2]>(), any::<[Option<bool>; 2]>(), 0..3_i64).prop_map(
        |(ignore, ignore_dot_files, [no_parent_ignore, no_parent_dot_files], [caches, one], max_file_size)| {
            FilesPolicy {
                ignore,
                no_parent_ignore,
                ignore_dot_files,
                no_parent_dot_files,
                ignore_cache_dirs: caches,
                max_file_size,
                one_file_system: one,
            }
        },
    )
}

fn scheduling() -> impl Strategy<Value = SchedulingPolicy> {
    let times = vec((0..3_i64, 0..3_i64).prop_map(|(hour, minute)| TimeOfDay { hour, minute }), 0..4);
    (0..3_i64, times, any::<[bool; 2]>(), words(), any::<Option<bool>>()).prop_map(
        |(interval_seconds, time_of_day, [no_parent_time_of_day, manual], cron, run_missed)| SchedulingPolicy {
            interval_seconds,
            time_of_day,
            no_parent_time_of_day,
            manual,
            cron,
            run_missed,
        },
    )
}

fn compression() -> impl Strategy<Value = CompressionPolicy> {
    ("(zstd)?", words(), words(), any::<[bool; 2]>(), 0..3_i64, 0..3_i64).prop_map(
        |(compressor_name, only_compress, never_compress, [no_parent_only, no_parent_never], min_size, max_size)| {
            CompressionPolicy {
                compressor_name,
                only_compress,
                no_parent_only_compress: no_parent_only,
                never_compress,
                no_parent_never_compress: no_parent_never,
                min_size,
                max_size,
            }
        },
    )
}

fn logging() -> impl Strategy<Value = LoggingPolicy> {
    any::<[Option<i64>; 6]>().prop_map(|[made, left, snapshotted, ignored, cache_hit, cache_miss]| LoggingPolicy {
        directories: DirectoryLoggingPolicy { snapshotted: made, ignored: left },
        entries: EntryLoggingPolicy { snapshotted, ignored, cache_hit, cache_miss },
    })
}

/// Any policy that inherits.
pub(super) fn arbitrary_policy() -> impl Strategy<Value = Policy> {
    let small = (any::<[Option<bool>; 3]>(), "(none)?", "(DYNAMIC)?", any::<Option<i64>>(), any::<[Option<i64>; 3]>());
    let actions = (action(), action(), action(), action());
    (retention(), files(), scheduling(), compression(), actions, logging(), small).prop_map(
        |(retention, files, scheduling, compression, actions, logging, small)| {
            let ([file, directory, unknown], metadata, algorithm, enable, [snapshots, reads, above]) = small;
            let (before_folder, after_folder, before_snapshot_root, after_snapshot_root) = actions;
            Policy {
                retention,
                files,
                error_handling: ErrorHandlingPolicy {
                    ignore_file_errors: file,
                    ignore_directory_errors: directory,
                    ignore_unknown_types: unknown,
                },
                scheduling,
                compression,
                metadata_compression: MetadataCompressionPolicy { compressor_name: metadata },
                splitter: SplitterPolicy { algorithm },
                actions: ActionsPolicy { before_folder, after_folder, before_snapshot_root, after_snapshot_root },
                os_snapshots: OsSnapshotsPolicy { volume_shadow_copy: VolumeShadowCopyPolicy { enable } },
                logging,
                upload: UploadPolicy {
                    max_parallel_snapshots: snapshots,
                    max_parallel_file_reads: reads,
                    parallel_upload_above_size: above,
                },
                no_parent: false,
            }
        },
    )
}
