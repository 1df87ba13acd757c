//! How images become files: what the user chooses.

use super::conversions::Conversions;

/// How the images of a mount become files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageOptions {
    /// Where levels come from.
    pub pyramid: Pyramid,
    /// Shape of the HDF5 chunks.
    pub chunk: ChunkShape,
    /// How histograms and ranges are made.
    pub statistics: Statistics,
    /// How voxel types that Imaris lacks are converted.
    pub conversions: Conversions,
    /// Unit of lengths that a store states without one, in micrometres.
    pub default_unit_um: f64,
    /// What readers get for a damaged chunk.
    pub on_error: OnError,
    /// The coarsest computed level is the first one of at most this many bytes.
    pub coarsest_bytes: u64,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            pyramid: Pyramid::default(),
            chunk: ChunkShape::default(),
            statistics: Statistics::default(),
            conversions: Conversions::default(),
            default_unit_um: 1.0,
            on_error: OnError::default(),
            // `ImarisWriter` `GetOptimalImagePyramid`: 1 Mi bytes.
            coarsest_bytes: 1 << 20,
        }
    }
}

/// What readers get for the voxels of a chunk that exists and cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// An I/O error.
    #[default]
    Error,
    /// The fill value.
    Fill,
}

/// Where levels may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pyramid {
    /// The store's levels where they fit, computed ones where they are missing.
    #[default]
    Auto,
    /// The store's levels only, each a half of the one above.
    Source,
    /// Level 0 of the store, all others computed by `ImarisWriter`'s rule.
    Imaris,
}

/// Shape of the HDF5 chunks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkShape {
    /// For each level, from the chunks of its source.
    #[default]
    Auto,
    /// In voxels, order (z, y, x); cut to the size of each level. At most [`CHUNK_VOXELS_LIMIT`] voxels, and
    /// none of the sides is 0.
    Given([u64; 3]),
}

/// Most voxels of a chunk that a person chooses: 16 MiB of the widest type, which is as much as a brick of
/// several chunks of a store may have. HDF5 would take 4 GiB, which no cache of a reader holds.
pub(crate) const CHUNK_VOXELS_LIMIT: u64 = 4 << 20;

/// How the statistics of large images are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Statistics {
    /// From a level, or a sample, that is small enough to open at once.
    #[default]
    Fast,
    /// From all voxels.
    Exact,
}
