//! Much data in little memory.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;

use integration::{Measured, Sandbox, measure, program, text};
use larder::format::testdata::splitmix;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn succeeded(measured: &Measured) -> String {
    assert!(measured.output.status.success(), "{}", text(&measured.output.stderr));
    text(&measured.output.stdout)
}

/// 20 GiB from a pipe. It repeats after 256 MiB, so that it does not need as much of the disk.
#[test]
fn a_long_stream_needs_little_memory() {
    let sandbox = Sandbox::create(&[]);
    let block = splitmix(1, 256 << 20);
    let mut command = sandbox.command(["snapshot", "create", "/streams/long", "--stdin-file=long", "--json"]);
    let made = measure(&mut command, |stdin| (0..80).try_for_each(|_| stdin.write_all(&block)));
    let json = succeeded(&made);
    assert!(json.contains(&format!("\"size\":{}", 20 * GIB)), "{json}");
    eprintln!("snapshot of 20 GiB from a pipe: {} MiB of anonymous memory", made.peak / 1024);
    assert!(made.peak * 1024 < 160 * MIB, "{} KiB", made.peak);

    let mut command = sandbox.command(["snapshot", "verify", "--verify-files-percent=100"]);
    let verified = measure(&mut command, |_| Ok(()));
    succeeded(&verified);
    eprintln!("verifying it: {} MiB of anonymous memory", verified.peak / 1024);
    assert!(verified.peak * 1024 < 160 * MIB, "{} KiB", verified.peak);
}

/// A tree with a file of 20 GiB, nearly all of it a hole.
#[test]
fn a_sparse_file_needs_little_memory_and_time() {
    let sandbox = Sandbox::create(&[]);
    let source = sandbox.path().join("source");
    fs::create_dir(&source).unwrap();
    let file = File::create(source.join("sparse")).unwrap();
    file.set_len(20 * GIB).unwrap();
    let data = splitmix(5, 3_000_000);
    for place in [0, 7 * GIB + 123, 20 * GIB - data.len() as u64] {
        file.write_all_at(&data, place).unwrap();
    }
    let mut command = sandbox.command(["snapshot", "create"]);
    let made = measure(command.arg(&source), |_| Ok(()));
    succeeded(&made);
    eprintln!("snapshot of a sparse file of 20 GiB: {} MiB of anonymous memory", made.peak / 1024);
    assert!(made.peak * 1024 < 160 * MIB, "{} KiB", made.peak);

    let target = sandbox.path().join("target");
    let mut command = sandbox.command(["restore", "--write-sparse-files"]);
    let restored = measure(command.arg(&source).arg(&target), |_| Ok(()));
    succeeded(&restored);
    eprintln!("restoring it: {} MiB of anonymous memory", restored.peak / 1024);
    assert!(restored.peak * 1024 < 160 * MIB, "{} KiB", restored.peak);
    let mut file = File::open(target.join("sparse")).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), 20 * GIB);
    assert!(metadata.blocks() * 512 < 20 * MIB, "{} blocks", metadata.blocks());
    for place in [0, 7 * GIB + 123, 20 * GIB - data.len() as u64] {
        let mut found = vec![0; data.len()];
        file.seek(SeekFrom::Start(place)).unwrap();
        file.read_exact(&mut found).unwrap();
        assert!(found == data, "data at {place}");
    }
}

/// The tool that fills a repository, built beside the program.
fn many_contents() -> PathBuf {
    let tool = program().with_file_name("examples").join("many-contents");
    assert!(tool.exists(), "{} is not built: run cargo build --examples", tool.display());
    tool
}

/// Restoring one file does not load what 5,000,000 contents are known by, whether it lies in many index blobs or one.
#[test]
fn a_large_repository_needs_little_memory() {
    for blobs in ["200", "1"] {
        let sandbox = Sandbox::new();
        let repository = sandbox.repository();
        let mut fill = Command::new(many_contents());
        fill.arg(&repository).args(["5000000", blobs]).env("KOPIA_PASSWORD", "sandbox-password");
        succeeded(&measure(&mut fill, |_| Ok(())));
        sandbox.run(["repository", "connect", "filesystem", "--path", repository.to_str().unwrap()]);
        let source = sandbox.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "what is wanted").unwrap();
        sandbox.snapshot(&source);
        fs::remove_dir_all(sandbox.path().join("cache")).unwrap();
        for (what, number) in [("first", 1), ("second", 2)] {
            let target = sandbox.path().join(format!("target-{number}"));
            let file = format!("{}/file", source.display());
            let mut command = sandbox.command(["restore", &file]);
            let started = std::time::Instant::now();
            let restored = measure(command.arg(&target), |_| Ok(()));
            succeeded(&restored);
            eprintln!(
                "{what} restore of a file, 5,000,000 contents in {blobs} index blobs: {} MiB of anonymous memory, {:?}",
                restored.peak / 1024,
                started.elapsed()
            );
            assert_eq!(fs::read_to_string(target).unwrap(), "what is wanted");
            assert!(restored.peak * 1024 < 100 * MIB, "{} KiB", restored.peak);
        }
    }
}
