//! Where each slot of the metadata region lies.

use crate::ims::describe::ImsFile;
use crate::ims::header::{AttributeType, attribute_bytes};
use crate::ims::names::Names;
use crate::ims::text::LONGEST_DECIMALS_3;
use crate::ims::{schema, superblock, template};

use super::group::{GroupSlot, info_bytes};

/// Slots of histograms begin on a page: who reads one does not have its neighbour measured.
const PAGE_BYTES: u64 = 4096;

/// Least room of a slot in which groups of datasets begin at different places, so that libhdf5 finds them soon: it
/// keeps what it has read of a file in lists, of which the bits 3 to 18 of an address select one (`H5Cpkg.h`,
/// `H5C__HASH_FCN`). Of 8000 groups that all begin with a slot of 16 KiB, 250 are in each of 32 lists.
const SPREAD_BYTES: u64 = 1 << 10;

/// Addresses of objects are multiples of this.
const ALIGN_BYTES: u64 = 8;

/// Bytes kept for the pixels of the thumbnail: RGBA.
const THUMBNAIL_BYTES: u64 = 4 * (schema::THUMBNAIL_SIDE as u64) * (schema::THUMBNAIL_SIDE as u64);

/// Beyond this, sums of addresses could overflow.
const MOST_BYTES: u64 = 1 << 60;

/// The addresses of a metadata region: numbers, whose memory depends on texts alone.
#[derive(Debug, Clone)]
pub struct MetadataLayout {
    pub(super) root: GroupSlot,
    pub(super) data_set: GroupSlot,
    pub(super) info: GroupSlot,
    /// Slots of the groups of texts that belong to no channel.
    pub(super) texts: Vec<u64>,
    pub(super) time_info: GroupSlot,
    /// Where the stamps begin in the header of `TimeInfo`.
    pub(super) stamps: u64,
    pub(super) thumbnail: GroupSlot,
    pub(super) levels: Vec<LevelSlots>,
    /// Where what is fixed ends.
    fixed_end: u64,
    /// Distance between the slots of the groups of channels under `DataSetInfo`, which begin there.
    channel_stride: u64,
    pub(super) channels: u64,
    pub(super) time_points: u64,
    /// Where the pixels of the thumbnail begin.
    pub(super) pixels: u64,
    bytes: u64,
}

/// The slots of a resolution level.
#[derive(Debug, Clone)]
pub(super) struct LevelSlots {
    pub(super) group: GroupSlot,
    /// The group of time point 0. The others follow.
    pub(super) time_point: GroupSlot,
    /// Distance between the slots of time points.
    pub(super) time_stride: u64,
    /// The group of dataset 0, with all histograms: where the slots of datasets begin.
    pub(super) channel: GroupSlot,
    /// Distance between the slots of datasets.
    stride: u64,
    /// At how many places of a slot its group can begin: an odd number, as strides are powers of two or have large ones
    /// for a factor. With the header of `Data` it lies in one page: two would look like a sequence to the kernel, which
    /// would read ahead.
    places: u64,
}

/// What a byte of the region depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataPart {
    /// The description alone.
    Fixed,
    /// The displayed range of this channel.
    Channel(usize),
    /// The histograms of a dataset, which has the number `t * channels + c`, at this level.
    Dataset {
        /// Resolution level, 0 = finest.
        level: usize,
        /// Number of the dataset within the level: `t * channels + c`.
        dataset: u64,
    },
    /// The pixels of the thumbnail.
    Thumbnail,
}

