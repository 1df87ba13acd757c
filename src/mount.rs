//! Mounting and unmounting.
//!
//! `fuser` 0.18 has two traps in its tear-down: its check whether the file system is still mounted is
//! inverted, so that a session that ends late can unmount a stranger at the same path; and as root it
//! gives up on a busy mount. So the session is never dropped (its handle is forgotten), and the
//! unmounting is done here.

pub(crate) mod table;
mod window;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use fuser::{BackgroundSession, MountOption, Session, SessionACL};
use rustix::mount::UnmountFlags;

use zarrims::descriptors;
use zarrims::fuse::Adapter;

use crate::process;

pub(crate) use window::is_mounted;

/// Threads that talk to the kernel; they never wait for a store.
const EVENT_THREADS: usize = 4;

/// Bit of `CAP_SYS_ADMIN` in a set of capabilities (`capabilities(7)`).
const SYS_ADMIN: u32 = 21;
/// Where the kernel is asked for a mount.
const DEVICE: &str = "/dev/fuse";

/// A mount that is taken away when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mount {
    /// Mounts, and returns when the kernel has shaken hands.
    ///
    /// # Errors
    /// The operating system's or `fusermount3`'s reason.
    pub(crate) fn new(
        adapter: Adapter,
        source: &Path,
        path: &Path,
        allow_other: bool,
    ) -> io::Result<Self> {
        let mut options = fuser::Config::default();
        options.mount_options = vec![
            MountOption::RO,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::NoExec,
            MountOption::NoAtime,
            // Without it any local user could read what the source's modes forbid.
            MountOption::DefaultPermissions,
            MountOption::FSName(source_name(source, mounts_directly())),
            // For `fuser`, a `Subtype` is for `fusermount3` alone; as it is, both it and the kernel take it.
            MountOption::CUSTOM("subtype=zarrims".to_owned()),
        ];
        options.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
        options.n_threads = Some(EVENT_THREADS);
        let notifier = adapter.notifier();
        let session = Session::new(adapter, path, &options)?.spawn()?;
        // Nobody else sets it.
        let _ = notifier.set(session.notifier());
        if let Err(error) = window::widen(path) {
            tracing::info!(%error, "the kernel's read-ahead window stays at its default");
        }
        Ok(Self { path: path.to_path_buf(), session: Some(session) })
    }

    /// Another program has unmounted it.
    pub(crate) fn forget(mut self) {
        std::mem::forget(self.session.take());
    }

    /// Unmounts; a busy mount is detached and served until its last file is closed. Returns whether it was
    /// busy.
    pub(crate) fn detach(mut self) -> io::Result<bool> {
        std::mem::forget(self.session.take());
        detach(&self.path)
    }
}

impl Drop for Mount {
    /// Only reached when the daemon fails between mounting and its orderly end, as when a later mount fails.
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            std::mem::forget(session);
            if let Err(error) = detach(&self.path) {
                tracing::error!(%error, "cannot unmount");
            }
        }
    }
}

/// Whether the kernel mounts for this process, and `fusermount3` is not needed.
pub(crate) fn mounts_directly() -> bool {
    process::status_mask("CapEff").is_some_and(|mask| mask >> SYS_ADMIN & 1 == 1)
}

/// What `df` and `findmnt` show as the source of the mount. `fusermount3` takes it as one of several
/// options with commas between.
fn source_name(source: &Path, is_direct: bool) -> String {
    let name = source.to_string_lossy();
    if is_direct { name.into_owned() } else { name.replace('\\', r"\\").replace(',', r"\,") }
}

/// Unmounts, lazily if the mount is busy; returns whether it was.
fn detach(path: &Path) -> io::Result<bool> {
    match rustix::mount::unmount(path, UnmountFlags::empty()) {
        Ok(()) => return Ok(false),
        Err(rustix::io::Errno::BUSY) => {
            rustix::mount::unmount(path, UnmountFlags::DETACH)?;
            return Ok(true);
        }
        // Not privileged: the setuid helper does it.
        Err(rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    if fusermount(&["-u"], path)? {
        return Ok(false);
    }
    if fusermount(&["-u", "-z"], path)? {
        return Ok(true);
    }
    Err(io::Error::other("fusermount3 -u failed"))
}

/// Whether the device that mounts are made with can be opened by this user.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(crate) fn check_device() -> Result<(), String> {
    use rustix::io::Errno;
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    let Err(error) = opened else { return Ok(()) };
    Err(match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => format!(
            "{DEVICE} is missing; load it with \"modprobe fuse\", or give the container the device"
        ),
        Some(Errno::ACCESS) => format!(
            "{DEVICE} cannot be opened by this user; as root: \"chmod 666 {DEVICE}\", or mount as \
             root"
        ),
        Some(Errno::PERM) => format!(
            "{DEVICE} is forbidden here; give the container the device (\"--device {DEVICE}\")"
        ),
        _ => format!("{DEVICE}: {error}"),
    })
}

fn fusermount(flags: &[&str], path: &Path) -> io::Result<bool> {
    let run = || Command::new("fusermount3").args(flags).arg("--").arg(path).output();
    Ok(descriptors::with_retry(run)?.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_one_option() {
        let source = Path::new(r"/data/a,b\c");
        assert_eq!(source_name(source, true), r"/data/a,b\c");
        assert_eq!(source_name(source, false), r"/data/a\,b\\c");
    }
}
