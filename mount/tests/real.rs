//! A mount as programs see it: with FUSE, so only when `LARDER_FUSE=1` says that it is there, as `make integration`
//! does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use larder_mount::memory::{Asked, Item, Memory, Trouble, pattern};
use larder_mount::{Kind, Mount, MountError, Options, Time, Unmounted, Xattr};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

/// Whether tests that mount can run here.
fn has_fuse() -> bool {
    let has = std::env::var_os("LARDER_FUSE").is_some_and(|value| value == "1");
    if !has {
        eprintln!("not tested: LARDER_FUSE is not 1, as make integration sets it");
    }
    has
}

/// A tree in memory, mounted.
struct Mounted {
    mount: Option<Mount>,
    tree: Arc<Memory>,
    directory: TempDir,
    runtime: Runtime,
}

impl Mounted {
    fn new(root: Item) -> Self {
        Self::with(root, &Options { deadline: Duration::from_secs(20), ..Options::default() })
    }

    fn with(root: Item, options: &Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let tree = Arc::new(Memory::new("test", root));
        let mount = Mount::start(tree.clone(), directory.path(), options, runtime.handle().clone()).unwrap();
        Self { mount: Some(mount), tree, directory, runtime }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn asked(&self) -> &Asked {
        self.tree.asked()
    }

    fn unmount(&self) -> Unmounted {
        let unmount = self.mount.as_ref().unwrap().unmount();
        self.runtime.block_on(unmount).unwrap()
    }

    fn waits(&self, limit: Duration) -> bool {
        let mount = self.mount.as_ref().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(limit, mount.wait()).await.is_err() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(self.mount.take());
    }
}

fn is_mounted(path: &Path) -> bool {
    let path = fs::canonicalize(path).unwrap();
    fs::read_to_string("/proc/self/mounts").unwrap().lines().any(|line| line.contains(path.to_str().unwrap()))
}

fn run(program: &str, arguments: &[&str], path: &Path) -> (bool, String) {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

fn with(mut item: Item, change: impl FnOnce(&mut Item)) -> Item {
    change(&mut item);
    item
}

/// One of each kind.
fn zoo() -> Item {
    let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
    let dated = |time| with(Item::file("x"), |item| item.attributes.mtime = time);
    Item::directory([
        ("file", with(Item::file("some text"), |item| (item.attributes.uid, item.attributes.gid) = (1234, 4321))),
        ("setuid", with(Item::file("x"), |item| item.attributes.mode = 0o6755)),
        ("linked", with(Item::file("x"), |item| item.attributes.links = 3)),
        ("large", Item::pattern(5 << 40)),
        ("old", dated(at(-86_400 * 365 * 30, 987_654_321))),
        ("just before", dated(at(-1, 999_999_999))),
        ("oldest", dated(at(-(1 << 60), 1))),
        ("far", dated(at(1 << 60, 1))),
        ("link", Item::link(b"directory/inner")),
        ("dangling", Item::link(&[b'x'; 4000])),
        ("fifo", Item::special(Kind::Fifo)),
        ("socket", Item::special(Kind::Socket)),
        ("null", Item::special(Kind::CharacterDevice(1, 3))),
        ("disk", Item::special(Kind::BlockDevice(259, 70_000))),
        ("directory", Item::directory([("inner", Item::file("inside"))])),
        ("empty", Item::directory::<&str>([])),
    ])
}

#[test]
fn each_kind_is_what_it_was() {
    if !has_fuse() {
        return;
    }
    let mounted = Mounted::new(zoo());
    let stat = |name: &str| fs::symlink_metadata(mounted.path(name)).unwrap();
    assert_eq!(fs::read_to_string(mounted.path("file")).unwrap(), "some text");
    assert_eq!((stat("file").uid(), stat("file").gid(), stat("file").mode()), (1234, 4321, 0o100_644));
    assert_eq!((stat("setuid").mode() & 0o7777, stat("linked").nlink()), (0o6755, 3));
    assert_eq!((stat("large").len(), stat("large").blocks()), (5 << 40, 5 << 31));
    assert_eq!((stat("old").mtime(), stat("old").mtime_nsec()), (-86_400 * 365 * 30, 987_654_321));
    assert_eq!((stat("just before").mtime(), stat("just before").mtime_nsec()), (-1, 999_999_999));
    assert_eq!((stat("oldest").mtime(), stat("oldest").mtime_nsec()), (-(1 << 60), 1));
    assert_eq!((stat("far").mtime(), stat("far").ctime_nsec()), (1 << 60, 1));
    assert_eq!(fs::read_link(mounted.path("link")).unwrap(), Path::new("directory/inner"));
    assert_eq!(fs::read_link(mounted.path("dangling")).unwrap().as_os_str().len(), 4000);
    assert_eq!(fs::read_to_string(mounted.path("link")).unwrap(), "inside");
    assert!(stat("fifo").file_type().is_fifo() && stat("socket").file_type().is_socket());
    let device = |name: &str| (rustix::fs::major(stat(name).rdev()), rustix::fs::minor(stat(name).rdev()));
    assert!(stat("null").file_type().is_char_device() && device("null") == (1, 3));
    assert!(stat("disk").file_type().is_block_device() && device("disk") == (259, 70_000));
    assert_eq!(fs::metadata(mounted.path("absent")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(mounted.path("empty")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(mounted.path("file")).unwrap_err().kind(), ErrorKind::NotADirectory);

    let (found, list) = run("find", &[], mounted.directory.path());
    assert!(found && list.lines().count() == 18, "{list}");
    let (_, space) = run("df", &["-B1", "--output=source,fstype,size,avail"], mounted.directory.path());
    assert!(space.contains("larder") && space.contains("fuse.larder"), "{space}");
    assert!(space.contains(&(1_u64 << 40).to_string()) && space.contains(&(1 << 30).to_string()), "{space}");
}

#[test]
fn random_reads_and_mapped_pages_give_the_pattern() {
    if !has_fuse() {
        return;
    }
    const SIZE: u64 = 100_000_007;
    let mounted = Mounted::new(Item::directory([("file", Item::pattern(SIZE)), ("huge", Item::pattern(5 << 40))]));
    let file = File::open(mounted.path("file")).unwrap();
    let huge = File::open(mounted.path("huge")).unwrap();
    let mut random = 1_u64;
    let mut buffer = vec![0; 100_000];
    for round in 0..10_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (random >> 7) as usize % if round % 100 == 0 { buffer.len() } else { 300 };
        let (file, size) = if round % 10 == 0 { (&huge, 5 << 40) } else { (&file, SIZE) };
        let offset = (random >> 20) % size;
        let read = file.read_at(&mut buffer[..length], offset).unwrap();
        assert_eq!(read as u64, (length as u64).min(size - offset));
        assert!(buffer[..read].iter().zip(offset..).all(|(byte, at)| *byte == pattern(at)), "{offset} {length}");
    }
    #[expect(unsafe_code, reason = "mapping a file, which nobody changes here")]
    // SAFETY: nobody changes the file.
    let mapped = unsafe { memmap2::Mmap::map(&file).unwrap() };
    assert_eq!(mapped.len() as u64, SIZE);
    for offset in (0..SIZE).step_by(999_983).chain([SIZE - 1]) {
        assert_eq!(mapped[offset as usize], pattern(offset));
    }
}

#[test]
fn what_was_read_is_not_read_again() {
    if !has_fuse() {
        return;
    }
    let mounted = Mounted::new(Item::directory([
        ("file", Item::pattern(10 << 20)),
        ("changing", with(Item::pattern(1 << 20), |item| item.fresh_for = Some(Duration::ZERO))),
        ("directory", Item::directory((0..100).map(|number| (number.to_string(), Item::file("x"))))),
    ]));
    let directory = fs::canonicalize(mounted.path("directory")).unwrap();
    let round = || {
        assert_eq!(fs::read(mounted.path("file")).unwrap().len(), 10 << 20);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 100);
        assert!(fs::metadata(directory.join("no such file")).is_err());
        let asked = mounted.asked();
        [&asked.reads, &asked.lists, &asked.lookups].map(|counter| counter.load(Ordering::Relaxed))
    };
    let first = round();
    assert_eq!((round(), first[1]), (first, 1));

    let changing = || fs::read(mounted.path("changing")).unwrap().len();
    let before = mounted.asked().reads.load(Ordering::Relaxed);
    assert_eq!(changing(), 1 << 20);
    let between = mounted.asked().reads.load(Ordering::Relaxed);
    assert_eq!(changing(), 1 << 20);
    let after = mounted.asked().reads.load(Ordering::Relaxed);
    assert!(before < between && between < after, "{before} {between} {after}");
    assert!(mounted.asked().looks_again.load(Ordering::Relaxed) > 0);
}

#[test]
fn two_mounts_give_the_same_inode_numbers() {
    if !has_fuse() {
        return;
    }
    let numbers = |order_is_reversed: bool| {
        let mounted = Mounted::new(zoo());
        let mut names: Vec<_> = fs::read_dir(mounted.directory.path()).unwrap().map(Result::unwrap).collect();
        names.sort_by_key(fs::DirEntry::file_name);
        if order_is_reversed {
            names.reverse();
        }
        let mut all = BTreeSet::new();
        for entry in names {
            use std::os::unix::fs::DirEntryExt;
            let number = fs::symlink_metadata(entry.path()).unwrap().ino();
            assert_eq!(entry.ino(), number, "as listed and as found");
            all.insert((entry.file_name(), number));
        }
        all.insert(("inner".into(), fs::metadata(mounted.path("directory/inner")).unwrap().ino()));
        all
    };
    let first = numbers(false);
    assert_eq!((first.len(), numbers(true)), (17, first));
}

#[test]
fn a_directory_of_a_hundred_thousand_is_listed_whole() {
    if !has_fuse() {
        return;
    }
    const COUNT: usize = 100_000;
    let mounted = Mounted::new(Item::directory((0..COUNT).map(|number| (format!("entry-{number}"), Item::file("")))));
    let names: Vec<_> =
        fs::read_dir(mounted.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((names.len(), names.iter().collect::<BTreeSet<_>>().len()), (COUNT, COUNT));
    // With attributes of each, which are the kernel's own then.
    let (_, list) = run("ls", &["-lU"], mounted.directory.path());
    assert_eq!(list.lines().count(), COUNT + 1);
    let asked = mounted.asked();
    let asked = [&asked.lookups, &asked.xattrs, &asked.looks_again].map(|counter| counter.load(Ordering::Relaxed));
    assert!(asked.iter().sum::<u64>() < 10_000, "a request for each entry: {asked:?}");

    // Seeking back to remembered positions, in and out of what the kernel has kept, gives the same entries again.
    let directory = File::open(mounted.directory.path()).unwrap();
    let mut buffer = Vec::with_capacity(1 << 15);
    let mut seen = Vec::new();
    let mut list = rustix::fs::RawDir::new(&directory, buffer.spare_capacity_mut());
    let mut position = 0;
    while let Some(entry) = list.next() {
        let entry = entry.unwrap();
        seen.push((position, entry.file_name().to_owned(), entry.ino()));
        position = entry.next_entry_cookie();
    }
    assert_eq!(seen.len(), COUNT + 2, "with . and ..");
    for (position, name, number) in seen.iter().step_by(9973).rev() {
        rustix::fs::seek(&directory, rustix::fs::SeekFrom::Start(*position)).unwrap();
        let mut list = rustix::fs::RawDir::new(&directory, buffer.spare_capacity_mut());
        let entry = list.next().unwrap().unwrap();
        assert_eq!((entry.file_name(), entry.ino()), (name.as_c_str(), *number));
    }
}

#[test]
fn extended_attributes_are_listed_or_answered_only() {
    if !has_fuse() {
        return;
    }
    /// Linux checks it: version 2, and one capability.
    const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let xattr = |name: &str, value: &[u8], is_listed| Xattr { name: name.into(), value: value.to_vec(), is_listed };
    let file = with(Item::file("x"), |item| {
        item.xattrs = vec![
            xattr("user.empty", b"", true),
            xattr("user.long", &[7; 3000], true),
            xattr("security.capability", &CAPABILITY, true),
            xattr("user.larder.id", b"k1234", false),
        ];
    });
    let mounted = Mounted::new(Item::directory([("file", file), ("none", Item::file("x"))]));
    let get = |path: &str, name: &str, room: usize| {
        let mut buffer = vec![0_u8; room];
        let size = rustix::fs::getxattr(mounted.path(path), name, &mut buffer[..])?;
        buffer.truncate(size);
        Ok::<_, rustix::io::Errno>(buffer)
    };
    assert_eq!(get("file", "user.long", 4000), Ok(vec![7; 3000]));
    assert_eq!(rustix::fs::getxattr_query(mounted.path("file"), "user.long"), Ok(3000));
    assert_eq!(get("file", "user.long", 2999), Err(rustix::io::Errno::RANGE));
    assert_eq!(get("file", "user.empty", 10), Ok(vec![]));
    assert_eq!(get("file", "security.capability", 20), Ok(CAPABILITY.to_vec()));
    assert_eq!(get("file", "user.larder.id", 10), Ok(b"k1234".to_vec()));
    assert_eq!(get("file", "user.other", 10), Err(rustix::io::Errno::NODATA));
    assert_eq!(get("none", "user.empty", 10), Err(rustix::io::Errno::NODATA));
    let list = |path: &str, room: usize| {
        let mut buffer = vec![0_u8; room];
        let size = rustix::fs::listxattr(mounted.path(path), &mut buffer[..])?;
        Ok::<_, rustix::io::Errno>(String::from_utf8_lossy(&buffer[..size]).into_owned())
    };
    let names = "user.empty\0user.long\0security.capability\0";
    assert_eq!(list("file", 100), Ok(names.to_owned()));
    assert_eq!(rustix::fs::listxattr_query(mounted.path("file")), Ok(names.len()));
    assert_eq!(list("file", 5), Err(rustix::io::Errno::RANGE));
    assert_eq!(list("none", 5), Ok(String::new()));
    assert_eq!(get("none", "system.posix_acl_access", 10), Err(rustix::io::Errno::OPNOTSUPP));

    let without = Mounted::with(zoo(), &Options { has_xattrs: false, ..Options::default() });
    assert_eq!(rustix::fs::listxattr_query(without.path("file")), Err(rustix::io::Errno::OPNOTSUPP));
    assert_eq!(without.asked().xattrs.load(Ordering::Relaxed), 0);
}

#[test]
fn nothing_can_be_written() {
    if !has_fuse() {
        return;
    }
    let mounted = Mounted::new(zoo());
    let attempts = |mounted: &Mounted| {
        let (file, new) = (mounted.path("file"), mounted.path("new"));
        [
            ("open", fs::OpenOptions::new().write(true).open(&file).map(drop)),
            ("create", File::create(&new).map(drop)),
            ("mkdir", fs::create_dir(&new)),
            ("remove", fs::remove_file(&file)),
            ("rmdir", fs::remove_dir(mounted.path("empty"))),
            ("rename", fs::rename(&file, &new)),
            ("link", fs::hard_link(&file, &new)),
            ("symlink", std::os::unix::fs::symlink("x", &new)),
            ("chmod", fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))),
            ("chown", std::os::unix::fs::chown(&file, Some(1), None)),
            ("mknod", rustix::fs::mkfifoat(rustix::fs::CWD, &new, rustix::fs::Mode::RWXU).map_err(io::Error::from)),
            (
                "xattr",
                rustix::fs::setxattr(&file, "user.a", b"1", rustix::fs::XattrFlags::empty()).map_err(io::Error::from),
            ),
        ]
    };
    for (what, result) in attempts(&mounted) {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem, "{what}");
    }
    // As root one may ask for more, and gets no further.
    if run("mount", &["-o", "remount,rw"], mounted.directory.path()).0 {
        for (what, result) in attempts(&mounted) {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem, "{what}, remounted");
        }
    }
}

