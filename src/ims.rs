//! The Imaris 5.5 file schema: from a description of an image to the bytes around its voxels.
//!
//! An `.ims` file is an HDF5 file with a fixed tree of groups. This layer makes its two parts
//! that are not voxels:
//!
//! * the **metadata region** ([`MetadataLayout`], [`MetadataWriter`]): superblock, groups, attributes, histograms,
//!   thumbnail and the headers of one `Data` dataset per resolution level, time point and channel, in the oldest
//!   layout of the format. The HDF5 library writes one header of each kind of dataset ([`Templates`]); what repeats
//!   is computed;
//! * the **chunk index** ([`ChunkIndex`]): the version 1 B-tree of each `Data` dataset, computed node by node from
//!   numbers alone.
//!
//! Both are laid out, and the size of the file is known, from its description alone.
//!
//! Nothing here knows where voxels come from. Sizes on disk are in bytes and shapes are (z, y, x)
//! in voxels, unless a name says otherwise.
//!
//! The rules of the schema come from the format maker's description (`Imaris5FileFormat.pdf` in
//! imaris/ImarisWriter) and, where it is silent or disagrees with existing files, from the maker's
//! writer (`writer/bpWriterHDF5.cxx` there). Binary structures cite the HDF5 File Format
//! Specification, version 3.0.

mod channels;
mod chunk_index;
mod describe;
#[expect(unsafe_code, reason = "calls of the HDF5 C library that its safe crate does not offer")]
mod hdf5;
mod header;
mod library;
mod metadata;
mod names;
mod packing;
mod schema;
mod superblock;
mod symbol_table;
mod template;
mod text;
mod time_stamps;
mod validate;
mod window;

pub use channels::{ImsChannel, ImsChannels, NO_DESCRIPTION, channel_color, channel_name};
pub use chunk_index::{ChunkIndex, StoredChunk};
pub use describe::{ChannelHistograms, Histogram, ImsFile, ImsLevel, ImsSection, VoxelType};
pub use library::Library;
pub use metadata::{MetadataLayout, MetadataPart, MetadataWriter, Pixels};
pub use packing::Packing;
pub use template::Templates;
pub use time_stamps::TimeStamps;
pub use validate::{MAX_TIME_POINTS, validate_counts};

/// Why no metadata could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImsError {
    /// A count or size that must be at least one is zero.
    #[error("{what} is empty")]
    Empty {
        /// The empty thing.
        what: &'static str,
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
    /// The histogram of a dataset does not have the number of bins it must have.
    #[error("histogram of level {level}, dataset {dataset} has {bins} bins")]
    HistogramBins {
        /// Resolution level.
        level: usize,
        /// Number of the dataset within the level: `t * channels + c`.
        dataset: u64,
        /// Number of bins given.
        bins: u64,
    },
    /// The thumbnail is empty or larger than 256 pixels on a side.
    #[error("thumbnail of {width} x {height} pixels")]
    Thumbnail {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// What is said of pixels is not what this part of the metadata tells.
    #[error("pixels do not belong to {part:?}")]
    Pixels {
        /// The part.
        part: MetadataPart,
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
    /// An object is longer than the room kept for it.
    #[error("an object of the metadata takes {needed} bytes, {capacity} were reserved")]
    Capacity {
        /// Its length in bytes.
        needed: u64,
        /// Room in bytes.
        capacity: u64,
    },
    /// A header written by the library is not what it should be.
    #[error("unexpected header of the HDF5 library: {problem}")]
    Template {
        /// What was found.
        problem: &'static str,
    },
}
