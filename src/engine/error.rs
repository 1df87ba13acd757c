//! Errors of the production of bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use thiserror::Error;

use crate::ims::ImsError;
use crate::resources::headroom::NoMemory;
use crate::source::SourceError;

/// Why bytes of an image cannot be produced. Cloned to every waiting reader.
#[derive(Debug, Error, Clone)]
#[non_exhaustive]
pub enum ImageError {
    /// A chunk of the store cannot be read or decoded.
    #[error("{0}")]
    Source(#[source] Arc<SourceError>),
    /// The HDF5 metadata could not be written.
    #[error("{0}")]
    Ims(#[source] Arc<ImsError>),
    /// The file would be larger than a file can be.
    #[error("virtual file larger than 2^62 bytes")]
    TooLarge,
    /// What was measured of pixels cannot be read any more; it is measured again.
    #[error("what was measured of the pixels cannot be read")]
    BadRecord,
    /// A brick needs more memory than the machine, or this process, has.
    #[error("{0}")]
    NoMemory(#[from] NoMemory),
    /// A fault of this program met while it produced these bytes.
    #[error("internal fault while producing the bytes")]
    Fault,
    /// The producer ended without an answer.
    #[error("given up before the bytes were produced")]
    Abandoned,
}

impl ImageError {
    /// Whether the store has changed since the file was opened.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Source(error) if matches!(**error, SourceError::Changed { .. }))
    }
}

impl From<SourceError> for ImageError {
    fn from(error: SourceError) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl From<ImsError> for ImageError {
    fn from(error: ImsError) -> Self {
        Self::Ims(Arc::new(error))
    }
}

/// Runs `work`. A panic in it, a fault of this program, costs its readers an error and nothing else.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a task panicked; its readers get an I/O error");
        Err(ImageError::Fault)
    })
}
