//! Mounts whose program has died: every call on them fails with `ENOTCONN` until they are removed.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Whether an error comes from such a mount.
pub(crate) fn is_cause(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOTCONN)
}

/// The same error, with what to do about it where it comes from such a mount at or above `path`.
pub(crate) fn explained(error: io::Error, path: &Path) -> io::Error {
    if is_cause(&error) { io::Error::new(error.kind(), advice(path)) } else { error }
}

/// What is the matter with a path at or below such a mount, and what to do.
pub(crate) fn advice(path: &Path) -> String {
    let is_dead = |path: &&Path| fs::metadata(path).is_err_and(|error| is_cause(&error));
    let mount = path.ancestors().filter(is_dead).last().unwrap_or(path).display();
    format!(
        "a mount whose program has died is in the way; remove it with \"fusermount3 -u -z {mount}\", \
         or \"umount -l {mount}\" as root"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_dead_mounts_get_advice() {
        let path = Path::new("/data/old mount");
        let told = explained(Errno::NOTCONN.into(), path);
        assert_eq!(told.kind(), io::ErrorKind::NotConnected);
        assert!(told.to_string().contains("\"fusermount3 -u -z /data/old mount\""), "{told}");
        let other = explained(Errno::ACCESS.into(), path);
        assert_eq!(Errno::from_io_error(&other), Some(Errno::ACCESS));
    }
}
