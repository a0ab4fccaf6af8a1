use clap::Args;

use super::*;

#[derive(Debug, clap::Parser)]
struct Flags {
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    actions: ActionOptions,
}

/// The policy that flags make of another one, without what is unset.
fn set(policy: &Policy, flags: &[&str]) -> anyhow::Result<Policy> {
    let mut policy = policy.clone();
    let flags: Flags = clap::Parser::try_parse_from(std::iter::once("set").chain(flags.iter().copied()))?;
    flags.changes.apply(&mut policy, &flags.actions)?;
    Ok(policy)
}

fn json(policy: &Policy, section: &str) -> String {
    serde_json::to_value(policy).unwrap()[section].to_string()
}

#[test]
fn flags_are_kopias() {
    let mut names: Vec<String> = Vec::new();
    for command in [Changes::augment_args(Command::new("x")), ActionOptions::augment_args(Command::new("x"))] {
        names.extend(command.get_arguments().map(|argument| argument.get_id().to_string().replace('_', "-")));
    }
    names.sort();
    let mut expected: Vec<String> = "
        inherit keep-latest keep-hourly keep-daily keep-weekly keep-monthly keep-annual ignore-identical-snapshots
        add-ignore remove-ignore clear-ignore add-dot-ignore remove-dot-ignore clear-dot-ignore max-file-size
        one-file-system ignore-cache-dirs ignore-file-errors ignore-dir-errors ignore-unknown-types
        snapshot-interval snapshot-time snapshot-time-crontab run-missed manual no-manual metadata-compression
        compression compression-min-size compression-max-size add-only-compress remove-only-compress
        clear-only-compress add-never-compress remove-never-compress clear-never-compress splitter
        max-parallel-file-reads max-parallel-snapshots parallel-upload-above-size-mib before-folder-action
        after-folder-action before-snapshot-root-action after-snapshot-root-action action-command-timeout
        action-command-mode persist-action-script enable-volume-shadow-copy log-dir-snapshotted log-dir-ignored
        log-entry-snapshotted log-entry-ignored log-entry-cache-hit log-entry-cache-miss"
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn values() {
    let none = Policy::default();
    for (flags, section, expected) in [
        (&["--keep-latest=0", "--keep-annual", "7"][..], "retention", r#"{"keepLatest":0,"keepAnnual":7}"#),
        (&["--ignore-identical-snapshots=false"], "retention", r#"{"ignoreIdenticalSnapshots":false}"#),
        (&["--add-ignore=b", "--add-ignore=a", "--add-ignore=b"], "files", r#"{"ignore":["a","b"]}"#),
        (&["--max-file-size=10"], "files", r#"{"maxFileSize":10}"#),
        (
            &["--compression=zstd", "--compression-min-size=5"],
            "compression",
            r#"{"compressorName":"zstd","minSize":5}"#,
        ),
        (&["--parallel-upload-above-size-mib=3"], "upload", r#"{"parallelUploadAboveSize":3145728}"#),
        (&["--enable-volume-shadow-copy=when-available"], "osSnapshots", r#"{"volumeShadowCopy":{"enable":2}}"#),
        (&["--inherit=true", "--inherit=false"], "noParent", "true"),
        (&["--snapshot-interval=1h", "--snapshot-interval=2h"], "scheduling", r#"{"intervalSeconds":3600}"#),
        (
            &["--snapshot-time=14:30,2:05", "--snapshot-time=02:05"],
            "scheduling",
            r#"{"timeOfDay":[{"hour":2,"min":5},{"hour":14,"min":30}]}"#,
        ),
        (&["--snapshot-time-crontab=0 1 * * *; @daily"], "scheduling", r#"{"cron":["0 1 * * *","@daily"]}"#),
        (
            &["--before-folder-action=/bin/sh -c \"a \"\"b\"\"\" c\"d"],
            "actions",
            r#"{"beforeFolder":{"path":"/bin/sh","args":["-c","a \"b\"","c\"d"],"timeout":300,"mode":"essential"}}"#,
        ),
    ] {
        assert_eq!(json(&set(&none, flags).unwrap(), section), expected, "{flags:?}");
    }
}

#[test]
fn unsetting() {
    let all = Policy::default_global();
    for (flags, section, expected) in [
        (
            &["--keep-latest=inherit", "--keep-hourly=default", "--ignore-identical-snapshots=inherit"][..],
            "retention",
            r#"{"keepDaily":7,"keepWeekly":4,"keepMonthly":24,"keepAnnual":3}"#,
        ),
        (&["--clear-dot-ignore"], "files", "{}"),
        (&["--clear-dot-ignore", "--add-dot-ignore=x"], "files", r#"{"ignoreDotFiles":["x"]}"#),
        (&["--remove-dot-ignore=.kopiaignore"], "files", "{}"),
        (&["--compression=inherit"], "compression", "{}"),
        (&["--manual"], "scheduling", r#"{"manual":true}"#),
        (&["--enable-volume-shadow-copy=inherit"], "osSnapshots", r#"{"volumeShadowCopy":{}}"#),
    ] {
        assert_eq!(json(&set(&all, flags).unwrap(), section), expected, "{flags:?}");
    }
}

#[test]
fn schedules_and_manual() {
    let manual = set(&Policy::default(), &["--manual"]).unwrap();
    for flags in ["--snapshot-interval=1h", "--snapshot-time=1:00", "--snapshot-time-crontab=@daily", "--no-manual"] {
        assert!(!set(&manual, &[flags]).unwrap().scheduling.manual, "{flags}");
    }
    for flags in ["--snapshot-interval=0", "--snapshot-time=inherit", "--snapshot-time-crontab=inherit"] {
        assert!(set(&manual, &[flags]).unwrap().scheduling.manual, "{flags}");
    }
    assert!(set(&manual, &["--manual", "--snapshot-interval=1h"]).is_err());
}

#[test]
fn wrong_values() {
    for flags in [
        &[][..],
        &["--keep-latest="],
        &["--before-folder-action=-"],
        &["--keep-latest=-1"],
        &["--keep-latest=x"],
        &["--log-dir-ignored=11"],
        &["--compression=zst"],
        &["--one-file-system=yes"],
        &["--one-file-system"],
        &["--inherit"],
        &["--snapshot-interval=5"],
        &["--snapshot-interval=1.5s"],
        &["--snapshot-time=24:00"],
        &["--snapshot-time=1:5"],
        &["--snapshot-time=noon"],
        &["--before-folder-action=\"x"],
        &["--before-folder-action= x"],
        &["--action-command-mode=async"],
        &["--keep-daily=1", "--action-command-mode=async"],
        &["--persist-action-script", "--before-folder-action=/does/not/exist"],
        &["--parallel-upload-above-size-mib=9223372036854775807"],
        &["--keep-latest=1", "--keep-latest=2"],
    ] {
        assert!(set(&Policy::default(), flags).is_err(), "{flags:?}");
    }
}
