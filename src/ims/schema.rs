//! The fixed names and the text content of an Imaris file.
//!
//! Both the room of a slot and its bytes are made from these lists, so that neither can know an attribute the
//! other does not.

use std::borrow::Cow;

use super::channels::ImsChannel;
use super::describe::{ImsFile, ImsLevel, ImsSection, MAX_ATTRIBUTE_BYTES, VoxelType};
use super::text::{self, LONGEST_DECIMALS_3, decimals_3, encode_name, value_bytes};

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

/// The groups under the root.
pub(super) const ROOT_GROUPS: [&str; 3] = [DATA_SET, DATA_SET_INFO, THUMBNAIL];

/// The names of a histogram of a channel.
pub(super) struct HistogramNames {
    pub(super) dataset: &'static str,
    /// The attributes of the channel that hold the values of its first and its last bin.
    pub(super) range: [&'static str; 2],
}

/// The histograms of a channel, and the most bins that each has.
const HISTOGRAMS: [(HistogramNames, usize); 2] = [
    (
        HistogramNames { dataset: "Histogram", range: ["HistogramMin", "HistogramMax"] },
        HISTOGRAM_BINS,
    ),
    (
        HistogramNames {
            dataset: "Histogram1024",
            range: ["HistogramMin1024", "HistogramMax1024"],
        },
        HISTOGRAM_1024_BINS,
    ),
];

/// The histograms that channels of a type have.
pub(super) fn histograms(voxel_type: VoxelType) -> &'static [(HistogramNames, usize)] {
    if voxel_type.has_histogram_1024() { &HISTOGRAMS } else { &HISTOGRAMS[..1] }
}

/// Names of groups that have a number behind them, from 0 on.
pub(super) const LEVEL: &str = "ResolutionLevel ";
pub(super) const TIME_POINT: &str = "TimePoint ";
pub(super) const CHANNEL: &str = "Channel ";

/// The group of time stamps.
pub(super) const TIME_INFO: &str = "TimeInfo";

/// The attributes of [`TIME_INFO`] that are no stamps; both hold the number of time points.
pub(super) const TIME_COUNTS: [&str; 2] = ["DatasetTimePoints", "FileTimePoints"];

/// The name of a stamp: time points are counted from one here, and only here (Imaris5FileFormat.pdf 6).
pub(super) fn stamp_name(t: u64) -> String {
    format!("TimePoint{}", t + 1)
}

/// Bytes of the attribute of any stamp: its name takes 16 whatever the number, and the longest value, with
/// milliseconds, no more than one without.
pub(super) const STAMP_BYTES: u64 = 88;

/// The true size of a level, on every channel group of it (Imaris5FileFormat.pdf 3.1).
pub(super) fn size_attributes(level: &ImsLevel) -> [(&'static str, String); 3] {
    let [z, y, x] = level.size.map(|side| side.to_string());
    [("ImageSizeX", x), ("ImageSizeY", y), ("ImageSizeZ", z)]
}

/// A group under `/DataSetInfo`.
pub(super) struct InfoGroup<'a> {
    /// Name in the file, already encoded.
    pub(super) name: String,
    pub(super) entries: Vec<InfoEntry<'a>>,
}

/// One text of an [`InfoGroup`]: an attribute, or a dataset if it is long.
pub(super) struct InfoEntry<'a> {
    pub(super) key: Cow<'a, str>,
    /// Bytes as stored, never empty.
    pub(super) value: Cow<'a, [u8]>,
}

impl InfoEntry<'_> {
    /// Whether this is a dataset. Source: `ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttribute`.
    pub(super) fn is_dataset(&self) -> bool {
        self.value.len() > MAX_ATTRIBUTE_BYTES
    }

    /// Name in the file. Only names of datasets are paths, so only these are encoded.
    pub(super) fn name(&self) -> String {
        if self.is_dataset() { encode_name(&self.key) } else { self.key.replace('\0', "") }
    }
}

/// Groups under `/DataSetInfo` that each file has, beside those of channels and times.
const OWN_GROUPS: [&str; 4] = ["Image", "Log", "ImarisDataSet", "Imaris"];

/// The number of groups that [`info_group`] gives.
pub(super) fn info_groups(file: &ImsFile) -> usize {
    OWN_GROUPS.len() + file.sections.len()
}

/// A group under `/DataSetInfo` by its number, but for those of channels and times.
pub(super) fn info_group(file: &ImsFile, number: usize) -> InfoGroup<'_> {
    match number {
        0 => image_group(file),
        1 => group(OWN_GROUPS[1], [("Entries", "0")]),
        2 => group(
            OWN_GROUPS[2],
            [
                ("Creator", "zarrims"),
                ("NumberOfImages", "1"),
                ("Version", env!("CARGO_PKG_VERSION")),
            ],
        ),
        3 => group(OWN_GROUPS[3], [("Version", FORMAT_VERSION)]),
        _ => section_group(&file.sections[number - OWN_GROUPS.len()]),
    }
}

/// The name of the same group.
pub(super) fn info_group_name(file: &ImsFile, number: usize) -> String {
    let own = OWN_GROUPS.get(number).map(|name| (*name).to_owned());
    own.unwrap_or_else(|| encode_name(&file.sections[number - OWN_GROUPS.len()].name))
}