#[test]
fn a_tree_that_fails_is_an_error_and_never_a_wait() {
    if !has_fuse() {
        return;
    }
    let troubled = |trouble| Item::file("x").with_trouble(trouble);
    let root = Item::directory([
        ("hangs", Item::directory((0..20).map(|number| (number.to_string(), troubled(Trouble::Hangs))))),
        ("fails", troubled(Trouble::Fails)),
        ("panics", troubled(Trouble::Panics)),
        ("slow", troubled(Trouble::Slow(Duration::from_millis(50)))),
        ("directory", Item::directory::<&str>([]).with_trouble(Trouble::Hangs)),
        ("link", Item::link(b"x").with_trouble(Trouble::Fails)),
    ]);
    let deadline = Duration::from_millis(500);
    let mounted = Mounted::with(root, &Options { deadline, threads: 2, ..Options::default() });
    let errno = |error: io::Error| error.raw_os_error();
    for round in 0..3 {
        assert_eq!(fs::read(mounted.path("fails")).map_err(errno), Err(Some(5)), "{round}");
        assert_eq!(fs::read(mounted.path("panics")).map_err(errno), Err(Some(5)), "{round}");
    }
    assert_eq!(fs::read_link(mounted.path("link")).map_err(errno), Err(Some(5)));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let path = mounted.path("hangs").join(number.to_string());
            scope.spawn(move || assert_eq!(fs::read(path).map_err(errno), Err(Some(5))));
        }
        // More wait than there are threads; others are answered meanwhile.
        assert_eq!(fs::read(mounted.path("slow")).unwrap(), b"x");
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    assert!(start.elapsed() >= deadline);
    let listed = fs::read_dir(mounted.path("directory")).and_then(|mut entries| entries.next().transpose());
    assert_eq!(listed.map(|_| ()).map_err(errno), Err(Some(5)));
}

