//! Many writers and one repository: nothing is locked, nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use integration::{Sandbox, assert_only_leftovers, rounds, text};
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
            assert!(output.status.success(), "{}", text(&output.stderr));
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

const WRITERS: u64 = 8;
const READERS: u64 = 4;
const FILES: u64 = 12;
/// Between the clock that is most behind and the one that is most ahead.
const APART: Duration = Duration::from_secs(240);

/// What the clients were told, and what they have begun.
#[derive(Default)]
struct Told {
    /// Snapshots that were acknowledged and that nobody has begun to delete.
    made: BTreeSet<String>,
    /// Snapshots that somebody has begun to delete.
    deleting: BTreeSet<String>,
    /// Snapshots whose deletion was acknowledged.
    deleted: BTreeSet<String>,
}

struct Crowd {
    sandbox: Sandbox,
    told: Mutex<Told>,
    end: Instant,
    kills: AtomicU64,
    restored: AtomicU64,
}

/// Eight writers and four readers for minutes. Writers snapshot, and delete each other's snapshots, with clocks that
/// are minutes apart, and are killed at any moment. Each snapshot says in its description what is in it.
#[test]
fn a_crowd_with_skewed_clocks_and_kills_loses_nothing() {
    let sandbox = Sandbox::create(&["--object-splitter=DYNAMIC-128K-BUZHASH"]);
    let end = Instant::now() + Duration::from_secs(15) * u32::try_from(rounds(8)).unwrap();
    let crowd = Crowd { sandbox, told: Mutex::default(), end, kills: AtomicU64::new(0), restored: AtomicU64::new(0) };
    scope(|scope| {
        for number in 0..WRITERS {
            let crowd = &crowd;
            scope.spawn(move || crowd.write(number));
        }
        for number in 0..READERS {
            let crowd = &crowd;
            scope.spawn(move || crowd.read(number));
        }
    });
    let (kills, restored) = (crowd.kills.into_inner(), crowd.restored.into_inner());
    let told = crowd.told.into_inner().unwrap();
    let counts = format!(
        "{} snapshots left, {} deleted, {kills} processes killed, {restored} restored",
        told.made.len(),
        told.deleted.len()
    );
    println!("{counts}");
    assert!(told.made.len() > 20 && told.deleted.len() > 5 && kills > 5 && restored > 5, "{counts}");

    // Clients that compact the manifests at the same time both keep all of them, until the next does.
    let warnings = crowd.sandbox.check();
    let others: Vec<&str> = warnings.lines().filter(|line| !line.starts_with("warning manifest.duplicate ")).collect();
    assert_only_leftovers(&others.join("\n"));
    crowd.sandbox.run(["snapshot", "verify", "--verify-files-percent=100"]);
    let listed = list(&mut crowd.sandbox.command(["snapshot", "list", "--json", "--all"]));
    for id in &told.made {
        let target = crowd.sandbox.path().join("target").join(id);
        crowd.sandbox.run(["restore", id, target.to_str().unwrap()]);
        assert_content(&target, &listed[id]);
    }
    assert!(told.deleted.iter().all(|id| !listed.contains_key(id)));
}

