//! What a power loss may leave of files, worked out from the system calls of a real run.
//!
//! [`record`] runs a program under strace. [`Disk`] plays its calls back into a model of a file system that promises
//! no more than POSIX does: the bytes of a file are safe when it was synced, and a name in a directory is safe when
//! the directory was. After every call, [`Disk::survivors`] tells what a power loss at that moment may
//! have left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::text;

const CALLS: &str = "openat,creat,open,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                     unlinkat,rmdir,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,\
                     sync_file_range,copy_file_range,sendfile,lseek,dup,dup2,dup3,ioctl";

/// Bytes of one string of a call.
const LONGEST_STRING: usize = 64 << 20;

/// A system call that succeeded.
#[derive(Clone, Debug)]
pub struct Call {
    name: String,
    arguments: String,
    result: String,
}

/// A run of a program.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Those that change files, in the order in which they were done.
    pub calls: Vec<Call>,
    /// What it printed.
    pub output: String,
}

/// Runs a command, which must succeed.
pub fn record(command: &Command, scratch: &Path) -> Recording {
    let trace = scratch.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", &LONGEST_STRING.to_string(), "-e", "signal=none"]);
    strace.arg("-e").arg(format!("trace={CALLS}")).arg("-o").arg(&trace);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let output = strace.output().expect("strace runs: is it installed?");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    let trace = fs::read_to_string(&trace).expect("a trace");
    // What one thread begins, and ends after others have written their lines.
    let mut unfinished = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').expect("a thread");
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, beginning);
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let beginning = unfinished.remove(thread).expect("what resumes was begun");
            calls.extend(parse(&format!("{beginning}{end}")));
        } else {
            calls.extend(parse(rest));
        }
    }
    Recording { calls, output: text(&output.stdout) }
}

/// `name(arguments) = result`
fn parse(line: &str) -> Option<Call> {
    if line.starts_with("+++") || line.starts_with("---") {
        return None;
    }
    let (name, rest) = line.split_once('(').unwrap_or_else(|| panic!("not a call: {line:.200}"));
    let (arguments, result) = rest.rsplit_once(" = ").unwrap_or_else(|| panic!("no result: {line:.200}"));
    let arguments = arguments.trim_end().trim_end_matches(')');
    assert!(!arguments.contains("\"..."), "a string is cut off: {line:.200}");
    // It failed, or never returned.
    if result.starts_with(['-', '?']) {
        return None;
    }
    Some(Call { name: name.to_owned(), arguments: arguments.to_owned(), result: result.to_owned() })
}

/// `rename /a/b /a/c`, or a part of what is written.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strings = self.arguments.split(['"', '<', '>']).skip(1).step_by(2).map(unescape);
        let strings: Vec<String> = strings.map(|s| String::from_utf8_lossy(&s).chars().take(100).collect()).collect();
        write!(f, "{} {}", self.name, strings.join(" "))
    }
}

impl Call {
    /// The strings among the arguments, as bytes.
    fn strings(&self) -> Vec<Vec<u8>> {
        self.arguments.split('"').skip(1).step_by(2).map(unescape).collect()
    }

    fn path(&self, number: usize) -> PathBuf {
        let path = PathBuf::from(OsStr::from_bytes(&self.strings()[number]));
        assert!(path.is_absolute(), "{self} is relative");
        path
    }

    fn descriptor(&self) -> i32 {
        number(&self.arguments)
    }
}

/// The number that a text begins with.
fn number(text: &str) -> i32 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or_else(|_| panic!("no number: {text:.100}"))
}

/// `\x41\x42`
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).expect("hexadecimal")).collect()
}

type Inode = usize;

/// What a directory has, by name.
type Names = BTreeMap<Vec<u8>, Inode>;

#[derive(Clone, Debug)]
enum Node {
    File { bytes: Vec<u8>, synced: Vec<u8> },
    Directory { names: Names, synced: Names },
}

/// The part of a file system below one directory.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    /// Open files of the program that runs now, with their positions.
    open: BTreeMap<i32, (Inode, usize)>,
}

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// Names were written, bytes were not.
    Bytes,
    /// Of each name and each file something else, by chance.
    Mixed(u64),
}

impl Disk {
    /// An empty directory that is safely there.
    pub fn new(root: &Path) -> Self {
        let directory = Node::Directory { names: Names::new(), synced: Names::new() };
        Self { root: root.to_owned(), nodes: vec![directory], open: BTreeMap::new() }
    }

    /// Another program begins.
    pub fn begin(&mut self) {
        self.open.clear();
    }

    /// Plays a call back; says whether it concerned this part of the file system.
    pub fn play(&mut self, call: &Call) -> bool {
        match call.name.as_str() {
            "open" | "openat" => self.open_file(call),
            "write" | "writev" | "pwrite64" => self.write(call),
            "fsync" | "fdatasync" => self.sync(call),
            "mkdir" => self.insert(&call.path(0), |_| Node::Directory { names: Names::new(), synced: Names::new() }),
            "rename" | "renameat2" => self.rename(&call.path(0), &call.path(1)),
            "unlink" => self.names_of(&call.path(0)).is_some_and(|(names, name)| names.remove(&name).is_some()),
            "lseek" | "ioctl" => false,
            // What the model does not know must not pass unnoticed.
            _ => {
                let inside = call.arguments.contains(&escape(self.root.as_os_str().as_bytes()));
                assert!(!inside, "the model has no {call}");
                false
            }
        }
    }

