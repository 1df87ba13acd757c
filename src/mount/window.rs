//! The kernel's read-ahead window for the mount.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::table;

/// Largest request of FUSE (`fs.fuse.max_pages_limit`, 256 pages by default), and the size of the
/// largest chunk. A window as large as the read takes the kernel's exact path: no neighbour is read.
const WINDOW_KIB: u64 = 1024;

/// In the environment where a service sets the window as root, once this program is ready.
const SET_BY_SERVICE: &str = "ZARRIMS_WINDOW_SET_BY_SERVICE";

/// Sets the window unless a service does. This needs the right to write below `/sys`: an `init`
/// message can only lower it.
///
/// # Errors
/// The operating system's reason; the window is then as it was, and read after by the gaps of the layout.
pub(crate) fn widen(mountpoint: &Path) -> io::Result<()> {
    if std::env::var_os(SET_BY_SERVICE).is_some() {
        return Ok(());
    }
    let device = device_of(mountpoint)?.ok_or(io::ErrorKind::NotFound)?;
    let file = PathBuf::from(format!("/sys/class/bdi/{device}/read_ahead_kb"));
    fs::write(&file, WINDOW_KIB.to_string())?;
    let is_set = fs::read_to_string(&file)?.trim() == WINDOW_KIB.to_string();
    if is_set { Ok(()) } else { Err(io::Error::other("the kernel did not take it")) }
}

/// Whether something is mounted at a path.
pub(crate) fn is_mounted(mountpoint: &Path) -> bool {
    device_of(mountpoint).is_ok_and(|device| device.is_some())
}

/// `major:minor` of the file system mounted last at a path. Asking `stat` would ask this very process.
fn device_of(mountpoint: &Path) -> io::Result<Option<String>> {
    Ok(table::mounted_at(mountpoint)?.map(|mounted| mounted.device))
}
