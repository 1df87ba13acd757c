//! The kernel's read-ahead window for the mount.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(find_device(&table, mountpoint))
}

/// In `mountinfo` (`proc_pid_mountinfo(5)`): the third field of the last line whose fifth is the path.
fn find_device(table: &[u8], mountpoint: &Path) -> Option<String> {
    let lines = table.split(|byte| *byte == b'\n').rev();
    let mut fields = lines.map(|line| line.split(|byte| *byte == b' '));
    fields.find_map(|mut fields| {
        let device = fields.nth(2)?;
        let path = unescaped(fields.nth(1)?);
        let found = OsStr::from_bytes(&path) == mountpoint.as_os_str();
        found.then(|| String::from_utf8_lossy(device).into_owned())
    })
}

/// Undoes `\ooo`, by which the kernel writes spaces, tabs, line ends and backslashes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            out.push(code);
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_path_counts() {
        let table = b"29 1 254:0 / / rw - ext4 /dev/vda rw\n\
            90 29 0:41 / /mnt/my\\040ims ro - fuse.zarrims zarrims ro\n\
            91 29 0:42 / /mnt/other ro - fuse.zarrims zarrims ro\n\
            92 90 0:43 / /mnt/my\\040ims ro - fuse.zarrims zarrims ro\n";
        let device = |path: &str| find_device(table, Path::new(path));
        assert_eq!(device("/mnt/my ims").as_deref(), Some("0:43"));
        assert_eq!(device("/mnt/other").as_deref(), Some("0:42"));
        assert_eq!(device("/mnt"), None);
        assert_eq!(unescaped(br"a\134b\9"), br"a\b\9");
    }
}
