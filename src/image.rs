//! One virtual `.ims` file: where its bytes lie, and how each is produced.
//!
//! [`plan`] turns an [`ImageSource`](crate::source::image::ImageSource) into pure data: the published
//! levels, chunk shapes ([`chunking`]) and the byte layout ([`layout`]). [`fill`] produces the voxels
//! of one brick, [`pixels`] the histograms, colour ranges and thumbnail, and [`virtual_file`] answers
//! reads of byte ranges from all of these through the cache. [`engine`] holds what all images share:
//! the cache, the workers, the memory budget.

mod chunking;
pub mod engine;
mod fill;
pub mod layout;
mod pixels;
pub mod plan;
pub mod virtual_file;

use std::sync::Arc;

use thiserror::Error;

use crate::ims::ImsError;
use crate::source::SourceError;

pub use engine::{Engine, EngineConfig, EngineStats};
pub use virtual_file::VirtualFile;

/// Why a byte range of a virtual file cannot be had. Cloned to every reader that waits for it.
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
    /// More time points, channels and levels than a file is made of.
    #[error("{datasets} time points times channels times levels; the most shown is {limit}")]
    TooManyDatasets {
        /// Number of HDF5 datasets needed.
        datasets: u64,
        /// Most that are made.
        limit: u64,
    },
    /// The worker that produced the bytes ended without an answer.
    #[error("internal fault while producing the bytes")]
    Abandoned,
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
