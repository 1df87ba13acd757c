//! The one place where errors become errno.

use fuser::Errno;

use crate::fs::view::ErrorKind;

/// The errno of an error of a [`View`](crate::fs::view::View).
pub(crate) fn errno_of(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Stale => Errno::ESTALE,
        ErrorKind::Denied => Errno::EACCES,
        ErrorKind::BadHandle => Errno::EBADF,
        ErrorKind::NotADirectory => Errno::ENOTDIR,
        ErrorKind::IsADirectory => Errno::EISDIR,
        ErrorKind::ReadOnly => Errno::EROFS,
        ErrorKind::TooLarge => Errno::EFBIG,
        ErrorKind::Unreadable => Errno::EIO,
        ErrorKind::System(kind) => Errno::from(std::io::Error::from(kind)),
    }
}