#[test]
fn a_mount_in_use_is_unmounted_for_everybody_else() {
    if !has_fuse() {
        return;
    }
    let mounted = Mounted::new(zoo());
    let file = File::open(mounted.path("large")).unwrap();
    assert_eq!(mounted.unmount(), Unmounted::StillInUse);
    assert!(!is_mounted(mounted.directory.path()) && !mounted.path("file").exists());
    assert_eq!(mounted.unmount(), Unmounted::StillInUse, "once more is harmless");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3 << 40).unwrap();
    assert_eq!(byte[0], pattern(3 << 40));
    assert!(mounted.waits(Duration::from_millis(50)));
    drop(file);
    assert!(!mounted.waits(Duration::from_secs(20)));
    assert_eq!(mounted.unmount(), Unmounted::Wholly);
}

#[test]
fn a_mount_ends_by_itself_by_others_and_by_dropping_it() {
    if !has_fuse() {
        return;
    }
    let mounted = Mounted::new(zoo());
    assert!(is_mounted(mounted.directory.path()));
    assert_eq!(mounted.unmount(), Unmounted::Wholly);
    assert!(!is_mounted(mounted.directory.path()) && !mounted.waits(Duration::from_secs(20)));

    let mounted = Mounted::new(zoo());
    assert!(mounted.waits(Duration::from_millis(50)));
    assert!(run("umount", &[], mounted.directory.path()).0);
    assert!(!mounted.waits(Duration::from_secs(20)));
    assert_eq!(mounted.unmount(), Unmounted::Wholly);

    let mut mounted = Mounted::new(zoo());
    drop(mounted.mount.take());
    assert!(!is_mounted(mounted.directory.path()));
}

