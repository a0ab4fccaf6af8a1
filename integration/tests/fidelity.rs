//! Everything a file system can hold comes back as it was.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use integration::{Sandbox, compare_directories};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// An access list for user 1234: rw, beside the usual three and a mask (`system.posix_acl_access`, version 2).
const ACL: &[u8] = &[
    2, 0, 0, 0, //
    0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, // owner
    0x02, 0, 6, 0, 0xd2, 0x04, 0, 0, // user 1234
    0x04, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, // group
    0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, // mask
    0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, // others
];

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/deep/deeper")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "data").unwrap();
    fs::write(root.join("empty-file"), "").unwrap();
    fs::hard_link(root.join("file"), root.join("dir/hard")).unwrap();
    fs::hard_link(root.join("file"), root.join("dir/deep/hard")).unwrap();
    symlink("file", root.join("link")).unwrap();
    symlink("/nowhere/at/all", root.join("dir/broken")).unwrap();
    for name in [
        &b"bad\xff\xfename"[..],
        b"bad\xfe\xffname",
        "bad\u{fffd}\u{fffd}name".as_bytes(),
        b"\x01\"\\<&>",
        "é\u{2028}".as_bytes(),
    ] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(root.join(OsStr::from_bytes(b"dir\xff"))).unwrap();
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2755), ("none", 0), ("odd", 0o642)] {
        fs::write(root.join(name), name).unwrap();
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(root.join("dir"), Permissions::from_mode(0o1777)).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    drop(UnixListener::bind(root.join("socket")).unwrap());
    if rustix::process::geteuid().is_root() {
        mknodat(
            CWD,
            root.join("chr"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            rustix::fs::makedev(1, 7),
        )
        .unwrap();
        mknodat(CWD, root.join("blk"), FileType::BlockDevice, Mode::from_raw_mode(0o660), rustix::fs::makedev(7, 300))
            .unwrap();
        xattr::set(root.join("file"), "trusted.larder", b"t").unwrap();
        xattr::set(root.join("link"), "trusted.larder", b"on a link").unwrap();
        std::os::unix::fs::chown(root.join("odd"), Some(12345), Some(54321)).unwrap();
        std::os::unix::fs::lchown(root.join("link"), Some(1), Some(2)).unwrap();
    }
    xattr::set(root.join("file"), "user.larder", b"\x00binary\xff").unwrap();
    xattr::set(root.join("dir"), "user.empty", b"").unwrap();
    xattr::set(root.join("empty-file"), "system.posix_acl_access", ACL).unwrap();
    xattr::set(root.join("dir"), "system.posix_acl_default", ACL).unwrap();
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    sparse.write_all(b"start").unwrap();
    // Last, so that nothing changes them any more; directories after what is in them.
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    for name in ["dir/deep/deeper", "dir/deep", "dir", "empty", "file", "sparse"] {
        File::open(root.join(name)).unwrap().set_modified(time).unwrap();
    }
    File::open(root.join("odd")).unwrap().set_modified(SystemTime::UNIX_EPOCH - Duration::new(86400, 1)).unwrap();
}

#[test]
fn everything_comes_back() {
    let sandbox = Sandbox::create(&[]);
    let source = sandbox.path().join("source");
    make_tree(&source);
    let first = sandbox.snapshot(&source);
    for (number, arguments) in
        [&[][..], &["--write-files-atomically"], &["--write-sparse-files", "--parallel=1"]].iter().enumerate()
    {
        let target = sandbox.path().join(format!("target-{number}"));
        sandbox.run([&["restore", &first.id, target.to_str().unwrap()], *arguments].concat());
        compare_directories(&source, &target, &["--hardlinks", "--xattrs"]);
        // Once more over what is there.
        sandbox.run([&["restore", &first.id, target.to_str().unwrap()], *arguments].concat());
        compare_directories(&source, &target, &["--hardlinks", "--xattrs"]);
    }
    // A snapshot of what was restored holds the same, too.
    let again = sandbox.snapshot(&sandbox.path().join("target-0"));
    let target = sandbox.path().join("again");
    sandbox.run(["restore", &again.id, target.to_str().unwrap()]);
    compare_directories(&source, &target, &["--hardlinks", "--xattrs"]);
    // Unchanged, it is the same object.
    assert_eq!(sandbox.snapshot(&source).root, first.root);
    assert_eq!(sandbox.check(), "");
}
