//! Mounting: from options to threads that answer the kernel.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fuser::{Config, MountOption, Session, SessionACL};
use tokio::sync::watch;

use super::Served;
use super::filesystem::Requests;
use crate::{Options, Tree};

/// The kernel's type of the file system is "fuse." and this.
const SUBTYPE: &str = "larder";

/// True once the kernel has let go of the mount: it is unmounted, and nobody has it open any more.
pub(crate) type Mounted = watch::Receiver<bool>;

/// Mounts and answers from then on.
///
/// # Errors
///
/// Those of mount(2), or of fusermount3 with its own words.
pub(crate) fn mount<T: Tree>(served: Served<T>, mountpoint: &Path, options: &Options) -> io::Result<Mounted> {
    let session = Session::new(Requests(Arc::new(served)), mountpoint, &config(options))?;
    let (end, ended) = watch::channel(false);
    thread::Builder::new().name("mount".to_owned()).spawn(move || {
        if let Err(error) = session.run() {
            tracing::error!("the mount ended: {error}");
        }
        end.send_replace(true);
    })?;
    Ok(ended)
}

fn config(options: &Options) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName(printable(&options.name)),
        // Given as a word of the kernel's, as fuser tells its own to fusermount3 alone.
        MountOption::CUSTOM(format!("subtype={SUBTYPE}")),
    ];
    if options.allow_other {
        // With others let in, the stored permissions must hold. Without, whoever mounts may read all.
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(options.threads.max(1));
    // fusermount3 opens the device for those who may not; each further thread has to open it by itself.
    config.clone_fd = OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    config
}

/// A name that passes through a list of options separated by commas.
fn printable(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() || matches!(letter, ',' | '\\') { '_' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_hold_for_others_only() {
        let alone = config(&Options::default());
        assert!(alone.acl == SessionACL::Owner && !alone.mount_options.contains(&MountOption::DefaultPermissions));
        let shared = config(&Options { allow_other: true, threads: 0, ..Options::default() });
        assert!(shared.acl == SessionACL::All && shared.mount_options.contains(&MountOption::DefaultPermissions));
        assert_eq!(shared.n_threads, Some(1));
        for config in [alone, shared] {
            assert!(config.mount_options.contains(&MountOption::RO));
        }
    }

    #[test]
    fn a_name_adds_no_options() {
        assert_eq!(printable("s3:bucket/a,suid\\,\n"), "s3:bucket/a_suid___");
    }
}
