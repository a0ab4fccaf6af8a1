//! `snapshot list`, `snapshot delete`, `snapshot verify`

use std::fs;

use serde_json::Value;

use super::client::{Client, assert_golden, data, sample};
use super::shape::{assert_items, assert_shape};

const FIRST: &str = "fd9973ff10b331e8afa25ebc73994135";
const SECOND: &str = "8c7c1300f18d00d7051fc66110c707f3";
const SOURCE: &str = "fixuser@fixhost:/data/fixtures/defaults/src";
/// Keys that not every snapshot has.
const OPTIONAL: [&str; 7] = ["incomplete", "tags", "pins", "errors", "retentionReason", "uid", "gid"];

#[test]
fn list_as_text() {
    let client = Client::of_fixture("defaults");
    assert_golden("snapshot-list.txt", &client.ok(&["snapshot", "list"]));
    let everything = ["-m", "-d", "--mtime", "--owner", "--no-human-readable", "--no-retention", "--reverse"];
    assert_golden("snapshot-list-long.txt", &client.ok(&[&["snapshot", "ls"][..], &everything].concat()));
    let all = client.ok(&["snapshot", "list", "--all", "-n", "1", SOURCE]);
    assert!(all.lines().count() == 2 && all.contains("k2c58ead8d1ba1bc8231280b7f22c67ed"), "{all}");
    // What is below a source: that directory, where it was there; it did not change.
    let below = client.ok(&["snapshot", "list", &format!("{SOURCE}/dir1/sub")]);
    assert_golden("snapshot-list-below.txt", &below);
    let each = client.ok(&["snapshot", "list", "-l", &format!("{SOURCE}/dir1/sub")]);
    assert_eq!(each.lines().count(), 3, "{each}");
}

