//! The description of an Imaris file: plain data, and the check that a file can be made of it.
//!
//! [`ImsFile`] is everything known without reading a pixel; [`PixelMetadata`] is the rest. Only
//! the first decides the length reserved for the metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ImsError;
use super::chunk_index::MAX_CHUNKS;
use super::schema;
use super::text;

/// Longest text that is stored as an attribute; a longer one becomes a dataset.
///
/// Source: `ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttribute`.
pub(super) const MAX_ATTRIBUTE_BYTES: usize = 1024;

/// Longest section name or key, in bytes. An attribute, name and value together, must stay below
/// the 64 KiB of one object header message (HDF5 specification, section IV.A.1.a).
const MAX_NAME_BYTES: usize = 1024;

/// Most attributes on one group: a version 1 object header counts its messages in 16 bits (HDF5
/// specification, section IV.A.1.a), and the library does not notice the overflow. The rest is
/// left for the messages that are not attributes.
const MAX_ATTRIBUTES: u64 = 65_000;

/// Most bytes of one dataset: addresses are signed in the library's file drivers.
const MAX_DATA_BYTES: u64 = 1 << 62;

/// The types of voxel an Imaris file can hold, all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VoxelType {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits: none of the maker's types.
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

/// One channel, as under `/DataSetInfo/Channel c`.
#[derive(Debug, Clone, PartialEq)]
pub struct ImsChannel {
    /// Name shown to the user; at most 1024 bytes.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Base colour (red, green, blue), each 0 to 1.
    pub color: [f32; 3],
    /// Further attributes, such as `LSMEmissionWavelength`, in the order they are written.
    pub details: Vec<(String, String)>,
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
    pub channels: Vec<ImsChannel>,
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
    pub time_stamps: Vec<String>,
    /// Further groups of text.
    pub sections: Vec<ImsSection>,
}

impl ImsFile {
    /// Checks what [`build_skeleton`](super::build_skeleton) demands of a description, so that a file
    /// can be refused when it is planned and not when it is first read. Left to it are the names that
    /// are this program's own.
    ///
    /// # Errors
    ///
    /// [`ImsError::Empty`], [`ImsError::Count`], [`ImsError::TooLarge`], [`ImsError::Extent`] or
    /// [`ImsError::Name`].
    pub fn validate(&self) -> Result<(), ImsError> {
        let empty = |what| Err(ImsError::Empty { what });
        if self.levels.is_empty() {
            return empty("list of resolution levels");
        }
        if self.channels.is_empty() {
            return empty("list of channels");
        }
        if self.time_points == 0 {
            return empty("list of time points");
        }
        check_count("time stamps", self.time_stamps.len(), self.time_points)?;
        for level in &self.levels {
            self.validate_level(level)?;
        }
        let bounds = self.extent_min_um.iter().zip(&self.extent_max_um);
        if let Some(axis) = bounds.into_iter().position(|(a, b)| !(a.is_finite() && b.is_finite()))
        {
            return Err(ImsError::Extent { axis });
        }
        for name in self.channels.iter().map(|channel| &channel.name).chain([&self.name]) {
            check_limit(
                "length of a name in bytes",
                name.len() as u64,
                MAX_ATTRIBUTE_BYTES as u64,
            )?;
        }
        self.validate_foreign_names()
    }

    fn validate_level(&self, level: &ImsLevel) -> Result<(), ImsError> {
        if level.size.contains(&0) || level.chunk.contains(&0) {
            return Err(ImsError::Empty { what: "resolution level or its chunk" });
        }
        let product =
            |sides: [u64; 3], unit: u64| sides.into_iter().fold(unit, u64::saturating_mul);
        let bytes = self.voxel_type.bytes() as u64;
        // A chunk's size is a 32-bit field of its B-tree key (HDF5 specification, III.A.1).
        check_limit("chunk size in bytes", product(level.chunk, bytes), u64::from(u32::MAX))?;
        check_limit("number of chunks of a level", product(level.grid(), 1), MAX_CHUNKS)?;
        check_limit("size of a level in bytes", product(level.padded(), bytes), MAX_DATA_BYTES)
    }

    /// Checks the names in all groups.
    pub(super) fn validate_names(&self) -> Result<(), ImsError> {
        let mut taken = BTreeSet::new();
        // Any ranges: only names are looked at.
        let ranges = vec![(0.0, 0.0); self.channels.len()];
        for group in schema::info_groups(self, &ranges) {
            check_group(&mut taken, group)?;
        }
        self.sections.iter().try_for_each(|section| check_name(&section.name, &section.name))
    }

    /// Checks the names of the sections alone, which are foreign text; the rest is of this program, and
    /// takes long to be put into words.
    ///
    /// # Errors
    ///
    /// [`ImsError::Name`] and [`ImsError::TooLarge`], as for [`ImsFile::validate`].
    pub fn validate_foreign_names(&self) -> Result<(), ImsError> {
        let mut taken = schema::own_group_names(self.channels.len());
        for group in schema::section_groups(self) {
            check_group(&mut taken, group)?;
        }
        self.sections.iter().try_for_each(|section| check_name(&section.name, &section.name))
    }
}

/// Checks the names in a group, and that its own is none of those that are taken.
fn check_group(taken: &mut BTreeSet<String>, group: schema::InfoGroup) -> Result<(), ImsError> {
    check_limit("attributes of a group", group.entries.len() as u64, MAX_ATTRIBUTES)?;
    let mut keys = BTreeSet::new();
    for entry in &group.entries {
        check_name(&group.name, &entry.key)?;
        if !keys.insert(entry.name()) {
            return Err(name_error(&group.name, &entry.key, "it occurs twice"));
        }
    }
    if taken.contains(&group.name) {
        return Err(name_error(&group.name, &group.name, "it is taken"));
    }
    taken.insert(group.name);
    Ok(())
}

