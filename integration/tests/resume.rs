//! Going on after an interruption.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration::Sandbox;
use larder::format::testdata::splitmix;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Bytes of all packs of data.
fn uploaded(sandbox: &Sandbox) -> u64 {
    let mut sum = 0;
    let mut todo = vec![sandbox.repository().join("p")];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "f") {
                sum += entry.metadata().unwrap().len();
            }
        }
    }
    sum
}

#[test]
fn at_most_a_gibibyte_is_uploaded_again() {
    let sandbox = Sandbox::create(&["--block-hash=BLAKE3-256"]);
    let source = sandbox.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut file = File::create(source.join("large")).unwrap();
    for part in 0..24 {
        file.write_all(&splitmix(part, 128 << 20)).unwrap();
    }
    let name = source.to_str().unwrap();
    let mut child = sandbox.command(["snapshot", "create", name]).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(300);
    while uploaded(&sandbox) < 2 * GIB + 900 * MIB {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "it was too quick, or too slow");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = uploaded(&sandbox);
    sandbox.run(["snapshot", "create", name]);
    let again = uploaded(&sandbox) - 3 * GIB;
    eprintln!("killed after {} MiB; {} MiB were uploaded again", before / MIB, again / MIB);
    assert!(again <= GIB, "{again} bytes were uploaded again");
    sandbox.run(["snapshot", "verify", "--verify-files-percent=100"]);
}
