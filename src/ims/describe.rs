//! The description of an Imaris file: plain data.
//!
//! [`ImsFile`] is everything known without reading a pixel, and decides where all metadata lie.

use super::channels::ImsChannels;
use super::packing::Packing;
use super::time_stamps::TimeStamps;

/// Longest text that is stored as an attribute; a longer one becomes a dataset.
///
/// Source: `ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttribute`.
pub(super) const MAX_ATTRIBUTE_BYTES: usize = 1024;

/// The types of voxel an Imaris file can hold, all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VoxelType {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits: `ImarisWriter` does not know it.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// IEEE 754 binary32.
    F32,
}

impl VoxelType {
    /// Bytes per voxel.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }

    /// Whether channels of this type carry a `Histogram1024`.
    ///
    /// Source: `ImarisWriter` `bpWriterHDF5.cxx`, `WriteHistogram`; Imaris5FileFormat.pdf 3.1.
    #[must_use]
    pub const fn has_histogram_1024(self) -> bool {
        !matches!(self, Self::U8)
    }
}

/// One resolution level. Shapes are (z, y, x) in voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImsLevel {
    /// True size: what `ImageSizeX/Y/Z` say.
    pub size: [u64; 3],
    /// Shape of an HDF5 chunk.
    pub chunk: [u64; 3],
}

impl ImsLevel {
    /// Number of chunks along (z, y, x): size over chunk, rounded up.
    ///
    /// # Panics
    ///
    /// If a chunk side is zero.
    #[must_use]
    pub fn grid(&self) -> [u64; 3] {
        std::array::from_fn(|axis| self.size[axis].div_ceil(self.chunk[axis]))
    }

    /// Shape of `Data`: whole chunks, as Imaris5FileFormat.pdf 3.1 demands.
    ///
    /// # Panics
    ///
    /// If a chunk side is zero.
    #[must_use]
    pub fn padded(&self) -> [u64; 3] {
        let grid = self.grid();
        std::array::from_fn(|axis| grid[axis].saturating_mul(self.chunk[axis]))
    }
}

/// A group of free text under `/DataSetInfo`; Imaris lists it in its image properties
/// (Imaris5FileFormat.pdf 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImsSection {
    /// Section name, as the user shall see it.
    pub name: String,
    /// Keys and values, in the order they are written.
    pub entries: Vec<(String, String)>,
}

/// All that is known of a file without reading a pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct ImsFile {
    /// Type of every voxel.
    pub voxel_type: VoxelType,
    /// Resolution levels, finest first.
    pub levels: Vec<ImsLevel>,
    /// Number of time points.
    pub time_points: u64,
    /// The channels.
    pub channels: ImsChannels,
    /// Outer faces of the first voxel, (x, y, z) in micrometres.
    pub extent_min_um: [f64; 3],
    /// Outer faces of the last voxel, (x, y, z) in micrometres.
    pub extent_max_um: [f64; 3],
    /// Image name; at most 1024 bytes.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Further attributes of `DataSetInfo/Image`, such as `LensPower`, in the order they are
    /// written.
    pub details: Vec<(String, String)>,
    /// Time of the first time point, `YYYY-MM-DD HH:MM:SS[.mmm]`; empty where it is not known.
    pub recording_date: String,
    /// One per time point, in the same form, strictly increasing.
    pub time_stamps: TimeStamps,
    /// Further groups of text.
    pub sections: Vec<ImsSection>,
    /// How chunks are compressed; `None`: they are not.
    pub packing: Option<Packing>,
}

/// A histogram of equal bins over `[min, max]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Value of the first bin.
    pub min: f64,
    /// Value of the last bin.
    pub max: f64,
    /// Voxels per bin.
    pub bins: Vec<u64>,
}

/// The histograms of one channel at one level and time point.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelHistograms {
    /// 256 bins.
    pub histogram: Histogram,
    /// Up to 1024 bins; never for [`VoxelType::U8`].
    pub histogram_1024: Option<Histogram>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_padded_to_whole_chunks() {
        let level = ImsLevel { size: [53, 199, 215], chunk: [32, 128, 128] };
        assert_eq!(level.grid(), [2, 2, 2]);
        assert_eq!(level.padded(), [64, 256, 256]);
    }
}
