//! Why an operation of a file service fails.

use std::io;

use thiserror::Error;

use crate::image::ImageError;
use crate::source::SourceError;
use crate::source::storage::SourceGone;

/// Why a file system operation fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FsError {
    /// No such name in the folder.
    #[error("no such file or folder")]
    NotFound,
    /// The inode is not known, or the store behind it changed.
    #[error("file has changed or gone since it was looked up")]
    Stale,
    /// Fewer users may read the file than when it was looked up: the kernel has to ask again.
    #[error("permissions have been taken away since the file was looked up")]
    Restricted,
    /// The handle is not open.
    #[error("handle is not open")]
    BadHandle,
    /// A folder was expected.
    #[error("not a folder")]
    NotADirectory,
    /// A file was expected.
    #[error("is a folder")]
    IsADirectory,
    /// Nothing can be changed here.
    #[error("file system is read-only")]
    ReadOnly,
    /// A folder of the source cannot be read.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The bytes cannot be produced.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// A call of the operating system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What an error means to a program that uses the files, whatever layer it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such name.
    NotFound,
    /// The name has to be looked up again.
    Stale,
    /// The source does not let this program in.
    Denied,
    /// The handle is not open.
    BadHandle,
    /// A folder was expected.
    NotADirectory,
    /// A file was expected.
    IsADirectory,
    /// Nothing can be changed here.
    ReadOnly,
    /// The file would be larger than a file can be.
    TooLarge,
    /// The bytes cannot be produced.
    Unreadable,
    /// The operating system's reason.
    System(io::ErrorKind),
}

impl FsError {
    /// What the error means to the program that asked.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::Stale | Self::Restricted => ErrorKind::Stale,
            Self::BadHandle => ErrorKind::BadHandle,
            Self::NotADirectory => ErrorKind::NotADirectory,
            Self::IsADirectory => ErrorKind::IsADirectory,
            Self::ReadOnly => ErrorKind::ReadOnly,
            Self::Source(error) => kind_of_folder(error),
            Self::Image(error) => kind_of_image(error),
            Self::Io(error) => ErrorKind::System(error.kind()),
        }
    }

    /// Whether the log has to name it: it is not everyday business, and no other line reports it.
    #[must_use]
    pub fn is_noteworthy(&self) -> bool {
        match self {
            Self::NotFound
            | Self::Restricted
            | Self::NotADirectory
            | Self::IsADirectory
            | Self::ReadOnly
            // The layer that failed to produce the voxels has logged it, with store and chunk.
            | Self::Image(_) => false,
            // The log reports once that SOURCE is gone, not at each access.
            Self::Source(SourceError::Io { source, .. }) => !SourceGone::is_reason_of(source),
            Self::Stale | Self::BadHandle | Self::Source(_) => true,
            Self::Io(error) => !SourceGone::is_reason_of(error),
        }
    }
}

/// A folder that cannot be read fails with the operating system's reason.
fn kind_of_folder(error: &SourceError) -> ErrorKind {
    match error {
        SourceError::Io { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Unreadable,
        },
        SourceError::MetadataTooLarge { .. }
        | SourceError::Json { .. }
        | SourceError::Unsupported { .. }
        | SourceError::Chunk { .. } => ErrorKind::Unreadable,
        SourceError::Changed { .. } => ErrorKind::Stale,
    }
}

/// Voxels that cannot be produced are unreadable, whatever the reason, unless the store has changed.
fn kind_of_image(error: &ImageError) -> ErrorKind {
    match error {
        ImageError::TooLarge => ErrorKind::TooLarge,
        error if error.is_change() => ErrorKind::Stale,
        ImageError::Source(_)
        | ImageError::Ims(_)
        | ImageError::BadRecord
        | ImageError::NoMemory(_)
        | ImageError::Fault
        | ImageError::Abandoned => ErrorKind::Unreadable,
    }
}
