//! What may not be read is left out of a snapshot, counted and named; the snapshot of the rest is kept.
//!
//! To root nothing is unreadable, so as root these tests run the program as another user.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use integration::{Sandbox, program, text};
use serde_json::{Value, json};

/// Nobody in particular.
const ORDINARY_USER: u32 = 65_534;

/// What cannot be read of the tree that [`Ordinary::make_tree`] makes, and how it is told.
const UNREADABLE: [(&str, &str); 5] = [
    ("half/dir", "unable to read attributes: "),
    ("half/file", "unable to read attributes: "),
    ("large-noread", "unable to read file: "),
    ("nodir", "unable to read directory: "),
    ("noread", "unable to read file: "),
];
/// Those of them that are directories.
const DIRECTORIES: [&str; 2] = ["half/dir", "nodir"];

/// A client that is not root.
struct Ordinary {
    sandbox: Sandbox,
    program: PathBuf,
}

impl Ordinary {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        // The user may not be allowed to where the program was built.
        let copy = sandbox.path().join("larder");
        fs::copy(program(), &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        give_away(sandbox.path());
        let client = Self { sandbox, program: copy };
        let repository = client.sandbox.repository();
        client.ok(&["repository", "create", "filesystem", "--path", repository.to_str().unwrap()]);
        client.make_tree();
        // Without the default names of ignore files: one that cannot be read keeps out all that lies beside it.
        client.set_policy("", &["--inherit=false"]);
        client
    }

    fn source(&self) -> PathBuf {
        self.sandbox.path().join("source")
    }

    fn make_tree(&self) {
        let root = self.source();
        for directory in ["ok", "nodir", "half/dir"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["a", "noread", "ok/b", "nodir/hidden", "half/file"] {
            fs::write(root.join(file), file).unwrap();
        }
        File::create(root.join("large-noread")).unwrap().set_len(100 << 20).unwrap();
        let paths = ["", "a", "ok", "ok/b", "noread", "large-noread", "nodir", "half", "half/dir", "half/file"];
        paths.iter().for_each(|path| give_away(&root.join(path)));
        // A directory that may only be listed: nothing is known of what is in it but its name.
        for (path, mode) in [("noread", 0), ("large-noread", 0), ("nodir", 0), ("half", 0o444)] {
            fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap();
        }
        let as_user = self.command("/bin/cat").arg(root.join("noread")).output().unwrap();
        assert!(
            !as_user.status.success(),
            "this user can read everything: run the tests as root or without capabilities"
        );
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let like = self.sandbox.command([""; 0]);
        like.get_envs().for_each(|(key, value)| match value {
            Some(value) => _ = command.env(key, value),
            None => _ = command.env_remove(key),
        });
        command.current_dir(self.sandbox.path()).env("HOME", self.sandbox.path());
        if rustix::process::geteuid().is_root() {
            command.uid(ORDINARY_USER).gid(ORDINARY_USER);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(&self.program).args(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Makes a snapshot: exit code, messages, and the snapshot as it was saved.
    fn snapshot(&self, arguments: &[&str]) -> (Option<i32>, String, Value) {
        let source = self.source();
        let output = self.run(&[&["snapshot", "create", source.to_str().unwrap()], arguments].concat());
        let list: Value = serde_json::from_str(&self.ok(&["snapshot", "list", "--json", "--incomplete"])).unwrap();
        let last = list.as_array().unwrap().last().cloned().unwrap_or_default();
        (output.status.code(), text(&output.stderr), last)
    }

    /// Everything that is in a snapshot.
    fn list(&self, snapshot: &Value) -> Vec<String> {
        let root = snapshot["rootEntry"]["obj"].as_str().unwrap();
        let list = self.ok(&["ls", "-r", root]);
        list.lines().map(|line| line.strip_prefix(root).unwrap().trim_start_matches('/').to_owned()).collect()
    }

    fn set_policy(&self, below: &str, arguments: &[&str]) {
        let target = self.source().join(below);
        let target = target.to_str().unwrap().trim_end_matches('/');
        self.ok(&[&["policy", "set", target], arguments].concat());
    }

    /// The snapshot says that these are missing and count, and as many others do not.
    fn assert_missing(&self, snapshot: &Value, failed: &[&str]) {
        let summary = &snapshot["rootEntry"]["summ"];
        let (failures, ignored) = (failed.len(), UNREADABLE.len() - failed.len());
        assert_eq!(summary["numFailed"], failures, "{snapshot}");
        assert_eq!(summary.get("numIgnoredErrors").and_then(Value::as_u64).unwrap_or(0), ignored as u64, "{snapshot}");
        assert_eq!(
            (&snapshot["stats"]["errorCount"], &snapshot["stats"]["ignoredErrorCount"]),
            (&json!(failures), &json!(ignored))
        );
        let errors = summary["errors"].as_array().unwrap();
        assert_eq!(errors.len(), UNREADABLE.len());
        for (error, (path, problem)) in errors.iter().zip(UNREADABLE) {
            // By path, and in kopia's form.
            assert_eq!(error.as_object().unwrap().keys().collect::<Vec<_>>(), ["path", "error"]);
            assert_eq!(error["path"], path);
            let text = error["error"].as_str().unwrap();
            assert!(text.starts_with(problem) && text.contains("denied"), "{text}");
        }
        assert_eq!(snapshot.get("incomplete"), None);
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        // What may not be entered cannot be removed by its owner either.
        for path in ["nodir", "half"] {
            if let Err(e) = fs::set_permissions(self.source().join(path), Permissions::from_mode(0o755)) {
                eprintln!("{path} stays behind: {e}");
            }
        }
    }
}

/// Gives a file or directory to the user of these tests.
fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
    }
}

/// All unreadable entries but these.
fn all_but(ignored: impl Fn(&str) -> bool) -> Vec<&'static str> {
    UNREADABLE.iter().map(|(path, _)| *path).filter(|path| !ignored(path)).collect()
}

#[test]
fn what_is_missing_is_counted_and_named() {
    let client = Ordinary::new();
    let (code, messages, snapshot) = client.snapshot(&[]);
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("Found 5 fatal error(s) while snapshotting "), "{messages}");
    for (path, problem) in UNREADABLE {
        assert!(messages.contains(&format!("Error when processing \"{path}\": {problem}")), "{path}: {messages}");
    }
    client.assert_missing(&snapshot, &all_but(|_| false));
    assert_eq!(client.list(&snapshot), ["a", "half/ (2 errors)", "ok/", "ok/b"]);

