//! What a start would find in a folder, found without starting: for a check of the machine.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::directory::{LOCK, punches_holes};
use super::disk::{LocalDisk, Opening};
use super::version::folder_name;

/// Whether holes can be punched into the files of a folder, which must exist. A file of 12 KiB is there for a moment.
///
/// # Errors
/// The operating system's reason why it could not be tried.
pub fn can_punch_holes(folder: &Path) -> io::Result<bool> {
    let name = format!(".zarrims-trial-{}", std::process::id());
    punches_holes(&LocalDisk::visit(folder)?, Path::new(&name), Opening::New)
}

/// The process that has a cache folder, by the kernel's table of locks: taking the lock for a trial could be in the
/// way of a daemon that starts just now. `None` where there is none, or it cannot be known.
#[must_use]
pub fn owner(dir: &Path) -> Option<u32> {
    let lock = dir.join(folder_name()).join(LOCK);
    let ino = fs::metadata(&lock).ok()?.ino().to_string();
    let pid = fs::read_to_string(&lock).ok()?.trim().parse::<u32>().ok()?;
    let table = fs::read_to_string("/proc/locks").ok()?;
    table.lines().any(|line| is_lock(line, pid, &ino)).then_some(pid)
}

/// Whether a line of `/proc/locks` (`proc_locks(5)`) is the lock of a whole file by this process, such as
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`. File systems differ in the device that they state there.
fn is_lock(line: &str, pid: u32, ino: &str) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let (kind, owner, file) = (fields.next(), fields.nth(2), fields.next());
    kind == Some("FLOCK")
        && owner.and_then(|owner| owner.parse().ok()) == Some(pid)
        && file.and_then(|file| file.rsplit(':').next()) == Some(ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lock_of_that_process_on_that_file_counts() {
        let line = "12: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF";
        assert!(is_lock(line, 4711, "1234"));
        assert!(!is_lock(line, 4712, "1234") && !is_lock(line, 4711, "234"));
        for other in ["12: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", "12: -> FLOCK", ""] {
            assert!(!is_lock(other, 4711, "1234"), "{other}");
        }
    }

    #[test]
    fn a_trial_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = fs::metadata(folder.path()).expect("a folder").mode();
        assert!(can_punch_holes(folder.path()).is_ok());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert_eq!(fs::metadata(folder.path()).expect("a folder").mode(), mode);
        assert!(can_punch_holes(&folder.path().join("missing")).is_err());
        assert_eq!(owner(folder.path()), None);
    }
}
