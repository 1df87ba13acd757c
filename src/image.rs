//! One virtual `.ims` file: where its bytes lie, and how each is produced.
//!
//! [`plan`] turns an [`ImageSource`](crate::source::image::ImageSource) into pure data: the published
//! levels ([`pyramid`]), chunk shapes ([`chunking`], [`makers_chunk`]) and the byte layout ([`layout`]). [`fill`] produces
//! the voxels of one brick of a stored level, [`build`] those of computed levels with the arithmetic
//! of [`reduce`], [`statistics`] the histograms and colour ranges and [`thumbnail`] the thumbnail, and
//! [`virtual_file`] answers reads of byte ranges from all of these through the cache. [`bricks`] says
//! where each brick of an image is kept, [`damage`] tells of those that cannot be had, [`frame`] where voxels lie in it. [`images`] holds what the
//! images of one mount share, [`engine`] what all mounts share: the cache, the workers, the memory budget.

mod bricks;
mod build;
mod chunking;
mod damage;
pub mod engine;
mod fill;
mod frame;
mod histogram;
mod images;
mod kept;
pub mod layout;
mod makers_chunk;
pub mod plan;
mod pyramid;
mod read_ahead;
mod reduce;
mod shelf;
mod statistics;
mod thumbnail;
mod time;
mod turns;
mod units;
pub mod virtual_file;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::headroom::NoMemory;
use crate::ims::ImsError;
use crate::source::{Conversions, SourceError};

pub use engine::{CacheConfig, Engine, EngineConfig, EngineError, EngineStats};
pub use images::Images;
pub use pyramid::{LevelOrigin, Pyramid};
pub use statistics::Statistics;
pub use virtual_file::VirtualFile;

/// How images become files: what the user chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageOptions {
    /// Where levels come from.
    pub pyramid: Pyramid,
    /// How histograms and ranges are made.
    pub statistics: Statistics,
    /// What becomes of types that Imaris does not have.
    pub conversions: Conversions,
    /// Unit of lengths that a store states without one, in micrometres.
    pub default_unit_um: f64,
    /// What readers get for a chunk that cannot be had.
    pub on_error: OnError,
    /// Computed levels end with the first one that has at most so many bytes.
    pub coarsest_bytes: u64,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            pyramid: Pyramid::default(),
            statistics: Statistics::default(),
            conversions: Conversions::default(),
            default_unit_um: 1.0,
            on_error: OnError::default(),
            // `ImarisWriter` `GetOptimalImagePyramid`: 1 Mi bytes.
            coarsest_bytes: 1 << 20,
        }
    }
}

/// What readers get for voxels of a chunk that exists and cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// An I/O error.
    #[default]
    Error,
    /// The fill value.
    Fill,
}

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
    /// The machine, or what this process may use of it, is too small for a brick.
    #[error("{0}")]
    NoMemory(#[from] NoMemory),
    /// A fault of this program, in the production of these bytes alone.
    #[error("internal fault while producing the bytes")]
    Fault,
    /// The bytes were given up: those who produced them ended without an answer.
    #[error("given up before the bytes were produced")]
    Abandoned,
}

impl ImageError {
    /// Whether the store is not any more as it was when the file was opened.
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

/// Runs `work`; a panic in it, a fault of this program, costs its reader an error and nothing else.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a task panicked; its readers get an I/O error");
        Err(ImageError::Fault)
    })
}

/// Locks, also after a panic elsewhere: that is an error of the brick it happened to, see [`guarded`].
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