/// A group of foreign text.
pub(super) fn section_group(section: &ImsSection) -> InfoGroup<'_> {
    group(&section.name, section.entries.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Whether a group under `/DataSetInfo` that is no section has this name.
pub(super) fn is_own_group(name: &str, channels: usize) -> bool {
    let number = name.strip_prefix(CHANNEL).and_then(|number| number.parse::<usize>().ok());
    let is_channel = number.is_some_and(|c| c < channels && name == format!("{CHANNEL}{c}"));
    is_channel || name == TIME_INFO || OWN_GROUPS.contains(&name)
}

/// Sources: Imaris5FileFormat.pdf 3.2; `ImarisWriter` `bpWriterHDF5.cxx`.
fn image_group(file: &ImsFile) -> InfoGroup<'_> {
    let size = file.levels.first().map_or([0; 3], |level| level.size);
    let mut entries: Vec<(Cow<str>, Cow<str>)> = vec![];
    for (axis, (name, side)) in ["X", "Y", "Z"].into_iter().zip(size.into_iter().rev()).enumerate()
    {
        entries.push((name.into(), side.to_string().into()));
        let [min, max] = text::extent(file.extent_min_um[axis], file.extent_max_um[axis]);
        entries.push((format!("ExtMin{axis}").into(), min.into()));
        entries.push((format!("ExtMax{axis}").into(), max.into()));
        entries.push((format!("ResampleDimension{name}").into(), "true".into()));
    }
    for (key, value) in [
        ("Unit", "um"),
        ("Name", &file.name),
        ("Description", &file.description),
        ("RecordingDate", &file.recording_date),
    ] {
        entries.push((key.into(), value.into()));
    }
    let details = file.details.iter();
    entries.extend(details.map(|(key, value)| (key.as_str().into(), value.as_str().into())));
    group(OWN_GROUPS[0], entries)
}

/// The group of a channel; without a displayed range, with the longest text that one can have. Source:
/// `ImarisWriter` `bpWriterHDF5.cxx`.
pub(super) fn channel_group(
    c: usize,
    channel: &ImsChannel,
    range: Option<(f64, f64)>,
) -> InfoGroup<'_> {
    let color = channel.color.map(|part| decimals_3(f64::from(part))).join(" ");
    let range = match range {
        Some((black, full)) => text::range(black, full).join(" "),
        None => "0".repeat(2 * LONGEST_DECIMALS_3 + 1),
    };
    let fixed: [(&str, Cow<str>); 7] = [
        ("Name", channel.name.as_str().into()),
        ("Description", channel.description.as_ref().into()),
        ("ColorMode", "BaseColor".into()),
        ("Color", color.into()),
        ("ColorRange", range.into()),
        ("ColorOpacity", "1.000".into()),
        ("GammaCorrection", "1.000".into()),
    ];
    let details = channel.details.iter();
    let details = details.map(|(key, value)| (key.as_str(), value.as_str().into()));
    group(&format!("{CHANNEL}{c}"), fixed.into_iter().chain(details))
}

fn group<'a, K: Into<Cow<'a, str>>, V: Into<Cow<'a, str>>>(
    name: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> InfoGroup<'a> {
    let entries = entries
        .into_iter()
        .map(|(key, value)| InfoEntry { key: key.into(), value: value_bytes(value.into()) });
    InfoGroup { name: encode_name(name), entries: entries.collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ims::{ChannelHistograms, Histogram, TimeStamps};

    impl ImsFile {
        /// A small file, for tests elsewhere.
        pub(crate) fn sample() -> Self {
            sample()
        }
    }

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
            channels: vec![channel("Ch 0", [0.0, 1.0, 0.0]), channel("Ch 1", [1.0, 0.0, 0.0])]
                .into(),
            extent_min_um: [10.0, 20.0, 30.0],
            extent_max_um: [117.5, 119.5, 136.0],
            name: "reference image".into(),
            description: "synthetic ramp".into(),
            details: vec![("LensPower".into(), "63".into())],
            recording_date: "2022-01-01 08:30:00".into(),
            time_stamps: TimeStamps::new(Some(1_641_025_800_000), Some(2.5), None, 2),
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

    /// Histograms that take the most room: longest range texts, most bins.
    pub(in crate::ims) fn fullest(file: &ImsFile) -> ChannelHistograms {
        let histogram =
            |bins: usize| Histogram { min: f64::MIN, max: f64::MIN, bins: vec![7; bins] };
        let has_second = file.voxel_type != VoxelType::U8;
        ChannelHistograms {
            histogram: histogram(HISTOGRAM_BINS),
            histogram_1024: has_second.then(|| histogram(HISTOGRAM_1024_BINS)),
        }
    }

    #[test]
    fn own_names_are_those_of_all_groups_but_the_sections() {
        let file = ImsFile { sections: Vec::new(), ..sample() };
        for number in 0..info_groups(&file) {
            let name = info_group_name(&file, number);
            assert_eq!(info_group(&file, number).name, name);
            assert!(is_own_group(&name, 2));
        }
        for (name, is_own) in [
            ("TimeInfo", true),
            ("Channel 1", true),
            ("Channel 2", false),
            ("Channel 01", false),
            ("Channel +1", false),
        ] {
            assert_eq!(is_own_group(name, 2), is_own, "{name}");
        }
    }

    #[test]
    fn long_texts_become_datasets_with_encoded_names() {
        let mut file = sample();
        file.sections[0].entries[1].0 = "a/b%".into();
        let custom = info_group(&file, info_groups(&file) - 1);
        assert_eq!(custom.name, "Custom%sSection 100%p");
        assert!(!custom.entries[0].is_dataset());
        assert!(custom.entries[1].is_dataset());
        assert_eq!(custom.entries[1].name(), "a%sb%p");
    }
}