#[test]
fn a_mountpoint_that_is_taken_is_refused() {
    if !has_fuse() {
        return;
    }
    let mounted = Mounted::new(zoo());
    let tree = Arc::new(Memory::new("test", zoo()));
    let handle: Handle = mounted.runtime.handle().clone();
    let again = Mount::start(tree, mounted.directory.path(), &Options::default(), handle);
    assert!(matches!(again, Err(MountError::Taken(_))), "{again:?}");
}

#[test]
fn a_mount_is_entered_by_its_owner_alone_or_by_all() {
    if !has_fuse() {
        return;
    }
    let as_nobody = |mounted: &Mounted, name: &str| {
        let path = mounted.path(name);

        run("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups", "cat"], &path)
    };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not tested: only root can be somebody else");
    }
    let secret = || with(Item::file("secret"), |item| item.attributes.mode = 0o600);
    let tree = || Item::directory([("open", Item::file("open")), ("secret", secret())]);
    let alone = Mounted::new(tree());
    assert!(!as_nobody(&alone, "open").0);
    let shared = Mounted::with(tree(), &Options { allow_other: true, ..Options::default() });
    assert_eq!(as_nobody(&shared, "open"), (true, "open".to_owned()));
    assert!(!as_nobody(&shared, "secret").0);
    assert_eq!(fs::read_to_string(shared.path("secret")).unwrap(), "secret");
}
