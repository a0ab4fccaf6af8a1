//! `policy show`, `set`, `list`, `delete`

use std::fs;

use larder::policy::SourceInfo;

use super::client::{Client, assert_golden, data, sample};
use super::shape::assert_items;

const NOTE: &str = "\nRetention, scheduling and actions are stored, but not acted on by this version of larder.\n";

#[test]
fn of_a_new_repository() {
    let client = Client::new();
    let shown = client.ok(&["policy", "show", "usr@hst:/data/src"]);
    let sample_text = String::from_utf8(data("samples/policy-show.txt")).unwrap();
    assert_eq!(shown, sample_text + NOTE);
    let json = client.ok(&["policy", "get", "usr@hst:/data/src", "--json"]);
    assert_eq!(json.as_bytes(), data("samples/policy-show-effective.json"));
    let two = client.ok(&["policy", "show", "/a", "@x", "--json"]);
    assert_eq!(two.lines().count(), 2, "{two}");
    let global = client.ok(&["policy", "show", "--global"]);
    assert!(!global.contains("inherited") && global.contains("      10   (defined for this target)\n"), "{global}");
}

#[test]
fn set_show_list_delete() {
    let client = Client::new();
    let path = "usr@hst:/data/act";
    let messages = client.messages(&[
        "policy",
        "set",
        path,
        "--add-ignore=*.log",
        "--add-ignore=/tmp/",
        "--compression=zstd-fastest",
        "--add-only-compress=.txt",
        "--add-never-compress=.jpg",
        "--compression-min-size=1000",
        "--max-file-size=10000000",
        "--keep-daily=30",
        "--snapshot-interval=1h30m",
        "--snapshot-time=14:30,2:05",
        "--snapshot-time-crontab=0 1 * * *",
        "--after-folder-action=/bin/sh -c \"env | grep KOPIA_ >> /data/act.log\"",
        "--before-snapshot-root-action=/bin/sleep 5",
        "--action-command-timeout=1s",
        "--splitter=FIXED-1M",
        "--enable-volume-shadow-copy=when-available",
    ]);
    assert_golden("policy-set.txt", &messages);
    assert_golden("policy-show.txt", &client.ok(&["policy", "show", path]));
    client.ok(&["policy", "set", "usr@hst", "--keep-latest=inherit", "--one-file-system=true", "--inherit=false"]);
    client.ok(&["policy", "set", "usr@hst:/data/act/sub", "--manual"]);
    assert_golden("policy-show-alone.txt", &client.ok(&["policy", "show", "usr@hst:/data/act/sub"]));

    let list = client.json(&["policy", "list", "--json"]);
    let optional = ["noParent", "target", "id"];
    assert_items(&list, &sample("policy-list.json"), &[&optional[..], &all_settings()].concat());
    let targets: Vec<String> =
        list.as_array().unwrap().iter().map(|item| item["target"]["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(targets, ["", "", "/data/act", "/data/act/sub"]);
    assert_eq!(list[1]["noParent"], true);
    // Go escapes what HTML does not like.
    let text = client.ok(&["policy", "ls", "--json"]);
    assert!(text.contains("env | grep KOPIA_ \\u003e\\u003e /data/act.log"), "{text}");
    let lines = client.ok(&["policy", "list"]);
    let id = |number: usize| list[number]["id"].as_str().unwrap().to_owned();
    assert!(lines.starts_with(&format!("{} (global)\n{} usr@hst\n{} {path}\n", id(0), id(1), id(2))), "{lines}");

    // By its id, and as it was.
    let before = client.everything();
    let dry = client.messages(&["policy", "delete", "--dry-run", &id(2)]);
    assert_eq!((dry, client.everything()), (format!("Would remove policy on {path:?}...\n"), before));
    assert_eq!(client.messages(&["policy", "rm", &id(2)]), format!("Removing policy on {path:?}...\n"));
    assert_eq!(client.json(&["policy", "list", "--json"]).as_array().unwrap().len(), 3);
    assert_eq!(client.messages(&["policy", "delete", path]), format!("{path} has no policy of its own.\n"));
}

fn all_settings() -> Vec<&'static str> {
    vec![
        "keepLatest",
        "keepHourly",
        "keepDaily",
        "keepWeekly",
        "keepMonthly",
        "keepAnnual",
        "ignoreIdenticalSnapshots",
        "ignore",
        "ignoreDotFiles",
        "maxFileSize",
        "oneFileSystem",
        "ignoreFileErrors",
        "ignoreDirectoryErrors",
        "ignoreUnknownTypes",
        "intervalSeconds",
        "timeOfDay",
        "manual",
        "cron",
        "runMissed",
        "compressorName",
        "onlyCompress",
        "neverCompress",
        "minSize",
        "algorithm",
        "afterFolder",
        "beforeSnapshotRoot",
        "enable",
        "snapshotted",
        "ignored",
        "cacheHit",
        "cacheMiss",
        "maxParallelSnapshots",
        "parallelUploadAboveSize",
    ]
}

#[test]
fn what_is_stored_is_kopias() {
    let client = Client::new();
    client.ok(&["policy", "set", "usr@hst:/data/src", "--keep-latest=5"]);
    client.ok(&["policy", "set", "usr@hst:/data/src", "--keep-latest=inherit"]);
    let list = client.json(&["manifest", "list", "--json", "--filter=policyType:path"]);
    let shown = client.ok(&["manifest", "show", list[0]["id"].as_str().unwrap()]);
    let sample = String::from_utf8(data("samples/manifest-policy-path-empty.json")).unwrap();
    let without_id = |text: &str| {
        text.lines().filter(|l| !l.contains("// id") && !l.contains("modified")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_id(&shown), without_id(&sample));
}

#[test]
fn errors() {
    let client = Client::new();
    client.ok(&["policy", "set", "/manual", "--manual"]);
    for (arguments, error) in [
        (&["show"][..], "must pass either --global or targets, such as a path\n"),
        (&["show", "user@"], "invalid hostname in \"user@\"\n"),
        (&["delete"], "must pass either --global or targets, such as a path\n"),
        (&["set", "--keep-latest=1"], "must pass either --global or targets, such as a path\n"),
        (&["set", "/x"], "no changes specified\n"),
        (&["set", "/x", "--keep-latest="], "no changes specified\n"),
        (
            &["set", "/x", "--keep-latest=-1"],
            "--keep-latest \"-1\" must be a number of 0 or more, or inherit, or default\n",
        ),
        (
            &["set", "/x", "--snapshot-time=25:00"],
            "--snapshot-time \"25:00\" must be a time of day such as 2:30, or inherit\n",
        ),
        (
            &["set", "/x", "/y", "--add-ignore=["],
            "cannot set the policy of usr@hst:/x: invalid ignore pattern \"[\" in the policy of usr@hst:/x, line 1: missing ]\n",
        ),
        (
            &["set", "/x", "--max-parallel-snapshots=2"],
            "cannot set the policy of usr@hst:/x: max-parallel-snapshots cannot be set for a path, only for a user, a host or globally\n",
        ),
        (
            &["set", "/x", "--snapshot-time-crontab=* * *"],
            "cannot set the policy of usr@hst:/x: invalid cron expression \"* * *\": it has 3 fields; there must be 5, such as in \"30 2 * * *\" (02:30 every day)\n",
        ),
        (
            &["set", "/manual", "--run-missed=true"],
            "cannot set the policy of usr@hst:/manual: a manual policy cannot have a schedule (interval, times, crontab or run-missed) as well\n",
        ),
    ] {
        assert_eq!(client.fails(&[&["policy"], arguments].concat()), error);
    }
    let error = client.fails(&["policy", "set", "/x", "--compression=ztd"]);
    assert!(error.contains("a similar value exists: 'zstd'"), "{error}");
    client.fails(&["policy", "set", "/x", "--ignore-cache-dirs"]);
    client.fails(&["policy", "set", "--global", "/x", "--keep-latest=1"]);
    let wrong = fs::read_to_string(client.path("config")).unwrap().replace("repo", "nosuch");
    fs::write(client.path("config"), wrong).unwrap();
    let error = client.fails(&["policy", "list"]);
    assert!(error.contains("nosuch"), "{error}");
}

#[test]
fn policies_that_are_not_understood() {
    let client = Client::new();
    let source = |path: &str| SourceInfo { host: "hst".into(), user_name: "usr".into(), path: path.into() };
    let put = |path: &str, policy: serde_json::Value| {
        client.write(|writer| writer.put_manifest(source(path).policy_labels().unwrap(), &policy).unwrap())
    };
    // What a newer program stored there is not lost.
    put("/newer", serde_json::json!({"retention": {"keepLatest": 3, "keepDecades": 7}, "sparkle": true}));
    client.ok(&["policy", "set", "/newer", "--keep-latest=4"]);
    let list = client.json(&["manifest", "list", "--json", "--filter=path:/newer"]);
    let stored = client.ok(&["manifest", "show", list[0]["id"].as_str().unwrap()]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    for member in ["\"keepLatest\": 4", "\"keepDecades\": 7", "\"sparkle\": true"] {
        assert!(stored.contains(member), "{stored}");
    }
    // One of another form is not replaced by what is left of it.
    put("/other", serde_json::json!({"retention": {"keepLatest": "many"}}));
    let error = client.fails(&["policy", "set", "/other", "--keep-latest=4"]);
    assert!(error.starts_with("the policy of usr@hst:/other cannot be understood"), "{error}");
    let done = client.run(&["policy", "list"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.starts_with("a policy cannot be understood: "), "{}", done.stderr);
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().count(), 2);
    client.ok(&["policy", "delete", "/other"]);
    client.ok(&["policy", "list"]);
}
