//! The cache under several processes that are killed, and on file systems that are full or not writable. Every
//! process checks every byte that it gets.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use integration::{rounds, text};
use tempfile::TempDir;

const LIMIT: u64 = 64 << 20;
const PROCESSES: usize = 4;

/// The program that gets and puts for some time, built in the same profile as this test.
fn hammer() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let program = this.ancestors().nth(2).unwrap().join("examples/hammer");
    assert!(program.exists(), "{} is not built: run cargo build --workspace --examples first", program.display());
    program
}

/// Processes on one cache, and what they have printed.
struct Crowd {
    directory: TempDir,
    started: u64,
    seconds: u64,
}

/// What processes have counted, all together.
#[derive(Debug, Default)]
struct Counts {
    hits: u64,
    wrong: u64,
    admitted: u64,
    dropped: u64,
    evicted: u64,
    damaged: u64,
}

impl Crowd {
    fn new(seconds: u64) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("cache")).unwrap();
        Self { directory, started: 0, seconds }
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Starts a process, in a shell that prepares something for it first.
    fn start(&mut self, prepare: &str) -> Child {
        let output = File::create(self.output(self.started)).unwrap();
        self.started += 1;
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("{prepare}\nexec \"$@\""), "sh"]);
        command.arg(hammer()).arg(self.cache());
        command.args([self.seconds, LIMIT, self.started].map(|number| number.to_string()));
        command.env("CACHE", self.cache()).stdout(output).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn output(&self, number: u64) -> PathBuf {
        self.directory.path().join(format!("output-{number}"))
    }

    /// What was told last by each process.
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for number in 0..self.started {
            let output = fs::read_to_string(self.output(number)).unwrap();
            let last = output.lines().last().unwrap_or_default();
            let value = |name: &str| {
                let word = last.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                word.map_or(0, |word| word.parse::<u64>().unwrap())
            };
            counts.hits += value("hits");
            counts.wrong += value("wrong");
            counts.admitted += value("admitted");
            counts.dropped += value("dropped");
            counts.evicted += value("evicted");
            counts.damaged += value("damaged");
        }
        counts
    }
}

/// Waits for a process, which must not have seen a wrong byte.
fn end(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
}

/// Bytes of all files under a directory.
fn taken(directory: &Path) -> u64 {
    // Files come and go meanwhile.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| (entry.path(), entry.metadata())).fold(0, |sum, (path, metadata)| match metadata {
        Ok(metadata) if metadata.is_dir() => sum + taken(&path),
        Ok(metadata) => sum + metadata.len().max(metadata.blocks() * 512),
        Err(_) => sum,
    })
}

#[test]
fn processes_share_a_cache_and_are_killed() {
    let mut crowd = Crowd::new(2 * rounds(8) as u64);
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| crowd.start("")).collect();
    let end_of_kills = Instant::now() + Duration::from_secs(crowd.seconds);
    let mut next_kill = Instant::now() + Duration::from_secs(1);
    let mut most = 0;
    while Instant::now() < end_of_kills {
        most = most.max(taken(&crowd.cache()));
        assert!(most <= LIMIT, "{most} bytes");
        if Instant::now() > next_kill {
            next_kill += Duration::from_secs(1);
            crowd.seconds = (crowd.seconds - 1).max(1);
            let mut killed = children.remove(0);
            assert!(killed.try_wait().unwrap().is_none_or(|status| status.success()));
            killed.kill().unwrap();
            killed.wait().unwrap();
            children.push(crowd.start(""));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    children.into_iter().for_each(end);
    let counts = crowd.counts();
    assert_eq!((counts.wrong, counts.damaged), (0, 0), "{counts:?}");
    assert!(counts.hits > 1000 && counts.admitted > 1000 && counts.evicted > 1000, "{counts:?}");
    assert!(most > LIMIT / 2, "{most} bytes");
}

/// In a namespace of its own, so that nothing stays mounted.
fn mounting(crowd: &mut Crowd, mount: &str) -> Child {
    // To mount it must be root, if only there.
    let namespace = if rustix::process::geteuid().is_root() { "" } else { "--user --map-root-user" };
    crowd.start(&format!("set -- unshare {namespace} --mount sh -ec '{mount}\nexec \"$@\"' sh \"$@\""))
}

#[test]
fn on_a_full_file_system_it_goes_on() {
    // Too few bytes, and too few files, for the limit.
    for options in ["size=20m", "size=200m,nr_inodes=12", "size=200m,nr_inodes=4"] {
        let mut crowd = Crowd::new(4);
        end(mounting(&mut crowd, &format!("mount -t tmpfs -o {options} cache \"$CACHE\"")));
        let counts = crowd.counts();
        assert_eq!((counts.wrong, counts.damaged), (0, 0), "{options}: {counts:?}");
        assert!(counts.admitted > 0, "{options}: {counts:?}");
    }
}

#[test]
fn when_it_cannot_be_written_it_is_read() {
    let mut crowd = Crowd::new(3);
    end(crowd.start(""));
    let before = crowd.counts();
    assert!(before.admitted > 0 && taken(&crowd.cache()) > 0, "{before:?}");
    end(mounting(&mut crowd, "mount --bind -o ro \"$CACHE\" \"$CACHE\"\nmount -o remount,bind,ro \"$CACHE\""));
    let after = crowd.counts();
    assert!(after.hits > before.hits && after.dropped > before.dropped, "{before:?} {after:?}");
    assert_eq!((after.admitted, after.wrong, after.damaged), (before.admitted, 0, 0), "{after:?}");
}

#[test]
fn when_writing_fails_halfway_nothing_is_wrong() {
    let mut crowd = Crowd::new(4);
    // Blocks of 512 bytes, less than a segment has.
    end(crowd.start("trap '' XFSZ\nulimit -f 1000"));
    let counts = crowd.counts();
    assert!(counts.admitted > 0 && counts.dropped > 0, "{counts:?}");
    assert_eq!((counts.wrong, counts.damaged), (0, 0), "{counts:?}");
}
