//! The one place where errors become errno.

use fuser::Errno;

use crate::fs::FsError;
use crate::image::ImageError;
use crate::source::SourceError;
use crate::source::storage::SourceGone;

/// The errno of an error, and whether it is worth a log line (`true`) or everyday business.
pub(crate) fn errno_of(error: &FsError) -> (Errno, bool) {
    match error {
        FsError::NotFound => (Errno::ENOENT, false),
        FsError::Stale => (Errno::ESTALE, true),
        FsError::Restricted => (Errno::ESTALE, false),
        FsError::BadHandle => (Errno::EBADF, true),
        FsError::NotADirectory => (Errno::ENOTDIR, false),
        FsError::IsADirectory => (Errno::EISDIR, false),
        FsError::ReadOnly => (Errno::EROFS, false),
        FsError::Source(error) => (errno_of_folder(error), !is_told(error)),
        // Logged where the voxels were to be produced, with store and chunk.
        FsError::Image(error) => (errno_of_image(error), false),
        FsError::Io(error) => {
            let errno = Errno::from(std::io::Error::from(error.kind()));
            (errno, !SourceGone::is_reason_of(error))
        }
    }
}

/// That SOURCE is gone is told once, not for each access.
fn is_told(error: &SourceError) -> bool {
    matches!(error, SourceError::Io { source, .. } if SourceGone::is_reason_of(source))
}

/// A folder that cannot be read is what the operating system says.
fn errno_of_folder(error: &SourceError) -> Errno {
    match error {
        SourceError::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::NotFound => Errno::ENOENT,
            std::io::ErrorKind::PermissionDenied => Errno::EACCES,
            _ => Errno::EIO,
        },
        SourceError::MetadataTooLarge { .. }
        | SourceError::Json { .. }
        | SourceError::Unsupported { .. }
        | SourceError::Chunk { .. } => Errno::EIO,
        SourceError::Changed { .. } => Errno::ESTALE,
    }
}

/// Voxels that cannot be had are EIO, whatever the reason; a store that changed is ESTALE.
fn errno_of_image(error: &ImageError) -> Errno {
    match error {
        ImageError::Source(error) => match **error {
            SourceError::Changed { .. } => Errno::ESTALE,
            SourceError::Io { .. }
            | SourceError::MetadataTooLarge { .. }
            | SourceError::Json { .. }
            | SourceError::Unsupported { .. }
            | SourceError::Chunk { .. } => Errno::EIO,
        },
        ImageError::Ims(_)
        | ImageError::NoMemory(_)
        | ImageError::Fault
        | ImageError::Abandoned => Errno::EIO,
        ImageError::TooLarge | ImageError::TooManyDatasets { .. } => Errno::EFBIG,
    }
}
