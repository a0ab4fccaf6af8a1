use jiff::Timestamp;

use super::*;
use crate::snapshot::summary::Incomplete;

fn sample(name: &str) -> String {
    let path = format!("{}/tests/data/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// A directory that kopia wrote; read and written it is the same bytes, whatever order its entries are found in.
fn written_again(name: &str) -> Directory {
    // Of a name that was not UTF-8 only this is left, and nothing tells that it ever was another.
    let text = sample(name).replace("\\ufffd", "\u{fffd}");
    let directory = Directory::parse(text.as_bytes()).unwrap();
    let summary = directory.summary.as_ref().unwrap();
    let mut entries: Vec<Entry> = directory.entries.iter().rev().cloned().collect();
    sort(&mut entries);
    assert_eq!(String::from_utf8(encode(&mut entries, summary)).unwrap(), text, "{name}");
    directory
}

#[test]
fn directories_are_written_as_kopia_writes_them() {
    for name in ["directory-root.json", "directory-sub.json", "directory-names.json"] {
        let directory = written_again(name);
        // An own time counts only where there are no entries.
        let summary = Summary::of_directory(Timestamp::MAX, &directory.entries);
        assert_eq!(Some(summary), directory.summary, "{name}");
    }
    let empty = written_again("directory-empty.json");
    let mtime = empty.summary.as_ref().unwrap().max_time;
    assert_eq!(Some(Summary::of_directory(mtime, &[])), empty.summary);
}

#[test]
fn a_checkpoint_says_so() {
    let directory = written_again("directory-checkpoint.json");
    let mut summary = Summary::of_directory(Timestamp::MAX, &directory.entries);
    summary.incomplete = Some(Incomplete::Checkpoint);
    assert_eq!(Some(summary), directory.summary);
}

#[test]
fn ignored_errors_are_counted_and_listed() {
    let directory = written_again("directory-ignored-errors.json");
    let found = directory.summary.clone().unwrap();
    let mut summary = Summary::of_directory(Timestamp::MAX, &directory.entries);
    // In whatever order they come up.
    summary.fail(found.errors.iter().rev().map(|failed| (failed.clone(), true)));
    assert_eq!(summary, found);
}
