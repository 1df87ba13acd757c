//! Why an export ends without a file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::image::ImageError;

/// Why an export ends without a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is a file of the name already.
    #[error("{}: is there already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// Another export writes it.
    #[error("{}: another export is writing it", .0.display())]
    Busy(PathBuf),
    /// The disk has no room. What was written stays.
    #[error(
        "{}: the disk is full; what is written stays, and the same command goes on from there", .0.display()
    )]
    Full(PathBuf),
    /// A call of the operating system failed.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// The metadata cannot be made.
    #[error("cannot make the metadata: {0}")]
    Metadata(#[from] ImageError),
    /// A filter failed.
    #[error("cannot compress a chunk: {0}")]
    Filter(io::Error),
    /// Bytes of the image cannot be produced.
    #[error("cannot read bytes {} to {} of the image: {cause}", range.start, range.end)]
    Image {
        /// Where they would be in the file.
        range: Range<u64>,
        /// The reason.
        cause: ImageError,
    },
    /// What the disk returns is not what was written.
    #[error(
        "{}: bytes {} to {} are not what was written; the same command writes them again",
        path.display(), range.start, range.end
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// Where.
        range: Range<u64>,
    },
    /// Parts that cannot be joined.
    #[error("{}: {reason}", path.display())]
    Parts {
        /// The part.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The user wanted an end.
    #[error("stopped; what is written stays, and the same command goes on from there")]
    Stopped,
}

impl ExportError {
    /// A failed call on a file.
    pub(super) fn file(path: &Path, error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full(path.to_path_buf()),
            _ => Self::File { path: path.to_path_buf(), cause: error },
        }
    }
}
