//! Every repository that kopia wrote, read and written to.

use std::path::Path;

use integration::{check, fixtures};

use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_is_read_exactly() {
    for archive in fixtures() {
        eprintln!("{}", archive.display());
        Fixture::unpack(&archive).check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_can_be_written_to() {
    for archive in fixtures() {
        eprintln!("{}", archive.display());
        let fixture = Fixture::unpack(&archive);
        let before = check_fixture(&fixture);
        fixture.write_again().await;
        let after = check_fixture(&fixture);
        // Nothing new that is strange, either: the only new warning is that a snapshot of a fixture's tree was taken
        // from a directory of another name.
        let known = |line: &&str| !before.contains(line) && !line.contains("(replaced by an action?)");
        let new: Vec<&str> = after.lines().filter(known).collect();
        assert!(new.is_empty(), "{}: {new:?}", archive.display());
    }
}

fn check_fixture(fixture: &Fixture) -> String {
    check(Path::new(&fixture.repository_path()), &fixture.expected.password)
}