impl MetadataLayout {
    /// Lays out the metadata of a file; `None` when they would be too long. Takes time in proportion to the texts
    /// of `file`, not to the number of its time points.
    #[must_use]
    pub fn new(file: &ImsFile) -> Option<Self> {
        let text = AttributeType::Text;
        let root_attributes = schema::ROOT_ATTRIBUTES
            .map(|(name, value)| attribute_bytes(text, name.len(), value.len()));
        let count = attribute_bytes(AttributeType::U32, schema::NUMBER_OF_DATA_SETS.len(), 4);
        let root = GroupSlot::new(
            superblock::BYTES,
            root_attributes.iter().sum::<u64>() + count,
            Names::listed(schema::ROOT_GROUPS.map(str::to_owned)),
        );
        let level_names = Names::numbered(schema::LEVEL, file.levels.len() as u64);
        let data_set = GroupSlot::new(root.end(), 0, level_names);
        let info = GroupSlot::new(data_set.end(), 0, info_names(file));
        let mut at = info.end();
        let mut texts = Vec::with_capacity(schema::info_groups(file));
        for number in 0..schema::info_groups(file) {
            texts.push(at);
            at += info_bytes(&schema::info_group(file, number));
        }
        let (time_info, stamps) = time_info(file, at);
        let data = Names::listed([schema::DATA.to_owned()]);
        let thumbnail = GroupSlot::new(time_info.end(), 0, data);
        let mut at = thumbnail.end() + template::HEADER_BYTES;
        let mut levels = Vec::with_capacity(file.levels.len());
        for level in &file.levels {
            let slots = LevelSlots::new(file, level, at);
            at = slots.time_point.at;
            at = at.checked_add(file.time_points.checked_mul(slots.time_stride)?)?;
            levels.push(slots);
        }
        let fixed_end = at;
        let channels = file.channels.len() as u64;
        let channel_stride = channel_bytes(file) | ALIGN_BYTES;
        at = at.checked_add(channels.checked_mul(channel_stride)?)?;
        let datasets = file.time_points.checked_mul(channels)?;
        for level in &mut levels {
            level.channel = level.channel.moved(at.checked_next_multiple_of(PAGE_BYTES)?);
            at = level.channel.at.checked_add(datasets.checked_mul(level.stride)?)?;
        }
        let bytes = at.checked_add(THUMBNAIL_BYTES)?.checked_next_multiple_of(PAGE_BYTES)?;
        (bytes <= MOST_BYTES).then_some(Self {
            root,
            data_set,
            info,
            texts,
            time_info,
            stamps,
            thumbnail,
            levels,
            fixed_end,
            channel_stride,
            channels,
            time_points: file.time_points,
            pixels: at,
            bytes,
        })
    }

    /// Bytes of the region.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the byte at `offset` depends on, and how many bytes from there on depend on the same.
    ///
    /// # Panics
    /// At and beyond the end of the region.
    #[must_use]
    pub fn locate(&self, offset: u64) -> (MetadataPart, u64) {
        assert!(offset < self.bytes, "byte {offset} of {}", self.bytes);
        if offset < self.fixed_end {
            return (MetadataPart::Fixed, self.fixed_end - offset);
        }
        let channel = (offset - self.fixed_end) / self.channel_stride;
        if channel < self.channels {
            let part = MetadataPart::Channel(usize::try_from(channel).unwrap_or(usize::MAX));
            return (part, self.channel_text(channel + 1) - offset);
        }
        if offset >= self.pixels {
            return (MetadataPart::Thumbnail, self.bytes - offset);
        }
        let datasets = self.time_points * self.channels;
        let level = self.levels.partition_point(|level| level.channel.at <= offset);
        if let Some(number) = level.checked_sub(1) {
            let level = &self.levels[number];
            let (dataset, within) = (
                (offset - level.channel.at) / level.stride,
                (offset - level.channel.at) % level.stride,
            );
            if dataset < datasets {
                let part = MetadataPart::Dataset { level: number, dataset };
                return (part, level.stride - within);
            }
        }
        // The alignment before the slots of a level.
        let next = self.levels.get(level).map_or(self.pixels, |level| level.channel.at);
        (MetadataPart::Fixed, next - offset)
    }

    /// Where the group of a channel under `DataSetInfo` begins.
    pub(super) fn channel_text(&self, c: u64) -> u64 {
        self.fixed_end + c * self.channel_stride
    }
}