fn check_count(what: &'static str, found: usize, expected: u64) -> Result<(), ImsError> {
    let found = found as u64;
    if found == expected { Ok(()) } else { Err(ImsError::Count { what, found, expected }) }
}

fn check_limit(what: &'static str, value: u64, limit: u64) -> Result<(), ImsError> {
    if value <= limit { Ok(()) } else { Err(ImsError::TooLarge { what, value, limit }) }
}

fn check_name(section: &str, name: &str) -> Result<(), ImsError> {
    let plain = text::without_nul(name);
    let reason = match plain.as_slice() {
        [] => "it is empty",
        // The library takes "." for the group one stands in.
        b"." => "a single dot names the group itself",
        long if long.len() > MAX_NAME_BYTES => "it is longer than 1024 bytes",
        _ => return Ok(()),
    };
    Err(name_error(section, name, reason))
}

fn name_error(section: &str, name: &str, reason: &'static str) -> ImsError {
    ImsError::Name { section: section.to_owned(), name: name.to_owned(), reason }
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

/// A small RGBA picture of the image, longer side 256 pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Width in pixels, 1 to 256.
    pub width: u32,
    /// Height in pixels, 1 to 256.
    pub height: u32,
    /// Rows of red, green, blue, alpha: 4 * width * height bytes.
    pub rgba: Vec<u8>,
}

/// What can only be known from the pixels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PixelMetadata {
    /// Histograms by (level, time point, channel). A channel without an entry is written without
    /// histograms, as the maker's writer does when it counted nothing.
    pub histograms: BTreeMap<(usize, u64, usize), Arc<ChannelHistograms>>,
    /// Displayed range (black, full colour) of each channel.
    pub color_ranges: Vec<(f64, f64)>,
    /// The thumbnail, if there is one.
    pub thumbnail: Option<Thumbnail>,
}

impl PixelMetadata {
    /// The histograms of one channel at one level and time point.
    #[must_use]
    pub fn histograms(&self, level: usize, t: u64, c: usize) -> Option<&ChannelHistograms> {
        self.histograms.get(&(level, t, c)).map(Arc::as_ref)
    }

    /// Checks that this belongs to `file` and fits the room its capacity keeps.
    pub(super) fn validate(&self, file: &ImsFile) -> Result<(), ImsError> {
        check_count("colour ranges", self.color_ranges.len(), file.channels.len() as u64)?;
        for (&(level, time_point, channel), found) in &self.histograms {
            let error = |bins: usize| ImsError::HistogramBins {
                level,
                time_point,
                channel,
                bins: bins as u64,
            };
            if found.histogram.bins.len() != schema::HISTOGRAM_BINS {
                return Err(error(found.histogram.bins.len()));
            }
            if let Some(large) = &found.histogram_1024 {
                let allowed = file.voxel_type.has_histogram_1024();
                if !allowed || !(1..=schema::HISTOGRAM_1024_BINS).contains(&large.bins.len()) {
                    return Err(error(large.bins.len()));
                }
            }
        }
        if let Some(Thumbnail { width, height, rgba }) = &self.thumbnail {
            let sides = 1..=schema::THUMBNAIL_SIDE;
            let bytes = rgba.len() as u64;
            let expected = 4 * u64::from(*width) * u64::from(*height);
            if !sides.contains(width) || !sides.contains(height) || bytes != expected {
                return Err(ImsError::Thumbnail { width: *width, height: *height, bytes });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ims::schema::tests::sample;

    #[test]
    fn a_level_is_padded_to_whole_chunks() {
        let level = ImsLevel { size: [53, 199, 215], chunk: [32, 128, 128] };
        assert_eq!(level.grid(), [2, 2, 2]);
        assert_eq!(level.padded(), [64, 256, 256]);
    }

    #[test]
    fn a_sound_description_passes() {
        sample().validate().unwrap();
        sample().validate_foreign_names().unwrap();
    }

    #[test]
    fn names_that_hdf5_or_imaris_would_misread_are_refused() {
        for name in ["", ".", "\0", "Image", "Channel 0", "TimeInfo"] {
            let mut file = sample();
            file.sections.push(ImsSection { name: name.into(), entries: vec![] });
            assert!(matches!(file.validate(), Err(ImsError::Name { .. })), "{name:?}");
            let foreign = file.validate_foreign_names();
            assert!(matches!(foreign, Err(ImsError::Name { .. })), "{name:?}");
        }
        let mut file = sample();
        file.sections[0].entries = vec![("a".into(), "1".into()), ("a\0".into(), "2".into())];
        assert!(matches!(file.validate(), Err(ImsError::Name { .. })));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let mut file = sample();
        file.levels[0].chunk = [1 << 20, 1 << 20, 1];
        assert!(matches!(file.validate(), Err(ImsError::TooLarge { .. })));
        let mut file = sample();
        file.levels[0] = ImsLevel { size: [u64::MAX; 3], chunk: [1, 64, 64] };
        assert!(matches!(file.validate(), Err(ImsError::TooLarge { .. })));
        let mut file = sample();
        file.levels[0].size[1] = 0;
        assert!(matches!(file.validate(), Err(ImsError::Empty { .. })));
        let mut file = sample();
        file.time_stamps.pop();
        assert!(matches!(file.validate(), Err(ImsError::Count { .. })));
        let mut file = sample();
        file.extent_max_um[1] = f64::NAN;
        assert!(matches!(file.validate(), Err(ImsError::Extent { axis: 1 })));
    }
}
