//! The one place where errors become errno.

use fuser::Errno;

use crate::fs::view::ErrorKind;

/// The errno of an error of a [`View`](crate::fs::view::View), and its name.
pub(crate) fn errno_of(kind: ErrorKind) -> (Errno, &'static str) {
    match kind {
        ErrorKind::NotFound => (Errno::ENOENT, "ENOENT"),
        ErrorKind::Stale => (Errno::ESTALE, "ESTALE"),
        ErrorKind::Denied => (Errno::EACCES, "EACCES"),
        ErrorKind::BadHandle => (Errno::EBADF, "EBADF"),
        ErrorKind::NotADirectory => (Errno::ENOTDIR, "ENOTDIR"),
        ErrorKind::IsADirectory => (Errno::EISDIR, "EISDIR"),
        ErrorKind::ReadOnly => (Errno::EROFS, "EROFS"),
        ErrorKind::TooLarge => (Errno::EFBIG, "EFBIG"),
        ErrorKind::Unreadable => (Errno::EIO, "EIO"),
        ErrorKind::System(kind) => (Errno::from(std::io::Error::from(kind)), "system"),
    }
}