impl LevelSlots {
    /// The groups of a level from `at` on; that of dataset 0 is moved to its place by the caller.
    fn new(file: &ImsFile, level: &crate::ims::ImsLevel, at: u64) -> Self {
        let group = GroupSlot::new(at, 0, Names::numbered(schema::TIME_POINT, file.time_points));
        let channels = Names::numbered(schema::CHANNEL, file.channels.len() as u64);
        let time_point = GroupSlot::new(group.end(), 0, channels);
        let sizes = schema::size_attributes(level)
            .map(|(name, value)| attribute_bytes(AttributeType::Text, name.len(), value.len()));
        let mut attributes = sizes.iter().sum::<u64>();
        let mut datasets = template::HEADER_BYTES;
        for (names, bins) in schema::histograms(file.voxel_type) {
            let range = names
                .range
                .map(|name| attribute_bytes(AttributeType::Text, name.len(), LONGEST_DECIMALS_3));
            attributes += range.iter().sum::<u64>();
            datasets += template::HEADER_BYTES + 8 * *bins as u64;
        }
        let channel = GroupSlot::new(0, attributes, channel_names(file));
        let bytes = channel.bytes() + datasets;
        let stride = (bytes + SPREAD_BYTES).next_multiple_of(PAGE_BYTES);
        // Odd multiples, for the same reason as an odd number of places.
        let time_stride = time_point.bytes() | ALIGN_BYTES;
        let head = channel.bytes() + template::HEADER_BYTES;
        let room = (stride - bytes).min(PAGE_BYTES.saturating_sub(head));
        let places = (room / ALIGN_BYTES) | 1;
        Self { group, time_point, time_stride, channel, stride, places }
    }

    /// Where the group of a time point begins.
    pub(super) fn time_point(&self, t: u64) -> u64 {
        self.time_point.at + t * self.time_stride
    }

    /// Where the group of a dataset begins.
    pub(super) fn dataset(&self, dataset: u64) -> u64 {
        self.channel.at + dataset * self.stride + dataset % self.places * ALIGN_BYTES
    }
}

/// Bytes of the longest group of a channel under `DataSetInfo`. Of channels that are not described, the last one has
/// the longest.
fn channel_bytes(file: &ImsFile) -> u64 {
    let last = file.channels.len().saturating_sub(1);
    let described = file.channels.described().iter().enumerate();
    let described = described.map(|(c, channel)| schema::channel_group(c, channel, None));
    let longest = described.map(|group| info_bytes(&group)).max().unwrap_or(0);
    longest.max(info_bytes(&schema::channel_group(last, &file.channels.get(last), None)))
}

/// The datasets of a channel: `Data`, and the histograms.
pub(super) fn channel_names(file: &ImsFile) -> Names {
    let histograms = schema::histograms(file.voxel_type).iter().map(|(names, _)| names.dataset);
    Names::listed([schema::DATA].into_iter().chain(histograms).map(str::to_owned))
}

/// `TimeInfo` first, then the groups of texts by their number.
fn info_names(file: &ImsFile) -> Names {
    let texts = (0..schema::info_groups(file)).map(|number| schema::info_group_name(file, number));
    let listed = [schema::TIME_INFO.to_owned()].into_iter().chain(texts);
    Names::numbered(schema::CHANNEL, file.channels.len() as u64).and(listed)
}

/// The group of the stamps, and where they begin in its header.
fn time_info(file: &ImsFile, at: u64) -> (GroupSlot, u64) {
    let count = file.time_points.to_string();
    let counts = schema::TIME_COUNTS
        .map(|name| attribute_bytes(AttributeType::Text, name.len(), count.len()));
    let counts = counts.iter().sum::<u64>();
    let stamps = file.time_points.saturating_mul(schema::STAMP_BYTES);
    let group = GroupSlot::new(at, counts.saturating_add(stamps), Names::listed([]));
    let stamps = at + crate::ims::header::GROUP_BYTES + counts;
    (group, stamps)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ims::VoxelType;

    #[test]
    fn groups_of_datasets_begin_in_one_page_and_at_many_places() {
        for voxel_type in [VoxelType::U8, VoxelType::U16, VoxelType::F32] {
            let file = ImsFile { voxel_type, time_points: 4000, ..ImsFile::sample() };
            for level in MetadataLayout::new(&file).expect("small").levels {
                let mut lists = HashMap::<u64, u64>::new();
                for dataset in 0..8000 {
                    let slot = level.channel.at + dataset * level.stride;
                    let group = level.channel.moved(level.dataset(dataset));
                    assert!(group.at >= slot);
                    assert!(group.end() + template::HEADER_BYTES <= slot + PAGE_BYTES);
                    *lists.entry(group.at >> 3 & 0xFFFF).or_default() += 1;
                }
                assert!(lists.values().all(|&groups| groups <= 2), "{voxel_type:?} {lists:?}");
            }
        }
    }
}
