//! `larder mount`

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use larder::manifest::ManifestSet;
use larder::mounting::{Shown, SnapshotTree};
use larder::repo::Repository;
use larder::snapshot::entry::Name;
use larder::snapshot::labels_of_all;
use larder::snapshot::manifest::{self, Snapshot};
use larder::snapshot::resolve::{self, SnapshotTime};
use larder_mount::{Mount, Options, Unmounted};
use tokio::runtime::Handle;

use super::app::App;

/// Where systemd, and a parent that waits, are told that the mount is ready: sd_notify(3).
const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";
const READY: &str = "READY=1";
/// Bytes of decoded contents in memory: for what is read ahead of several open files.
const MEMORY: u64 = 96 << 20;
/// How often to look whether the user asks to stop.
const STEP: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every directory of a mounted snapshot has a hidden directory .snapshots, which shows it as it was in every
snapshot of its source. Beside a source's snapshots, `latest` leads to the newest one.

Examples:
  larder mount all /mnt/backups                    # every snapshot: /mnt/backups/me@host/home_me/latest
  larder mount /home/me /mnt/backups               # those of one source
  larder mount 48072582bf2c92f943f718ec4e56aeb3/etc /mnt/etc   # a directory in a snapshot
  larder mount --at 3d-ago all /mnt/backups        # all as it was three days ago
  larder mount --daemon all /mnt/backups && ls /mnt/backups; larder unmount /mnt/backups"
)]
pub(super) struct Args {
    /// What to show: `all`, a source, or a snapshot or object and a path in it
    #[arg(default_value = "all", value_name = "all|SOURCE|ID[/PATH]")]
    what: String,
    /// An empty directory; `*` makes one, and removes it in the end
    #[arg(default_value = "*")]
    mountpoint: String,
    /// Only what there was at that time: 3d-ago, yesterday, 2026-11-21 …
    #[arg(long, default_value = "latest", value_name = "TIME", hide_default_value = true)]
    at: SnapshotTime,
    /// Return when it is mounted, and go on in the background
    #[arg(long)]
    daemon: bool,
    /// Let other users in, each as far as the stored permissions allow
    #[arg(long, visible_alias = "fuse-allow-other")]
    allow_other: bool,
    /// Leave the terminal as soon as it is mounted: what --daemon starts
    #[arg(long, hide = true)]
    detached: bool,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    if args.daemon {
        return start_daemon(app);
    }
    let repository = app.open_with_memory(MEMORY).await?;
    let manifests = app.manifests(&repository).await?;
    let shown = shown(app, &repository, &manifests, &args.what).await?;
    let until = args.at.before(&app.now())?;
    let tree = SnapshotTree::open(repository, shown, until).await?;

    let place = Place::at(&args.mountpoint)?;
    let options = Options { name: "larder".to_owned(), allow_other: args.allow_other, ..Options::default() };
    let mount = Mount::start(Arc::new(tree), &place.path, &options, Handle::current())?;
    eprintln!("Mounted '{}' on {}", args.what, place.path.display());
    if args.detached {
        leave_terminal().context("cannot leave the terminal")?;
    } else {
        eprintln!("Press Ctrl-C to unmount.");
    }
    notify(READY).context("cannot tell that the mount is ready")?;

    loop {
        tokio::select! {
            () = mount.wait() => break,
            () = tokio::time::sleep(STEP) => {}
        }
        if app.stop.is_set() {
            eprintln!("Unmounting...");
            if mount.unmount().await? == Unmounted::StillInUse {
                eprintln!("Some files are still open: waiting until they are closed. Press Ctrl-C again to end now.");
                mount.wait().await;
            }
            break;
        }
    }
    eprintln!("Unmounted.");
    Ok(())
}

/// What a user means.
async fn shown(app: &App, repository: &Repository, manifests: &ManifestSet, text: &str) -> anyhow::Result<Shown> {
    if text == "all" {
        return Ok(Shown::All);
    }
    let (snapshots, _) = manifest::find(manifests, &labels_of_all());
    let (id, path) = text.split_once('/').unwrap_or((text, ""));
    let is_named = |snapshot: &Snapshot| snapshot.id.is_some_and(|known| known.to_string() == id);
    if !resolve::is_object_path(text) && !snapshots.iter().any(is_named) {
        let source = app.source(text, repository.identity())?;
        if !snapshots.iter().any(|snapshot| snapshot.source == source) {
            bail!("there are no snapshots of {source}: `larder snapshot list --all` shows of what there are");
        }
        return Ok(Shown::Source(source));
    }
    let entry = resolve::object_path(repository.contents(), manifests, text).await?;
    if !entry.kind.is_directory() {
        bail!("{text} is not a directory: `larder show {text}` prints it, `larder restore {text} TARGET` restores it");
    }
    let has_root = |s: &Snapshot| s.root_entry.as_ref().is_some_and(|root| root.object.to_string() == id);
    let of = snapshots.iter().find(|s| is_named(s)).or_else(|| snapshots.iter().rev().find(|s| has_root(s)));
    let path = path.split('/').filter(|name| !name.is_empty()).map(Name::from).collect();
    Ok(Shown::Entry { entry: Box::new(entry), snapshot: of.cloned().map(Box::new), path })
}

/// The directory to mount at.
struct Place {
    path: PathBuf,
    is_ours: bool,
}

impl Place {
    fn at(mountpoint: &str) -> anyhow::Result<Self> {
        if mountpoint != "*" {
            return Ok(Self { path: mountpoint.into(), is_ours: false });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let path = std::env::temp_dir().join(format!("larder-mount-{}", hex::encode(random)));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, is_ours: true })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(e) = std::fs::remove_dir(&self.path)
        {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}

/// Lets go of the session and of everything that was open for whoever started us. The log file stays.
fn leave_terminal() -> std::io::Result<()> {
    rustix::process::setsid()?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Tells whoever waits for it how it stands.
fn notify(state: &str) -> std::io::Result<()> {
    let Some(path) = std::env::var_os(NOTIFY_VARIABLE) else { return Ok(()) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(&path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// Starts this program again, without a terminal, and returns when that has mounted.
fn start_daemon(app: &App) -> anyhow::Result<()> {
    let directory = Place::at("*")?;
    let path = directory.path.join("ready");
    let socket = UnixDatagram::bind(&path).context("cannot wait for the daemon")?;
    socket.set_read_timeout(Some(STEP))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--daemon");
    let program = std::env::current_exe().context("cannot start the daemon")?;
    let child = Command::new(program)
        .args(arguments)
        .arg("--detached")
        .env(NOTIFY_VARIABLE, &path)
        .stdin(Stdio::inherit())
        .stdout(Stdio::null())
        .spawn();
    let started = child.context("cannot start the daemon").and_then(|mut child| {
        let mut state = [0; 64];
        loop {
            match socket.recv(&mut state) {
                Ok(length) if state.get(..length) == Some(READY.as_bytes()) => {
                    // Whoever started us waits for our own readiness.
                    return Ok(notify(READY)?);
                }
                _ if app.stop.is_set() => {
                    child.kill()?;
                    bail!("canceled");
                }
                _ => {}
            }
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended: {status}");
            }
        }
    });
    std::fs::remove_file(&path)?;
    started
}
