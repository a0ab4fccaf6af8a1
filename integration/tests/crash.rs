//! Crashes on a real file system, judged by the strict checker: operations stopped after many of their calls, and the
//! real program killed at any moment.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::{Sandbox, assert_only_leftovers, check, rounds, text};
use larder::blob::Storage;
use larder::blob::faulty::{Action, Faulty};
use larder::blob::fs::{FilesystemConfig, FilesystemStorage};
use larder::format::testdata::splitmix;
use tempfile::TempDir;

use crate::interrupted::{Operation, PASSWORD, Stage};

/// Bytes: the smallest that the checker takes (format page 02 §2.3).
const SMALLEST_PACK_SIZE: u32 = 10 << 20;

fn open(path: &Path) -> Arc<dyn Storage> {
    Arc::new(FilesystemStorage::open(&FilesystemConfig::new(path)).unwrap())
}

#[test]
fn what_a_stop_leaves_on_disk_passes_the_checker() {
    for (number, operation) in Operation::ALL.into_iter().enumerate() {
        let directory = TempDir::new().unwrap();
        let prepared = directory.path().join("prepared");
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(FilesystemStorage::create(&FilesystemConfig::new(&prepared)).unwrap());
        let stage = runtime().block_on(Stage::prepare(&storage, SMALLEST_PACK_SIZE));
        for calls in (number as u64..).step_by(rounds_apart()) {
            let left = directory.path().join("left");
            copy(&prepared, &left);
            let last = if calls.is_multiple_of(2) { Action::Fail } else { Action::FailAfter };
            let faulty = Arc::new(Faulty::stop_after(open(&left), calls, last));
            // A runtime that ends waits for the calls that are under way.
            let done = runtime().block_on(stage.run(operation, &(Arc::clone(&faulty) as Arc<dyn Storage>)));
            assert_only_leftovers(&check(&left, PASSWORD));
            runtime().block_on(stage.check(operation, done.is_ok(), &open(&left)));
            assert_only_leftovers(&check(&left, PASSWORD));
            fs::remove_dir_all(&left).unwrap();
            if faulty.calls() <= calls {
                assert!(calls > 20, "{operation:?}: {calls} calls");
                break;
            }
        }
    }
}

/// Every how many calls to stop: all of them with enough rounds.
fn rounds_apart() -> usize {
    (90 / rounds(10)).max(1)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
        }
    }
}

/// Runs a command until it ends or the time is over, and kills it then; says whether it was acknowledged.
fn run_for(sandbox: &Sandbox, arguments: &[&str], time: Duration) -> bool {
    let mut child = sandbox.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// How long a command takes when nobody kills it.
fn measure(sandbox: &Sandbox, arguments: &[&str]) -> Duration {
    let started = Instant::now();
    sandbox.run(arguments);
    started.elapsed()
}

/// The ids of all complete snapshots.
fn snapshots(sandbox: &Sandbox) -> Vec<String> {
    let list = sandbox.run(["snapshot", "list", "--json", "--all"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let complete = list.as_array().unwrap().iter().filter(|s| s.get("incomplete").is_none());
    complete.map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

fn daily(sandbox: &Sandbox, source: &str) -> i64 {
    let shown = sandbox.run(["policy", "show", "--json", source]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown["retention"]["keepDaily"].as_i64().unwrap()
}

#[test]
fn the_program_may_be_killed_at_any_moment() {
    let sandbox = Sandbox::create(&["--object-splitter=DYNAMIC-128K-BUZHASH"]);
    let source = sandbox.path().join("source");
    let name = source.to_str().unwrap().to_owned();
    fs::create_dir(&source).unwrap();
    let create = ["snapshot", "create", &name, "--checkpoint-interval=20ms"];
    let fill = |round: u64| {
        for file in 0..40 {
            fs::write(source.join(file.to_string()), splitmix(round * 1000 + file, 700_000)).unwrap();
        }
    };
    fill(0);
    let longest = measure(&sandbox, &create).mul_f64(1.1);
    sandbox.run(["policy", "set", &name, "--keep-daily=1"]);
    let mut acknowledged = snapshots(&sandbox);
    let mut policy = 1;
    let rounds = rounds(8) as u64;
    for round in 1..=rounds {
        fill(round);
        // Spread over the whole run, the first part of which derives the key.
        let moment = longest.mul_f64((round as f64 * 0.618).fract());
        let done = run_for(&sandbox, &create, moment);
        let found = snapshots(&sandbox);
        assert!(acknowledged.iter().all(|id| found.contains(id)), "{acknowledged:?} {found:?}");
        assert!(found.len() <= acknowledged.len() + 1 && (!done || found.len() == acknowledged.len() + 1));
        acknowledged = found;

        let victim = acknowledged[0].clone();
        let quick = Duration::from_millis(350).mul_f64((round as f64 * 0.414).fract());
        let done = run_for(&sandbox, &["snapshot", "delete", &victim, "--delete"], quick);
        let found = snapshots(&sandbox);
        assert!(acknowledged.iter().all(|id| *id == victim || found.contains(id)), "{acknowledged:?} {found:?}");
        assert!(!done || !found.contains(&victim), "{victim} was deleted");
        acknowledged = found;

        let keep = format!("--keep-daily={}", round + 1);
        let done = run_for(&sandbox, &["policy", "set", &name, &keep], quick);
        let found = daily(&sandbox, &name);
        assert!(found == round.cast_signed() + 1 || !done && found == policy, "{found}");
        policy = found;

        let made = sandbox.snapshot(&source);
        acknowledged.push(made.id);
        sandbox.run(["snapshot", "verify", "--verify-files-percent=100"]);
    }
    assert_only_leftovers(&sandbox.check());
    let target = sandbox.path().join("target");
    sandbox.run(["restore", &name, target.to_str().unwrap()]);
    integration::compare_directories(&source, &target, &[]);
}
