//! Many writers and one repository: nothing is locked, nothing is lost.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use integration::Sandbox;
use larder::format::testdata::{lines, splitmix};

/// Eight processes snapshot different directories with much in common, all at once, several times.
#[test]
fn eight_processes_write_at_once() {
    let sandbox = Sandbox::create(&["--object-splitter=DYNAMIC-128K-BUZHASH"]);
    let sources: Vec<PathBuf> = (0..8).map(|number| make_source(&sandbox, number)).collect();
    for round in 0..3_u64 {
        for (number, source) in sources.iter().enumerate() {
            fs::write(source.join("changing"), splitmix(round * 100 + number as u64, 300_000)).unwrap();
        }
        let children: Vec<Child> = sources
            .iter()
            .map(|source| {
                let mut command = sandbox.command(["snapshot", "create"]);
                command.arg(source).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", integration::text(&output.stderr));
        }
    }
    assert_eq!(sandbox.check(), "");
    for (number, source) in sources.iter().enumerate() {
        let target = sandbox.path().join(format!("restored-{number}"));
        let (source, target) = (source.to_str().unwrap(), target.to_str().unwrap());
        sandbox.run(["restore", source, target]);
        integration::compare_directories(source.as_ref(), target.as_ref(), &[]);
    }
}

fn make_source(sandbox: &Sandbox, number: u64) -> PathBuf {
    let source = sandbox.path().join(format!("source-{number}"));
    fs::create_dir_all(source.join("shared")).unwrap();
    for file in 0..50 {
        fs::write(source.join(format!("shared/{file}")), lines(1000 + 37 * file)).unwrap();
        fs::write(source.join(format!("own-{file}")), splitmix(number * 1000 + file as u64, 2000)).unwrap();
    }
    fs::write(source.join("shared/large"), splitmix(7, 3_000_000)).unwrap();
    source
}
