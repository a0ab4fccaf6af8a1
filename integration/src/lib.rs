//! What the integration tests have in common: running the program, and the strict checker.
//!
//! The checker and the fixtures lie in the directory that `LARDER_FORMAT` names. Without them these tests fail: a
//! test that silently does nothing proves nothing.

pub mod power;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// Directory of the format's notes, fixtures and checker.
pub fn format_directory() -> PathBuf {
    let named = std::env::var_os("LARDER_FORMAT").map(PathBuf::from);
    let directory = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/format"));
    assert!(
        directory.join("check_repo.py").exists(),
        "{} has no check_repo.py: set LARDER_FORMAT to the directory of the checker and the fixtures",
        directory.display()
    );
    directory
}

/// The program under test, built in the same profile as this one.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("LARDER") {
        return program.into();
    }
    let this = std::env::current_exe().expect("this test has a path");
    let program = this.ancestors().nth(2).expect("tests lie in deps/").join("larder");
    assert!(program.exists(), "{} is not built: run cargo build first, or set LARDER", program.display());
    program
}

/// A place with a repository, and a client of its own.
pub struct Sandbox {
    directory: TempDir,
    password: String,
}

impl Sandbox {
    /// Nothing there yet.
    pub fn new() -> Self {
        Self::with_password("sandbox-password")
    }

    pub fn with_password(password: &str) -> Self {
        Self { directory: TempDir::new().expect("temporary directory"), password: password.to_owned() }
    }

    /// A new repository with these arguments of `repository create filesystem`.
    pub fn create(arguments: &[&str]) -> Self {
        let sandbox = Self::new();
        let path = sandbox.repository();
        let path = path.to_str().expect("UTF-8");
        sandbox.run([&["repository", "create", "filesystem", "--path", path], arguments].concat());
        sandbox
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn repository(&self) -> PathBuf {
        self.path().join("repository")
    }

    /// The program with these arguments, as this client.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("KOPIA_PASSWORD", &self.password)
            .env("KOPIA_CONFIG_PATH", self.path().join("client/repository.config"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env_remove("KOPIA_CACHE_DIRECTORY");
        command
    }

    /// Runs the program, which must succeed; gives what it printed.
    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> String {
        let mut command = self.command(arguments);
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs the program, which must fail.
    pub fn fail<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Output {
        let mut command = self.command(arguments);
        let output = command.output().expect("the program runs");
        assert!(!output.status.success(), "{command:?} succeeded");
        output
    }

    /// Checks the repository strictly; gives the warnings.
    pub fn check(&self) -> String {
        check(&self.repository(), &self.password)
    }

    /// Makes a snapshot of a path.
    pub fn snapshot(&self, path: &Path) -> Made {
        let output = self.run([OsStr::new("snapshot"), OsStr::new("create"), OsStr::new("--json"), path.as_os_str()]);
        let after = |key: &str| output.split(&format!("\"{key}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
        let (Some(id), Some(root)) = (after("id"), after("obj")) else { panic!("no snapshot in {output}") };
        Made { id: id.to_owned(), root: root.to_owned() }
    }
}

/// A snapshot that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Of the manifest.
    pub id: String,
    /// Object of the root.
    pub root: String,
}

/// What a process needed.
#[derive(Debug)]
pub struct Measured {
    pub output: Output,
    /// Most anonymous memory at one time, in KiB.
    pub peak: u64,
}

/// Runs a process, with somebody to feed its standard input, and samples its anonymous memory.
pub fn measure(command: &mut Command, feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send) -> Measured {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let status = format!("/proc/{}/status", child.id());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Nobody listens any more when it fails.
            let _ = feed(&mut stdin);
        });
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(anonymous(&status));
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let output = child.wait_with_output().expect("it ends");
        done.store(true, Ordering::Relaxed);
        Measured { output, peak: sampler.join().expect("sampler") }
    })
}

/// Anonymous resident memory, in KiB; 0 when the process is gone.
fn anonymous(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// How often to repeat what happens by chance: `LARDER_ROUNDS`, which `make soak` raises.
pub fn rounds(usually: usize) -> usize {
    match std::env::var("LARDER_ROUNDS") {
        Ok(rounds) => rounds.parse().unwrap_or_else(|_| panic!("LARDER_ROUNDS={rounds} is not a number")),
        Err(_) => usually,
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the strict checker on a repository, which must find no error; gives its warnings.
pub fn check(repository: &Path, password: &str) -> String {
    let output = checker(repository, password, &["--read-all", "--splitter"]);
    assert!(output.status.success(), "the checker found:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A crash may leave temporary files, and markers of sessions, which vouch for their packs.
pub fn assert_only_leftovers(warnings: &str) {
    let allowed =
        |line: &str| ["warning storage.temp ", "warning session.leftover "].iter().any(|w| line.starts_with(w));
    let others: Vec<&str> = warnings.lines().filter(|line| !allowed(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// The library that shifts the clock of a process which loads it first, by what `FAKETIME` says.
pub fn clock_shifter() -> PathBuf {
    let found = ["/usr/lib", "/usr/lib64"].iter().flat_map(fs::read_dir).flatten().flatten().find_map(|architecture| {
        let library = architecture.path().join("faketime/libfaketimeMT.so.1");
        library.exists().then_some(library)
    });
    let alone = ["/usr/lib/faketime", "/usr/lib64/faketime"].map(|at| Path::new(at).join("libfaketimeMT.so.1"));
    found.or_else(|| alone.into_iter().find(|path| path.exists())).expect("libfaketime is installed")
}

pub fn checker(repository: &Path, password: &str, arguments: &[&str]) -> Output {
    let script = format_directory().join("check_repo.py");
    let mut command = python();
    command.arg(script).arg(repository).args(arguments).env("KOPIA_PASSWORD", password);
    command.output().expect("the checker runs")
}

/// Compares two directories with the format's own tool; they must be the same.
pub fn compare_directories(a: &Path, b: &Path, arguments: &[&str]) {
    let script = format_directory().join("compare_dirs.py");
    let output = python().arg(script).arg(a).arg(b).args(arguments).output().expect("the comparison runs");
    assert!(
        output.status.success(),
        "{} and {} differ:\n{}{}",
        a.display(),
        b.display(),
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Python with what the checker needs (`PYTHON`, or the one on PATH).
fn python() -> Command {
    Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
}

/// All fixtures there are, as archives.
pub fn fixtures() -> Vec<PathBuf> {
    let directory = format_directory().join("fixtures");
    let mut found: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .collect();
    found.sort();
    assert!(found.len() >= 8, "fixtures are missing in {}", directory.display());
    found
}
