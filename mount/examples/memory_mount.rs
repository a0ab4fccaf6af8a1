//! Mounts a tree in memory: what a mount costs when the tree costs nothing.
//!
//! `memory_mount MOUNTPOINT [--file-size BYTES] [--entries N]` shows one file `file` with a pattern and one directory
//! `directory` with so many empty files, until it is unmounted or gets SIGINT or SIGTERM.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use larder_mount::memory::{Item, Memory};
use larder_mount::{Mount, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut mountpoint = None;
    let (mut file_size, mut entries) = (1_u64 << 30, 1000_usize);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().and_then(|value| value.into_string().ok());
            value.and_then(|value| value.parse().ok()).ok_or("a number is missing")
        };
        match argument.to_str() {
            Some("--file-size") => file_size = number()?,
            Some("--entries") => entries = usize::try_from(number()?)?,
            _ => mountpoint = Some(PathBuf::from(argument)),
        }
    }
    let mountpoint = mountpoint.ok_or("usage: memory_mount MOUNTPOINT [--file-size BYTES] [--entries N]")?;

    let many = Item::directory((0..entries).map(|number| (format!("entry-{number:07}"), Item::file(""))));
    let tree =
        Arc::new(Memory::new("memory", Item::directory([("file", Item::pattern(file_size)), ("directory", many)])));
    let options = Options { name: "memory".to_owned(), ..Options::default() };
    let mount = Mount::start(tree.clone(), &mountpoint, &options, tokio::runtime::Handle::current())?;
    println!("mounted at {}", mount.mountpoint().display());

    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        () = mount.wait() => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    let unmounted = mount.unmount().await?;
    let asked = tree.asked();
    println!(
        "{unmounted:?}: {} lookups, {} lists, {} opens, {} reads, {} for extended attributes",
        asked.lookups.load(Ordering::Relaxed),
        asked.lists.load(Ordering::Relaxed),
        asked.opens.load(Ordering::Relaxed),
        asked.reads.load(Ordering::Relaxed),
        asked.xattrs.load(Ordering::Relaxed),
    );
    Ok(())
}
