//! The fixed names and the text content of an Imaris file.
//!
//! Both the skeleton and the bound on its length are made from these lists, so that neither can
//! know an attribute the other does not.

use std::collections::BTreeSet;

use super::describe::{ImsChannel, ImsFile, ImsLevel, ImsSection, MAX_ATTRIBUTE_BYTES};
use super::text::{self, decimals_3, encode_name, value_bytes};

/// Bins of `Histogram` (Imaris5FileFormat.pdf 3.1).
pub(super) const HISTOGRAM_BINS: usize = 256;

/// Most bins of `Histogram1024` (`ImarisWriter` `bpHistogram.cxx`).
pub(super) const HISTOGRAM_1024_BINS: usize = 1024;

/// Longer side of the thumbnail in pixels (`ImarisWriter` `bpThumbnailBuilder.cxx`).
pub(super) const THUMBNAIL_SIDE: u32 = 256;

/// Version of the file format, and the `Version` of the `Imaris` group. Readers compare the root
/// attribute with exactly this text.
const FORMAT_VERSION: &str = "5.5.0";

pub(super) const DATA_SET: &str = "DataSet";
pub(super) const DATA_SET_INFO: &str = "DataSetInfo";
pub(super) const THUMBNAIL: &str = "Thumbnail";
pub(super) const DATA: &str = "Data";
pub(super) const HISTOGRAM: &str = "Histogram";
pub(super) const HISTOGRAM_1024: &str = "Histogram1024";

/// The one attribute that is not text: a uint32 of one element.
pub(super) const NUMBER_OF_DATA_SETS: &str = "NumberOfDataSets";

/// Text attributes of the root group (`ImarisWriter` `bpWriterHDF5.cxx`, `WriteDatasetHeader`).
pub(super) const ROOT_ATTRIBUTES: [(&str, &str); 5] = [
    ("ImarisDataSet", "ImarisDataSet"),
    ("ImarisVersion", FORMAT_VERSION),
    ("DataSetDirectoryName", DATA_SET),
    ("DataSetInfoDirectoryName", DATA_SET_INFO),
    ("ThumbnailDirectoryName", THUMBNAIL),
];

/// Attributes of a channel group that hold the range of `Histogram`, then of `Histogram1024`.
pub(super) const RANGE_ATTRIBUTES: [[&str; 2]; 2] =
    [["HistogramMin", "HistogramMax"], ["HistogramMin1024", "HistogramMax1024"]];

pub(super) fn level_name(level: usize) -> String {
    format!("ResolutionLevel {level}")
}

pub(super) fn time_point_name(t: u64) -> String {
    format!("TimePoint {t}")
}

pub(super) fn channel_name(c: usize) -> String {
    format!("Channel {c}")
}