    // The rest can be restored and is whole; the next snapshot is not better for having a base.
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
    let target = client.sandbox.path().join("target");
    client.ok(&["restore", snapshot["id"].as_str().unwrap(), target.to_str().unwrap()]);
    assert_eq!(fs::read(target.join("ok/b")).unwrap(), b"ok/b");
    let (code, _, again) = client.snapshot(&[]);
    assert_eq!((code, &again["rootEntry"]["obj"]), (Some(1), &snapshot["rootEntry"]["obj"]));
    assert_ne!(again["id"], snapshot["id"]);
    client.sandbox.check();
}

#[test]
fn policies_say_which_errors_matter() {
    let client = Ordinary::new();
    let is_directory = |path: &str| DIRECTORIES.contains(&path);
    client.set_policy("", &["--ignore-file-errors=true"]);
    let (code, messages, snapshot) = client.snapshot(&[]);
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("Ignored 3 error(s)") && messages.contains("Found 2 fatal error(s)"), "{messages}");
    assert!(messages.contains("Ignored error when processing \"noread\": "), "{messages}");
    client.assert_missing(&snapshot, &all_but(|path| !is_directory(path)));

    client.set_policy("", &["--ignore-file-errors=false", "--ignore-dir-errors=true"]);
    let (code, messages, snapshot) = client.snapshot(&[]);
    assert_eq!(code, Some(1), "{messages}");
    client.assert_missing(&snapshot, &all_but(is_directory));

    client.set_policy("", &["--ignore-file-errors=true"]);
    let (code, messages, snapshot) = client.snapshot(&[]);
    assert_eq!(code, Some(0), "{messages}");
    assert!(messages.contains("Ignored 5 error(s) while snapshotting "), "{messages}");
    client.assert_missing(&snapshot, &[]);
}

/// A directory that cannot be read goes by its own policy, and what cannot be looked at, too.
#[test]
fn own_policies_count() {
    let client = Ordinary::new();
    client.set_policy("nodir", &["--ignore-dir-errors=true"]);
    client.set_policy("half/file", &["--ignore-file-errors=true"]);
    // Of a file that can be looked at but not read its directory's policy counts.
    client.set_policy("noread", &["--ignore-file-errors=true"]);
    let (code, messages, snapshot) = client.snapshot(&[]);
    assert_eq!(code, Some(1), "{messages}");
    client.assert_missing(&snapshot, &all_but(|path| matches!(path, "nodir" | "half/file")));
}

/// Rules that cannot be read may leave out anything, so nothing of that directory is taken.
#[test]
fn ignore_files_that_cannot_be_read_keep_their_directory_out() {
    let client = Ordinary::new();
    client.set_policy("", &["--inherit=true"]);
    let (code, messages, snapshot) = client.snapshot(&[]);
    assert_eq!((code, &snapshot["rootEntry"]["summ"]["numFailed"]), (Some(1), &json!(4)), "{messages}");
    let why = "Error when processing \"half\": cannot read the ignore file .kopiaignore: ";
    assert!(messages.contains(why), "{messages}");
    assert_eq!(client.list(&snapshot), ["a", "ok/", "ok/b"]);
}

#[test]
fn the_first_error_can_end_it() {
    let client = Ordinary::new();
    let (code, messages, snapshot) = client.snapshot(&["--fail-fast", "--parallel=1"]);
    assert_eq!(code, Some(1), "{messages}");
    assert_eq!(snapshot["incomplete"], "canceled", "{snapshot}");
    assert!(snapshot["rootEntry"]["summ"]["numFailed"].as_u64().unwrap() >= 1, "{snapshot}");
}

#[test]
fn of_a_source_that_cannot_be_read_there_is_no_snapshot() {
    let client = Ordinary::new();
    for unreadable in ["nodir", "noread"] {
        client.set_policy(unreadable, &["--ignore-dir-errors=true", "--ignore-file-errors=true"]);
        let source = client.source().join(unreadable);
        let output = client.run(&["snapshot", "create", source.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let messages = text(&output.stderr);
        assert!(messages.contains(unreadable) && messages.contains("denied"), "{messages}");
    }
    assert_eq!(client.ok(&["snapshot", "list", "--json", "--incomplete"]), "[\n]");
}