#[test]
fn list_as_json() {
    let client = Client::of_fixture("defaults");
    let text = client.ok(&["snapshot", "list", "--json"]);
    assert!(text.starts_with("[\n {\"id\":") && text.ends_with("}\n]"), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_items(&list, &sample("snapshot-list.json"), &OPTIONAL);
    for (found, expected) in list.as_array().unwrap().iter().zip(client.expected()["snapshots"].as_array().unwrap()) {
        assert_eq!(found["id"], expected["manifest_id"]);
        for key in ["source", "description", "startTime", "endTime", "stats", "rootEntry"] {
            assert_eq!(found[key], expected[key], "{key}");
        }
    }
    assert_eq!(list[0]["retentionReason"], serde_json::json!(["latest-2"]));
    let indented = client.ok(&["snapshot", "list", "--json", "--json-indent"]);
    assert!(indented.starts_with("[{\n  \"id\"") && indented.ends_with("}]"), "{indented}");
    assert_eq!(serde_json::from_str::<Value>(&indented).unwrap(), list);
    assert_eq!(client.json(&["snapshot", "list", "--json", "--reverse"])[0]["id"], SECOND);
}

#[test]
fn snapshots_of_samples_are_written_as_kopia_writes_them() {
    for name in ["snapshot-list.json", "snapshot-incomplete.json", "snapshot-with-error.json"] {
        let text = String::from_utf8(data(&format!("samples/{name}"))).unwrap();
        for line in text.lines().map(|line| line.trim().trim_end_matches(',')).filter(|line| line.len() > 1) {
            let snapshot: larder::snapshot::manifest::Snapshot = serde_json::from_str(line).unwrap();
            let written = larder::json::to_string(&snapshot).unwrap();
            let (before, _) = line.split_once(",\"retentionReason\"").unwrap();
            assert_eq!(format!("{before}}}"), written);
        }
    }
}

#[test]
fn create_as_json() {
    let client = Client::new();
    fs::create_dir(client.path("source")).unwrap();
    let create =
        ["snapshot", "create", "source", "--json", "--tags=foo:bar", "--pin=keepme", "--description=desc here"];
    let text = client.ok(&create);
    assert_eq!(text.lines().count(), 1);
    let made: Value = serde_json::from_str(&text).unwrap();
    // A directory of root has no owner to show.
    assert_shape(&made, &sample("snapshot-create.json"), &["uid", "gid"]);
    for key in ["description", "tags", "pins"] {
        assert_eq!(made[key], sample("snapshot-create.json")[key]);
    }
}

#[test]
fn nothing_to_list() {
    let client = Client::of_fixture("defaults");
    assert_eq!(client.ok(&["snapshot", "list", "--json", "other@fixhost"]), "[\n]");
    assert_eq!(client.ok(&["snapshot", "list", "other@fixhost"]), "");
    let messages = client.messages(&["snapshot", "list", "/data"]);
    assert_eq!(messages, "No snapshots found for fixuser@fixhost:/data.\n");
    let config = fs::read_to_string(client.path("config")).unwrap();
    fs::write(client.path("config"), config.replace("fixuser", "other")).unwrap();
    let done = client.run(&["snapshot", "list"]);
    assert_eq!((done.code, done.stdout.len()), (Some(0), 0));
    assert_eq!(done.stderr, "No snapshots found. Pass --all to show snapshots from all users/hosts.\n");
    assert_eq!(client.ok(&["snapshot", "list", "--all"]).lines().count(), 3);
    assert_eq!(client.json(&["snapshot", "list", "--json"]).as_array().unwrap().len(), 2);
    assert_eq!(client.fails(&["snapshot", "list", "user@"]), "invalid hostname in \"user@\"\n");
    assert_eq!(client.fails(&["snapshot", "list", "--tags=x"]), "invalid tag \"x\": it must be key:value\n");
}

#[test]
fn list_of_a_new_repository() {
    let client = Client::new();
    assert_eq!(client.messages(&["snapshot", "list"]), "No snapshots found.\n");
    let source = client.path("source");
    let source = source.to_str().unwrap();
    fs::create_dir_all(client.path("source/sub")).unwrap();
    fs::write(client.path("source/sub/a"), "a").unwrap();
    client.ok(&["snapshot", "create", source, "--tags=mood:good", "--pin=b", "--pin=a"]);
    client.ok(&["snapshot", "create", source]);
    // Noise that does not fit under the limit.
    let mut noise = vec![0; 3 << 20];
    getrandom::fill(&mut noise).unwrap();
    for part in 0..3 {
        fs::write(client.path(&format!("source/sub/{part}")), &noise[part << 20..][..1 << 20]).unwrap();
    }
    client.ok(&["snapshot", "create", source, "--upload-limit-mb=1", "--parallel=1"]);

    let list = client.json(&["snapshot", "list", "--json"]);
    assert_items(&list, &sample("snapshot-list.json"), &OPTIONAL);
    assert_eq!(list[0]["tags"], serde_json::json!({"tag:mood": "good"}));
    assert_eq!(list[0]["pins"], serde_json::json!(["a", "b"]));
    assert_shape(&list[2], &sample("snapshot-incomplete.json")[0], &["uid", "gid"]);
    assert_eq!(
        (&list[2]["incomplete"], &list[2]["retentionReason"][0]),
        (&"limit reached".into(), &"incomplete".into())
    );

    let text = client.ok(&["snapshot", "list"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("usr@hst:{source}"));
    let root = list[0]["rootEntry"]["obj"].as_str().unwrap();
    let reasons = "(latest-1..2,hourly-1,daily-1,weekly-1,monthly-1,annual-1) pins:a,b";
    assert!(lines[1].contains(&format!(" UTC {root} 1 B drwx")) && lines[1].ends_with(reasons), "{text}");
    assert!(lines[2].starts_with("  + 1 identical snapshots until 2"), "{text}");
    assert_eq!(lines.len(), 3);
    let with_incomplete = client.ok(&["snapshot", "list", "-i", source]);
    assert!(with_incomplete.contains(" incomplete:limit reached "), "{with_incomplete}");
    let tagged = client.ok(&["snapshot", "list", "--tags=mood:good"]);
    assert!(tagged.lines().count() == 2 && tagged.contains("pins:a,b"), "{tagged}");
}

#[test]
fn delete() {
    let client = Client::of_fixture("defaults");
    let at = "2026-11-21 01:36:49 UTC";
    let before = client.everything();
    assert_eq!(
        client.messages(&["snapshot", "delete", FIRST]),
        format!("Would delete snapshot {FIRST} of {SOURCE} at {at} (pass --delete to confirm)\n")
    );
    assert_eq!(client.everything(), before);
    // By its root, and twice: once.
    let root = "kfdabd9015c77f87055e2047f845560ca";
    assert_eq!(
        client.messages(&["snapshot", "delete", root, FIRST, "--delete"]),
        format!("Deleting snapshot {FIRST} of {SOURCE} at {at}...\n")
    );
    let left = client.json(&["manifest", "list", "--json"]);
    let ids: Vec<&str> = left.as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["c819b2f34211bbfa25c9e4cd77c86976", "bb5800464a05ea7071c87f82a9c14e1d", SECOND]);
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
    // The old name of --delete.
    let messages =
        client.messages(&["snapshot", "delete", "--all-snapshots-for-source", SOURCE, "--unsafe-ignore-source"]);
    assert!(messages.starts_with(&format!("Deleting snapshot {SECOND} of")), "{messages}");
    assert_eq!(client.ok(&["snapshot", "list", "--json"]), "[\n]");
}

#[test]
fn delete_only_what_there_is() {
    let client = Client::of_fixture("defaults");
    let unknown = "00000000000000000000000000000000";
    for (arguments, error) in [
        (&[FIRST, unknown, "--delete"][..], format!("snapshot {unknown:?} not found\n")),
        (&["nonsense", "--delete"], "snapshot \"nonsense\" not found\n".to_owned()),
        (
            &["c819b2f34211bbfa25c9e4cd77c86976", "--delete"],
            "c819b2f34211bbfa25c9e4cd77c86976 is not a snapshot: it is a manifest of type \"policy\"\n".to_owned(),
        ),
        (&["--all-snapshots-for-source", "/data", "--delete"], "no snapshots of fixuser@fixhost:/data\n".to_owned()),
    ] {
        assert_eq!(client.fails(&[&["snapshot", "delete"], arguments].concat()), error);
    }
    let user = client.fails(&["snapshot", "delete", "--all-snapshots-for-source", "fixuser@fixhost", "--delete"]);
    assert!(user.contains("name one with its path"), "{user}");
    client.fails(&["snapshot", "delete", "--delete"]);
    let config = fs::read_to_string(client.path("config")).unwrap();
    fs::write(client.path("config"), config.replace("{\"storage\"", "{\"readonly\":true,\"storage\"")).unwrap();
    let error = client.fails(&["snapshot", "delete", FIRST, "--delete"]);
    assert!(error.contains("connected read-only"), "{error}");
}

#[test]
fn verify() {
    let client = Client::of_fixture("defaults");
    let report = client.json(&["snapshot", "verify", "--json", "--verify-files-percent=100"]);
    assert_shape(&report, &sample("snapshot-verify.json"), &[]);
    assert_eq!(
        report["stats"],
        serde_json::json!({
            "processedObjectCount": 16, "processedBytes": 271_036, "readFileCount": 7, "readBytes": 271_036,
            "expectedTotalObjectCount": 26, "expectedTotalFileCount": 11, "expectedTotalBytes": 542_037,
        })
    );
    let one = ["--parallel=1", "--file-parallelism=1", "--file-queue-length=1", "--verify-files-percent=100"];
    let messages = client.messages(&[&["snapshot", "verify", FIRST][..], &one].concat());
    assert_eq!(messages, "Finished processing 12 objects (271 KB). Read 5 files (271 KB).\n");
    let messages = client.messages(&["snapshot", "verify", "--sources", SOURCE]);
    assert_eq!(messages, "Finished processing 16 objects (271 KB). Read 0 files (0 B).\n");
    let directory = "--directory-id=k44d58180fd67479dd2e7f72d74127fbe";
    let file = "--file-id=36215ede42d78e03b82d9e2de7425ff1";
    let messages = client.messages(&["snapshot", "verify", directory, file, "--verify-files-percent=100"]);
    assert_eq!(messages, "Finished processing 3 objects (201 KB). Read 2 files (201 KB).\n");
}

#[test]
fn verify_names_what_is_damaged() {
    let client = Client::of_fixture("defaults");
    // A byte in the middle of dir1/sub/deep/x.dat.
    let pack = client.blob("p8277");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[70_300] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    client.ok(&["snapshot", "verify"]);
    let read = ["snapshot", "verify", "--verify-files-percent=100", "--max-errors=-1", "--parallel=1"];
    let done = client.run(&read);
    assert_eq!(done.code, Some(1));
    let of = |id, second: u8| format!("snapshot {id} of {SOURCE} at 2026-11-21 01:36:{second} UTC");
    let lines: Vec<&str> = done.stderr.lines().collect();
    let named = |line: &str| [of(FIRST, 49), of(SECOND, 50)].iter().any(|root| line.starts_with(&**root));
    assert!(named(lines[0]) && lines[0].contains(": dir1/sub/deep/x.dat: content 1be1a9eef51"), "{}", done.stderr);
    assert_eq!(lines[1], format!("Affected: {} (1 of its files and directories)", of(FIRST, 49)));
    assert_eq!(lines[2], format!("Affected: {} (1 of its files and directories)", of(SECOND, 50)));
    assert_eq!(lines.last(), Some(&"found 1 error"));

    fs::remove_file(&pack).unwrap();
    let done = client.run(&["snapshot", "verify", "--json", "--max-errors=-1"]);
    assert_eq!(done.code, Some(1));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let with_errors = "errorStrings";
    assert_shape(&report, &sample("snapshot-verify.json"), &[with_errors]);
    let errors = report[with_errors].as_array().unwrap();
    assert_eq!((&report["errorCount"], errors.len()), (&7.into(), 7));
    assert!(errors.iter().any(|e| e.as_str().unwrap().contains(": hello.txt: content 2f0e7fa9")), "{report}");
    let first_only = client.run(&["snapshot", "verify"]);
    assert!(first_only.stderr.ends_with("use --max-errors=-1 to find all of them\n"), "{}", first_only.stderr);
    let error_count = |done: &str| done.lines().filter(|line| line.contains("which does not exist")).count();
    assert_eq!(error_count(&first_only.stderr), 1);
    assert_eq!(error_count(&client.run(&["snapshot", "verify", "--max-errors=3"]).stderr), 3);
    let whole = client.run(&["snapshot", "verify", "--file-id=00000000000000000000000000000000"]);
    assert!(whole.stderr.starts_with("file 00000000000000000000000000000000: content "), "{}", whole.stderr);
}

#[test]
fn verify_errors() {
    let client = Client::of_fixture("defaults");
    for (argument, error) in [
        ("nonsense", "snapshot \"nonsense\" not found\n"),
        ("--sources=/nosuch", "no snapshots of fixuser@fixhost:/nosuch\n"),
        ("--directory-id=nonsense", "\"nonsense\" is not an object id\n"),
        ("--verify-files-percent=101", "--verify-files-percent must be between 0 and 100\n"),
    ] {
        assert_eq!(client.fails(&["snapshot", "verify", argument]), error);
    }
}