    fn open_file(&mut self, call: &Call) -> bool {
        let descriptor = number(&call.result);
        self.open.remove(&descriptor);
        let strings = call.strings();
        let path = PathBuf::from(OsStr::from_bytes(&strings[0]));
        if !path.starts_with(&self.root) {
            assert!(path.is_absolute() || !call.arguments.contains("O_CREAT"), "{call} is relative");
            return false;
        }
        let mut created = false;
        if call.arguments.contains("O_CREAT") && self.find(&path).is_none() {
            created = self.insert(&path, |_| Node::File { bytes: Vec::new(), synced: Vec::new() });
        }
        assert!(!call.arguments.contains("O_TRUNC") && !call.arguments.contains("O_APPEND"), "the model has no {call}");
        if let Some(inode) = self.find(&path) {
            self.open.insert(descriptor, (inode, 0));
        }
        created
    }

    fn write(&mut self, call: &Call) -> bool {
        let Some((inode, position)) = self.open.get_mut(&call.descriptor()) else { return false };
        let mut data = call.strings().concat();
        data.truncate(number(&call.result) as usize);
        let at = if call.name == "pwrite64" {
            call.arguments.rsplit(", ").next().map(number).expect("an offset") as usize
        } else {
            std::mem::replace(position, *position + data.len())
        };
        let Node::File { bytes, .. } = &mut self.nodes[*inode] else { panic!("{call} writes to a directory") };
        bytes.resize(bytes.len().max(at + data.len()), 0);
        bytes[at..at + data.len()].copy_from_slice(&data);
        true
    }

    fn sync(&mut self, call: &Call) -> bool {
        let Some((inode, _)) = self.open.get(&call.descriptor()) else { return false };
        match &mut self.nodes[*inode] {
            Node::File { bytes, synced } => synced.clone_from(bytes),
            Node::Directory { names, synced } => synced.clone_from(names),
        }
        true
    }

    fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let Some(inode) = self.names_of(from).and_then(|(names, name)| names.remove(&name)) else { return false };
        let (names, name) = self.names_of(to).expect("a directory to rename into");
        names.insert(name, inode);
        true
    }

    fn insert(&mut self, path: &Path, node: impl FnOnce(&Path) -> Node) -> bool {
        let inode = self.nodes.len();
        let Some((names, name)) = self.names_of(path) else { return false };
        names.insert(name, inode);
        self.nodes.push(node(path));
        true
    }

    fn find(&self, path: &Path) -> Option<Inode> {
        let mut inode = 0;
        for name in path.strip_prefix(&self.root).ok()? {
            let Node::Directory { names, .. } = &self.nodes[inode] else { return None };
            inode = *names.get(name.as_bytes())?;
        }
        Some(inode)
    }

    /// The names of the directory that a path is in, and the path's own.
    fn names_of(&mut self, path: &Path) -> Option<(&mut Names, Vec<u8>)> {
        let name = path.file_name()?.as_bytes().to_vec();
        let inode = self.find(path.parent()?)?;
        match &mut self.nodes[inode] {
            Node::Directory { names, .. } => Some((names, name)),
            Node::File { .. } => None,
        }
    }

    /// What is left after a power loss now.
    pub fn survivors(&self, loss: Loss) -> Survivors {
        let mut found = Survivors::default();
        self.gather(0, PathBuf::new(), loss, &mut found);
        found
    }

    fn gather(&self, inode: Inode, path: PathBuf, loss: Loss, found: &mut Survivors) {
        let chance = |choices: usize, name: &[u8]| {
            let Loss::Mixed(seed) = loss else { return 0 };
            let mut hasher = DefaultHasher::new();
            (seed, &path, name).hash(&mut hasher);
            hasher.finish() as usize % choices
        };
        match &self.nodes[inode] {
            Node::File { bytes, synced } => {
                let mut left = synced.clone();
                if matches!(loss, Loss::Mixed(_)) && bytes != synced {
                    match chance(3, b"") {
                        0 => {}
                        1 => left = bytes[..bytes.len() / 2].to_vec(),
                        _ => {
                            // The file got its length and a part of its blocks.
                            left.clone_from(bytes);
                            let middle = bytes.len() / 4..bytes.len() / 2;
                            left[middle].fill(0);
                        }
                    }
                }
                found.files.insert(path, left);
            }
            Node::Directory { names, synced } => {
                let all: std::collections::BTreeSet<&Vec<u8>> = names.keys().chain(synced.keys()).collect();
                for name in all {
                    let (new, old) = (names.get(name), synced.get(name));
                    let kept = match loss {
                        Loss::Everything => old,
                        Loss::Bytes => new,
                        Loss::Mixed(_) => [old, new][chance(2, name)],
                    };
                    if let Some(inode) = kept {
                        self.gather(*inode, path.join(OsStr::from_bytes(name)), loss, found);
                    }
                }
                found.directories.push(path);
            }
        }
    }
}

/// Files and directories, by their paths from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survivors {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    directories: Vec<PathBuf>,
}

impl Survivors {
    /// Makes them real.
    pub fn write(&self, root: &Path) {
        for directory in &self.directories {
            fs::create_dir_all(root.join(directory)).expect("directory");
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).expect("file");
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}
