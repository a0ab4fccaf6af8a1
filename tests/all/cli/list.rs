//! `ls`, `show`

use larder::content::Scratch;
use larder::content::id::Prefix;
use larder::manifest::ManifestId;
use larder::object::{ObjectOptions, put_bytes};
use larder::repo::Writer;
use larder::snapshot::manifest::Snapshot;
use serde_json::{Value, json};

use super::client::{Client, assert_golden, sample};
use super::shape::assert_shape;

const FIRST: &str = "fd9973ff10b331e8afa25ebc73994135";
const ROOT: &str = "kfdabd9015c77f87055e2047f845560ca";

#[test]
fn directories() {
    let client = Client::of_fixture("defaults");
    for (golden, arguments) in [
        ("ls.txt", &["ls", ROOT][..]),
        ("ls-o.txt", &["list", "-o", FIRST]),
        ("ls-l.txt", &["ls", "-l", FIRST]),
        ("ls-lhr.txt", &["ls", "-lhr", FIRST]),
        ("ls-r.txt", &["ls", "--recursive", "fd9973ff10b331e8afa25ebc73994135/dir1"]),
    ] {
        assert_golden(golden, &client.ok(arguments));
    }
    let file = client.ok(&["ls", "-l", &format!("{FIRST}//dir1/a.txt")]);
    assert_eq!(file, "-rw-r-----         1000 2022-04-15 05:20:00 UTC 36215ede42d78e03b82d9e2de7425ff1   a.txt\n");
    let help = client.ok(&["ls", "--help"]);
    assert!(help.contains("-h, --human-readable"), "{help}");
}

#[test]
fn objects() {
    let client = Client::of_fixture("defaults");
    assert_eq!(client.ok(&["show", "2f0e7fa9cc0c5a39077435aad09c5a28"]), "hello world\n");
    assert_eq!(client.ok(&["cat", &format!("{FIRST}/hello.txt")]), "hello world\n");
    assert_eq!(client.ok(&["show", &format!("{ROOT}//hello.txt")]), "hello world\n");
    let directory = client.ok(&["show", &format!("{ROOT}/emptydir")]);
    assert!(directory.starts_with("{\"stream\":\"kopia:directory\",\"entries\":null"), "{directory}");

    // Larger than what is held at once.
    let client = Client::of_fixture("indirect2");
    let zeros = client.run(&["show", "Ix105f162ac881bf8679555d16e727c202"]).stdout;
    assert_eq!(zeros.len(), 200_000_017);
    assert!(zeros.ends_with(b"\0END OF ZERO FILE\n") && zeros[..200_000_000].iter().all(|byte| *byte == 0));
}

#[test]
fn errors() {
    let client = Client::of_fixture("defaults");
    for (arguments, error) in [
        (&["ls", "nonsense"][..], "\"nonsense\" is neither a snapshot nor an object\n"),
        (&["ls", "fd9973ff10b331e8afa25ebc73994135/dir1/nosuch/x"], "there is no \"dir1/nosuch\"\n"),
        (&["ls", "fd9973ff10b331e8afa25ebc73994135/hello.txt/x"], "there is no \"hello.txt/x\"\n"),
        (&["show", "nonsense"], "\"nonsense\" is neither a snapshot nor an object\n"),
        (&["show", "fd9973ff10b331e8afa25ebc73994135/nosuch"], "there is no \"nosuch\"\n"),
        (
            &["show", "00000000000000000000000000000000"],
            "cannot open object 00000000000000000000000000000000: content 00000000000000000000000000000000 does not \
             exist\nIf it should exist, an index blob is missing: put it back from a copy of the storage if there is \
             one.\n",
        ),
    ] {
        assert_eq!(client.fails(arguments), error);
    }
    client.fails(&["ls"]);
    client.fails(&["show"]);
}

/// Puts a snapshot into a repository from which a file is missing: the one of the sample.
fn put_snapshot_with_error(writer: &Writer, entry: &Value) -> ManifestId {
    let options = ObjectOptions {
        prefix: Prefix::DIRECTORY,
        compression: None,
        metadata_compression: None,
        splitter: writer.repository().parameters().splitter,
    };
    let put = |text: Value| {
        let object = put_bytes(writer.contents(), &options, text.to_string().as_bytes(), &mut Scratch::default());
        object.unwrap().to_string()
    };
    let summary = &entry["rootEntry"]["summ"];
    let below = put(json!({"stream": "kopia:directory", "entries": null, "summary": summary}));
    let directory = json!({
        "name": "sub", "type": "d", "mode": "0755", "mtime": "2020-01-02T03:04:05Z", "obj": below, "summ": summary,
    });
    let root = put(json!({"stream": "kopia:directory", "entries": [directory], "summary": summary}));
    let mut snapshot: Snapshot = serde_json::from_value(entry.clone()).unwrap();
    snapshot.root_entry.as_mut().unwrap().object = root.parse().unwrap();
    snapshot.id = None;
    writer.put_manifest(snapshot.labels(), &snapshot).unwrap()
}

#[test]
fn what_is_missing_is_told() {
    let client = Client::new();
    let sample = sample("snapshot-with-error.json");
    let id = client.write(|writer| put_snapshot_with_error(writer, &sample)).to_string();
    let done = client.run(&["ls", "-l", &id]);
    assert_eq!(done.code, Some(0));
    let line = String::from_utf8(done.stdout).unwrap();
    assert!(line.starts_with("drwxr-xr-x        50016 2020-01-02 03:04:05 UTC k"), "{line}");
    assert!(line.ends_with(" sub/ (1 errors)\n"), "{line}");
    assert_eq!(
        done.stderr,
        "\nNOTE: Encountered 1 errors while snapshotting this directory:\n\n- Error in \"fifo\": unknown or unsupported \
         entry type\n"
    );
    assert_eq!(client.messages(&["ls", "-l", "--no-error-summary", &id]), "");
    let list = client.json(&["snapshot", "list", "--json"]);
    assert_shape(&list[0], &sample, &[]);
    let text = client.ok(&["snapshot", "list"]);
    assert!(text.contains(" files:6 dirs:4 errors:1 (latest-1,"), "{text}");
}
