//! The Imaris 5.5 file schema: from a description of an image to the bytes around its voxels.
//!
//! An `.ims` file is an HDF5 file with a fixed tree of groups. This layer makes its two parts
//! that are not voxels:
//!
//! * the **metadata skeleton** ([`build_skeleton`]): superblock, groups, attributes, histograms,
//!   thumbnail and one `Data` dataset per resolution level, time point and channel. The HDF5
//!   library writes it, in memory, in the oldest layout of the format;
//! * the **chunk index** ([`ChunkIndex`]): the version 1 B-tree of each `Data` dataset, computed
//!   node by node from numbers alone. The skeleton's `Data` headers are *grafted*: each points at
//!   a root node the library never wrote.
//!
//! [`metadata_capacity`] bounds the skeleton's length before any pixel is known, so a file can be
//! laid out, and its size computed, from its description alone.
//!
//! Nothing here knows where voxels come from. Sizes on disk are in bytes and shapes are (z, y, x)
//! in voxels, unless a name says otherwise.
//!
//! The rules of the schema come from the format maker's description (`Imaris5FileFormat.pdf` in
//! imaris/ImarisWriter) and, where it is silent or disagrees with existing files, from the maker's
//! writer (`writer/bpWriterHDF5.cxx` there). Binary structures cite the HDF5 File Format
//! Specification, version 3.0.

mod capacity;
mod chunk_index;
mod describe;
mod graft;
#[expect(unsafe_code, reason = "calls of the HDF5 C library that its safe crate does not offer")]
mod hdf5;
mod library;
mod packing;
mod schema;
mod skeleton;
mod text;
mod validate;

pub use capacity::metadata_capacity;
pub use chunk_index::{ChunkIndex, StoredChunk};
pub use describe::{
    ChannelHistograms, Histogram, ImsChannel, ImsFile, ImsLevel, ImsSection, PixelMetadata,
    Thumbnail, VoxelType,
};
pub use library::Library;
pub use packing::Packing;
pub use skeleton::build_skeleton;

/// Why no skeleton could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImsError {
    /// A count or size that must be at least one is zero.
    #[error("{what} is empty")]
    Empty {
        /// The empty thing.
        what: &'static str,
    },
    /// Two lists that must agree in length do not.
    #[error("{what}: {found} given, {expected} needed")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many were given.
        found: u64,
        /// How many are needed.
        expected: u64,
    },
    /// A number beyond what the format, or a 63-bit file address, can hold.
    #[error("{what} is {value}, above the limit of {limit}")]
    TooLarge {
        /// The number.
        what: &'static str,
        /// Its value; saturated if it does not fit.
        value: u64,
        /// The largest value allowed.
        limit: u64,
    },
    /// An image bound is infinite or not a number.
    #[error("extent of axis {axis} is not finite (axis 0 is x)")]
    Extent {
        /// The axis: 0 is x, 1 is y, 2 is z.
        axis: usize,
    },
    /// A section name or key that cannot name an HDF5 object or attribute.
    #[error("{name:?} in section {section:?} is not usable as a name: {reason}")]
    Name {
        /// The section it stands in.
        section: String,
        /// The name refused.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The histogram of a channel does not have the number of bins its dataset must have.
    #[error(
        "histogram of level {level}, time point {time_point}, channel {channel} has {bins} bins"
    )]
    HistogramBins {
        /// Resolution level.
        level: usize,
        /// Time point.
        time_point: u64,
        /// Channel.
        channel: usize,
        /// Number of bins given.
        bins: u64,
    },
    /// The thumbnail is empty, larger than 256 pixels on a side, or its bytes do not fit its size.
    #[error("thumbnail of {width} x {height} pixels with {bytes} bytes")]
    Thumbnail {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Number of bytes given.
        bytes: u64,
    },
    /// A call of the HDF5 library failed.
    #[error("hdf5 could not {action} {object:?}")]
    Hdf5 {
        /// What was attempted.
        action: &'static str,
        /// Name of the object it was attempted on.
        object: String,
        /// The library's own error stack.
        #[source]
        source: hdf5_metno::Error,
    },
    /// The skeleton is longer than the room kept for it.
    #[error("metadata takes {needed} bytes, {capacity} were reserved")]
    Capacity {
        /// Length of the skeleton in bytes.
        needed: u64,
        /// Room in bytes.
        capacity: u64,
    },
    /// The skeleton written by the library is not laid out as the graft expects.
    #[error("unexpected metadata layout at byte {address}: {problem}")]
    Graft {
        /// Byte address in the skeleton.
        address: u64,
        /// What was found.
        problem: &'static str,
    },
}