impl Crowd {
    /// A command of the client with this number, by its clock.
    fn command<const N: usize>(&self, client: u64, arguments: [&str; N]) -> Command {
        let offset = APART.as_secs().cast_signed() * (client % WRITERS).cast_signed() / (WRITERS - 1).cast_signed()
            - APART.as_secs().cast_signed() / 2;
        let mut command = self.sandbox.command(arguments);
        command
            .env("LD_PRELOAD", integration::clock_shifter())
            .env("FAKETIME", format!("{offset:+}s"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Runs a command, and kills it after this time if it has not ended; gives what came of it when it has.
    fn run(&self, mut command: Command, time: Option<Duration>) -> Option<Output> {
        let mut child = command.spawn().unwrap();
        if let Some(time) = time {
            sleep(time);
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                self.kills.fetch_add(1, Ordering::Relaxed);
            }
        }
        let output = child.wait_with_output().unwrap();
        let killed = output.status.code().is_none();
        assert!(killed && time.is_some() || output.status.success(), "{command:?}: {}", text(&output.stderr));
        (!killed).then_some(output)
    }

    fn write(&self, writer: u64) {
        let source = self.sandbox.path().join(format!("crowd-{writer}"));
        fs::create_dir(&source).unwrap();
        let mut dice = Dice(writer);
        for generation in 0.. {
            if self.is_over() {
                return;
            }
            for file in 0..FILES {
                fs::write(source.join(file.to_string()), content(writer, generation, file)).unwrap();
            }
            let description = format!("{writer} {generation}");
            let mut command =
                self.command(writer, ["snapshot", "create", "--json", "--checkpoint-interval=50ms", "--description"]);
            command.arg(description).arg(&source);
            if let Some(output) = self.run(command, dice.one_in(3).then(|| dice.up_to(1500))) {
                let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                let id = made["id"].as_str().unwrap().to_owned();
                assert!(self.told.lock().unwrap().made.insert(id));
            }
            if dice.one_in(3) {
                self.delete(writer, &mut dice);
            }
        }
    }

    /// Deletes any writer's snapshot.
    fn delete(&self, writer: u64, dice: &mut Dice) {
        let victim = {
            let mut told = self.told.lock().unwrap();
            let Some(victim) = told.made.iter().nth(dice.below(told.made.len() as u64) as usize).cloned() else {
                return;
            };
            told.made.remove(&victim);
            told.deleting.insert(victim.clone());
            victim
        };
        let command = self.command(writer, ["snapshot", "delete", &victim, "--delete"]);
        if self.run(command, dice.one_in(3).then(|| dice.up_to(500))).is_some() {
            self.told.lock().unwrap().deleted.insert(victim);
        }
    }

    fn read(&self, reader: u64) {
        let mut dice = Dice(100 + reader);
        let target = self.sandbox.path().join(format!("read-{reader}"));
        while !self.is_over() {
            let (made, deleted) = {
                let told = self.told.lock().unwrap();
                (told.made.clone(), told.deleted.clone())
            };
            let listed = list(&mut self.command(reader * 2, ["snapshot", "list", "--json", "--all"]));
            let is_deleting = |id: &String| self.told.lock().unwrap().deleting.contains(id);
            for id in made.iter().filter(|id| !is_deleting(id)) {
                assert!(listed.contains_key(id), "{id} is missing");
            }
            for id in &deleted {
                assert!(!listed.contains_key(id), "{id} was deleted and is there");
            }
            let Some((id, description)) = listed.iter().nth(dice.below(listed.len() as u64) as usize) else { continue };
            let mut command = self.command(reader * 2 + 1, ["restore", id, target.to_str().unwrap()]);
            let output = command.output().unwrap();
            if output.status.success() {
                assert_content(&target, description);
                self.restored.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(is_deleting(id), "{command:?}: {}", text(&output.stderr));
            }
            fs::remove_dir_all(&target).or_else(|e| if target.exists() { Err(e) } else { Ok(()) }).unwrap();
        }
    }
}

/// Complete snapshots with their descriptions.
fn list(command: &mut Command) -> BTreeMap<String, String> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let complete = list.as_array().unwrap().iter().filter(|snapshot| snapshot.get("incomplete").is_none());
    let string = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    complete.map(|snapshot| (string(&snapshot["id"]), string(&snapshot["description"]))).collect()
}

/// File 0 changes with each generation, file 1 with every second one, and so on. Odd files are the same for all.
fn content(writer: u64, generation: u64, file: u64) -> Vec<u8> {
    let whose = if file.is_multiple_of(2) { writer + 1 } else { 0 };
    let seed = (whose * 1_000_000 + generation / (file + 1)) * 1000 + file;
    splitmix(seed, 1 + (splitmix(seed, 1)[0] as usize) * 3000)
}

fn assert_content(target: &Path, description: &str) {
    let (writer, generation) = description.split_once(' ').unwrap();
    let (writer, generation) = (writer.parse().unwrap(), generation.parse().unwrap());
    assert_eq!(fs::read_dir(target).unwrap().count(), FILES as usize);
    for file in 0..FILES {
        let read = fs::read(target.join(file.to_string())).unwrap();
        assert!(read == content(writer, generation, file), "file {file} of {description}");
    }
}

/// Chance that is the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 += 1000;
        let bytes = splitmix(self.0, 8);
        u64::from_le_bytes(bytes.try_into().unwrap()) % end.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn up_to(&mut self, milliseconds: u64) -> Duration {
        Duration::from_millis(self.below(milliseconds))
    }
}
