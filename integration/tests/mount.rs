//! Real mounts: what the kernel, and the programs people use, see of a repository.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::{Sandbox, compare_directories, fixtures, text};
use larder::format::testdata::splitmix;
use rustix::io::Errno;

use crate::fixture::Fixture;

/// A mount by `larder mount --daemon`.
struct Mounted<'a> {
    sandbox: &'a Sandbox,
    at: PathBuf,
}

impl<'a> Mounted<'a> {
    fn new(sandbox: &'a Sandbox, what: &str) -> Self {
        let at = sandbox.path().join("mnt");
        fs::create_dir_all(&at).unwrap();
        sandbox.run(["mount", "--daemon", what, at.to_str().unwrap()]);
        Self { sandbox, at }
    }

    fn unmount(self) {
        self.sandbox.run(["unmount", self.at.to_str().unwrap()]);
        assert!(fs::read_dir(&self.at).unwrap().next().is_none());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-uz").arg(&self.at).output();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn make_tree(at: &Path) {
    fs::create_dir_all(at.join("many/deep/er")).unwrap();
    for number in 0..300_u64 {
        fs::write(at.join(format!("many/{number}")), splitmix(number, (number * 37) as usize)).unwrap();
    }
    fs::write(at.join("many/deep/er/large"), splitmix(5, 30_000_000)).unwrap();
    fs::write(at.join("empty"), "").unwrap();
    symlink("many/deep", at.join("link")).unwrap();
    fs::hard_link(at.join("many/7"), at.join("seven")).unwrap();
    xattr::set(at.join("empty"), "user.color", b"blue").unwrap();
    fs::set_permissions(at.join("many/3"), std::os::unix::fs::PermissionsExt::from_mode(0o4751)).unwrap();
    run(Command::new("mkfifo").arg(at.join("fifo")));
    run(Command::new("touch").arg("-d").arg("1961-02-03 04:05:06.789").arg(at.join("many/9")));
}

#[test]
fn a_mounted_snapshot_is_its_source() {
    let sandbox = Sandbox::create(&["--object-splitter=DYNAMIC-1M-BUZHASH"]);
    let source = sandbox.path().join("source");
    make_tree(&source);
    let made = sandbox.snapshot(&source);
    let mounted = Mounted::new(&sandbox, &made.id);
    let options = ["--xattrs", "--hardlinks"];
    compare_directories(&source, &mounted.at, &options);

    // Copies are the same again, and carry nothing of where they come from.
    let copy = |name: &str| sandbox.path().join(name);
    run(Command::new("cp").arg("-a").arg(&mounted.at).arg(copy("cp")));
    compare_directories(&source, &copy("cp"), &options);
    fs::create_dir(copy("tar")).unwrap();
    let tar =
        format!("tar -C {} --format=posix -cf - . | tar -C {} -xpf -", mounted.at.display(), copy("tar").display());
    run(Command::new("sh").arg("-c").arg(tar));
    compare_directories(&source, &copy("tar"), &[]);
    let find = |at: &Path| run(Command::new("find").arg(".").args(["-printf", "%p %y %s %m %T@\n"]).current_dir(at));
    let (found, expected) = (find(&mounted.at), find(&source));
    let files = |text: &str| {
        let mut lines: Vec<String> = text.lines().filter(|line| !line.contains(" d ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(files(&found), files(&expected));

    // Random reads, from several threads, against the source.
    let name = "many/deep/er/large";
    let (original, shown) = (fs::read(source.join(name)).unwrap(), File::open(mounted.at.join(name)).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (original, shown) = (&original, &shown);
            scope.spawn(move || {
                for number in 0..2500 {
                    let random = splitmix(thread * 10_000 + number, 8);
                    let offset = u64::from_le_bytes(random.try_into().unwrap()) % original.len() as u64;
                    let length = 1 + (offset % 200_000) as usize;
                    let end = original.len().min(offset as usize + length);
                    let mut bytes = vec![0; end - offset as usize];
                    shown.read_exact_at(&mut bytes, offset).unwrap();
                    assert!(bytes == original[offset as usize..end], "{offset} {length}");
                }
            });
        }
    });

    // Nobody can write.
    let refused = fs::write(mounted.at.join("new"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    // Numbers of inodes stay after a remount.
    let inodes =
        |at: &Path| ["many/1", "many/deep", name, "link"].map(|n| fs::symlink_metadata(at.join(n)).unwrap().ino());
    let before = inodes(&mounted.at);
    drop(shown);
    mounted.unmount();
    let mounted = Mounted::new(&sandbox, &made.id);
    assert_eq!(inodes(&mounted.at), before);
    mounted.unmount();
}

#[test]
fn every_fixture_is_the_same_mounted_and_restored() {
    for archive in fixtures() {
        eprintln!("{}", archive.display());
        let fixture = Fixture::unpack(&archive);
        let sandbox = Sandbox::with_password(&fixture.expected.password);
        sandbox.run([
            "repository",
            "connect",
            "filesystem",
            "--readonly",
            "--path",
            fixture.repository_path().to_str().unwrap(),
        ]);
        let list = sandbox.run(["snapshot", "list", "--json", "--all"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let snapshots: Vec<_> = list.as_array().unwrap().iter().filter(|s| s["rootEntry"]["type"] == "d").collect();
        for snapshot in &snapshots {
            let id = snapshot["id"].as_str().unwrap();
            let restored = sandbox.path().join(format!("restored-{id}"));
            sandbox.run(["restore", id, restored.to_str().unwrap()]);
            let mounted = Mounted::new(&sandbox, id);
            compare_directories(&restored, &mounted.at, &["--xattrs"]);
            mounted.unmount();
        }
        let mounted = Mounted::new(&sandbox, "all");
        let shown =
            run(Command::new("find").arg(&mounted.at).args(["-mindepth", "3", "-maxdepth", "3", "-not", "-type", "l"]));
        let with_root = list.as_array().unwrap().iter().filter(|s| !s["rootEntry"].is_null()).count();
        assert_eq!(shown.lines().count(), with_root, "{shown}");
        mounted.unmount();
    }
}

#[test]
fn damage_is_an_error_where_it_is() {
    let sandbox = Sandbox::create(&[]);
    let source = sandbox.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), splitmix(1, 100_000)).unwrap();
    let made = sandbox.snapshot(&source);
    let packs = run(Command::new("find").arg(sandbox.repository().join("p")).args(["-type", "f"]));
    for pack in packs.lines() {
        let length = fs::metadata(pack).unwrap().len();
        fs::write(pack, vec![0; length as usize]).unwrap();
    }
    let mounted = Mounted::new(&sandbox, &made.id);
    assert_eq!(fs::metadata(mounted.at.join("file")).unwrap().len(), 100_000);
    let error = fs::read(mounted.at.join("file")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{error}");
    mounted.unmount();
}

#[test]
fn a_busy_mount_lets_those_finish_who_have_files_open() {
    let sandbox = Sandbox::create(&[]);
    let source = sandbox.path().join("source");
    fs::create_dir(&source).unwrap();
    let data = splitmix(1, 20_000_000);
    fs::write(source.join("file"), &data).unwrap();
    let made = sandbox.snapshot(&source);
    let mounted = Mounted::new(&sandbox, &made.id);
    let file = File::open(mounted.at.join("file")).unwrap();
    mounted.unmount();
    let mut read = Vec::new();
    io::Read::read_to_end(&mut &file, &mut read).unwrap();
    assert!(read == data);
}

/// Signals unmount, and a new snapshot appears without a remount.
#[test]
fn a_mount_in_the_foreground() {
    let sandbox = Sandbox::create(&[]);
    let (source, at) = (sandbox.path().join("source"), sandbox.path().join("mnt"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&at).unwrap();
    sandbox.snapshot(&source);
    let mut command = sandbox.command(["mount", source.to_str().unwrap(), at.to_str().unwrap()]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let shown = || fs::read_dir(&at).unwrap().count();
    let wait_for = |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("the mount", &|| shown() == 2);
    sandbox.snapshot(&source);
    wait_for("the new snapshot", &|| shown() == 3);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(shown(), 0);
}