/// The true size of a level, on every channel group of it (Imaris5FileFormat.pdf 3.1).
pub(super) fn size_attributes(level: &ImsLevel) -> [(&'static str, String); 3] {
    let [z, y, x] = level.size.map(|side| side.to_string());
    [("ImageSizeX", x), ("ImageSizeY", y), ("ImageSizeZ", z)]
}

/// A group under `/DataSetInfo`.
pub(super) struct InfoGroup {
    /// Name in the file, already encoded.
    pub(super) name: String,
    pub(super) entries: Vec<InfoEntry>,
}

/// One text of an [`InfoGroup`]: an attribute, or a dataset if it is long.
pub(super) struct InfoEntry {
    pub(super) key: String,
    /// Bytes as stored, never empty.
    pub(super) value: Vec<u8>,
}

impl InfoEntry {
    /// Whether this is a dataset. Source: `ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttribute`.
    pub(super) fn is_dataset(&self) -> bool {
        self.value.len() > MAX_ATTRIBUTE_BYTES
    }

    /// Name in the file. Only names of datasets are paths, so only these are encoded.
    pub(super) fn name(&self) -> String {
        if self.is_dataset() { encode_name(&self.key) } else { self.key.replace('\0', "") }
    }
}

/// The groups under `/DataSetInfo`, in the order they are written.
///
/// `color_ranges` gives the displayed range of each channel; without one the longest possible
/// text stands in its place.
pub(super) fn info_groups(file: &ImsFile, color_ranges: &[(f64, f64)]) -> Vec<InfoGroup> {
    let mut groups = vec![image_group(file)];
    for (c, channel) in file.channels.iter().enumerate() {
        let range = color_ranges.get(c).copied().unwrap_or((f64::MIN, f64::MIN));
        groups.push(channel_group(c, channel, range));
    }
    groups.push(time_group(file));
    groups.push(group("Log", [("Entries", "0")]));
    groups.push(group(
        "ImarisDataSet",
        [("Creator", "zarrims"), ("NumberOfImages", "1"), ("Version", env!("CARGO_PKG_VERSION"))],
    ));
    groups.push(group("Imaris", [("Version", FORMAT_VERSION)]));
    groups.extend(section_groups(file));
    groups
}

/// The groups of foreign text.
pub(super) fn section_groups(file: &ImsFile) -> impl Iterator<Item = InfoGroup> {
    let entries = |section: &ImsSection| {
        group(&section.name, section.entries.iter().map(|(key, value)| (key, value)))
    };
    file.sections.iter().map(entries)
}

/// Names of the groups that [`info_groups`] makes beside those.
pub(super) fn own_group_names(channels: usize) -> BTreeSet<String> {
    let fixed = ["Image", "TimeInfo", "Log", "ImarisDataSet", "Imaris"].map(str::to_owned);
    fixed.into_iter().chain((0..channels).map(channel_name)).collect()
}

/// Sources: Imaris5FileFormat.pdf 3.2; `ImarisWriter` `bpWriterHDF5.cxx`.
fn image_group(file: &ImsFile) -> InfoGroup {
    let size = file.levels.first().map_or([0; 3], |level| level.size);
    let mut entries: Vec<(String, String)> = vec![];
    for (axis, (name, side)) in ["X", "Y", "Z"].into_iter().zip(size.into_iter().rev()).enumerate()
    {
        entries.push((name.to_owned(), side.to_string()));
        let [min, max] = text::extent(file.extent_min_um[axis], file.extent_max_um[axis]);
        entries.push((format!("ExtMin{axis}"), min));
        entries.push((format!("ExtMax{axis}"), max));
        entries.push((format!("ResampleDimension{name}"), "true".to_owned()));
    }
    for (key, value) in [
        ("Unit", "um"),
        ("Name", &file.name),
        ("Description", &file.description),
        ("RecordingDate", &file.recording_date),
    ] {
        entries.push((key.to_owned(), value.to_owned()));
    }
    entries.extend(file.details.iter().cloned());
    group("Image", entries)
}

/// Source: `ImarisWriter` `bpWriterHDF5.cxx`.
fn channel_group(c: usize, channel: &ImsChannel, (black, full): (f64, f64)) -> InfoGroup {
    let color = channel.color.map(|part| decimals_3(f64::from(part))).join(" ");
    let range = text::range(black, full).join(" ");
    let fixed = [
        ("Name", channel.name.as_str()),
        ("Description", &channel.description),
        ("ColorMode", "BaseColor"),
        ("Color", &color),
        ("ColorRange", &range),
        ("ColorOpacity", "1.000"),
        ("GammaCorrection", "1.000"),
    ];
    let details = channel.details.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    group(&channel_name(c), fixed.into_iter().chain(details))
}

/// Time points are counted from one here, and only here (Imaris5FileFormat.pdf 6).
fn time_group(file: &ImsFile) -> InfoGroup {
    let count = file.time_points.to_string();
    let mut entries =
        vec![("DatasetTimePoints".to_owned(), count.clone()), ("FileTimePoints".to_owned(), count)];
    for (t, stamp) in file.time_stamps.iter().enumerate() {
        entries.push((format!("TimePoint{}", t + 1), stamp.clone()));
    }
    group("TimeInfo", entries)
}

fn group<K: AsRef<str>, V: AsRef<str>>(
    name: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> InfoGroup {
    let entries = entries.into_iter().map(|(key, value)| InfoEntry {
        key: key.as_ref().to_owned(),
        value: value_bytes(value.as_ref()),
    });
    InfoGroup { name: encode_name(name), entries: entries.collect() }
}

/// Bytes of a local heap that holds these link names.
///
/// Names end with a NUL byte and are padded to 8; the first is the empty name, and room for one
/// free block (two 8-byte fields) is kept so that the library never has to round a remainder away
/// (HDF5 specification, section III.D).
pub(super) fn heap_bytes(names: impl IntoIterator<Item = impl AsRef<str>>) -> usize {
    let names = names.into_iter().map(|name| (name.as_ref().len() + 1).next_multiple_of(8));
    8 + names.sum::<usize>() + 16
}

/// The heap of a channel group.
pub(super) fn channel_heap_bytes() -> usize {
    heap_bytes([DATA, HISTOGRAM, HISTOGRAM_1024])
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ims::{ChannelHistograms, Histogram, PixelMetadata, Thumbnail, VoxelType};

    /// Two levels, two time points, two channels, a section with a long text.
    pub(in crate::ims) fn sample() -> ImsFile {
        let channel = |name: &str, color| ImsChannel {
            name: name.into(),
            description: "(description not specified)".into(),
            color,
            details: vec![("LSMEmissionWavelength".into(), "500".into())],
        };
        ImsFile {
            voxel_type: VoxelType::U16,
            levels: vec![
                ImsLevel { size: [53, 199, 215], chunk: [8, 16, 32] },
                ImsLevel { size: [26, 99, 107], chunk: [8, 32, 32] },
            ],
            time_points: 2,
            channels: vec![channel("Ch 0", [0.0, 1.0, 0.0]), channel("Ch 1", [1.0, 0.0, 0.0])],
            extent_min_um: [10.0, 20.0, 30.0],
            extent_max_um: [117.5, 119.5, 136.0],
            name: "reference image".into(),
            description: "synthetic ramp".into(),
            details: vec![("LensPower".into(), "63".into())],
            recording_date: "2022-01-01 08:30:00".into(),
            time_stamps: vec!["2022-01-01 08:30:00".into(), "2022-01-01 08:30:02.500".into()],
            packing: None,
            sections: vec![ImsSection {
                name: "Custom/Section 100%".into(),
                entries: vec![
                    ("a key".into(), "a value".into()),
                    ("long".into(), "x".repeat(1500)),
                ],
            }],
        }
    }

    /// Pixel metadata that takes the most room: longest range texts, most bins, largest thumbnail.
    pub(in crate::ims) fn fullest_pixels(file: &ImsFile) -> PixelMetadata {
        let histogram =
            |bins: usize| Histogram { min: f64::MIN, max: f64::MIN, bins: vec![7; bins] };
        let fullest = Arc::new(ChannelHistograms {
            histogram: histogram(HISTOGRAM_BINS),
            histogram_1024: (file.voxel_type != VoxelType::U8)
                .then(|| histogram(HISTOGRAM_1024_BINS)),
        });
        let channels = || 0..file.channels.len();
        let time_points =
            |level| (0..file.time_points).flat_map(move |t| channels().map(move |c| (level, t, c)));
        let places = (0..file.levels.len()).flat_map(time_points);
        PixelMetadata {
            histograms: places.map(|place| (place, fullest.clone())).collect(),
            color_ranges: vec![(f64::MIN, f64::MIN); file.channels.len()],
            thumbnail: Some(Thumbnail { width: 256, height: 256, rgba: vec![9; 256 * 1024] }),
        }
    }

    #[test]
    fn own_names_are_those_of_all_groups_but_the_sections() {
        let file = ImsFile { sections: Vec::new(), ..sample() };
        let names = info_groups(&file, &[]).into_iter().map(|group| group.name).collect();
        assert_eq!(own_group_names(file.channels.len()), names);
    }

    #[test]
    fn long_texts_become_datasets_with_encoded_names() {
        let mut file = sample();
        file.sections[0].entries[1].0 = "a/b%".into();
        let groups = info_groups(&file, &[]);
        let custom = groups.last().unwrap();
        assert_eq!(custom.name, "Custom%sSection 100%p");
        assert!(!custom.entries[0].is_dataset());
        assert!(custom.entries[1].is_dataset());
        assert_eq!(custom.entries[1].name(), "a%sb%p");
    }

    #[test]
    fn time_points_count_from_one() {
        let group = time_group(&sample());
        let names: Vec<_> = group.entries.iter().map(InfoEntry::name).collect();
        assert_eq!(names, ["DatasetTimePoints", "FileTimePoints", "TimePoint1", "TimePoint2"]);
    }
}
