//! Maps what a store says of an image to the names that Imaris has for it.
//!
//! Facts that Imaris has names for get them (`ImarisWriter` `bpWriterHDF5.cxx`, Imaris5FileFormat.pdf 3.2). The
//! others become sections of their own below `/DataSetInfo`, which Imaris lists in its image properties.

use crate::ims::ImsSection;
use crate::source::facts::{Fact, Microscope, Subject, TEXT_LIMIT_BYTES, TOTAL_LIMIT_BYTES};
use crate::source::image::{ChannelSource, ImageSource, Title};

/// Entries kept of one section, and sections kept of one image.
const ENTRY_LIMIT: usize = 500;

/// The section of what goes for the whole store.
const STORE_SECTION: &str = "OME-Zarr";

/// Groups that every Imaris file has.
const TAKEN_SECTIONS: [&str; 5] = ["Image", "TimeInfo", "Log", "ImarisDataSet", "Imaris"];

/// Keys that Bio-Formats takes for the size of the image, whatever section they are in (`ImarisHDFReader`).
const TAKEN_KEYS: [&str; 17] = [
    "X",
    "Y",
    "Z",
    "ImageSizeX",
    "ImageSizeY",
    "ImageSizeZ",
    "FileTimePoints",
    "NumberOfChannels",
    "RecordingEntrySampleSpacing",
    "RecordingEntryLineSpacing",
    "RecordingEntryPlaneSpacing",
    "ExtMin0",
    "ExtMin1",
    "ExtMin2",
    "ExtMax0",
    "ExtMax1",
    "ExtMax2",
];

/// Further attributes of `/DataSetInfo/Image`.
pub(super) fn image_details(microscope: &Microscope) -> Vec<(String, String)> {
    present([
        ("LensPower", microscope.lens_power.map(number)),
        ("NumericalAperture", microscope.numerical_aperture.map(number)),
        ("ManufactorString", microscope.manufacturer.clone()),
        ("ManufactorType", microscope.model.clone()),
    ])
}

/// Further attributes of `/DataSetInfo/Channel c`.
pub(super) fn channel_details(channel: &ChannelSource) -> Vec<(String, String)> {
    present([
        ("LSMEmissionWavelength", channel.emission_nm.map(number)),
        ("LSMExcitationWavelength", channel.excitation_nm.map(number)),
        ("LSMPinhole", channel.pinhole_um.map(number)),
        ("MicroscopeMode", channel.acquisition_mode.clone()),
    ])
}

/// The sections of an image, in the order they are written.
pub(super) fn sections(image: &ImageSource) -> Vec<ImsSection> {
    let mut sections = Sections::default();
    for (key, value) in provenance(image) {
        sections.add(STORE_SECTION, &key, &value);
    }
    for Fact { subject, key, value } in &image.facts {
        match subject {
            Subject::Store => sections.add(STORE_SECTION, key, value),
            Subject::Part { element, channel: None } => sections.add(element, key, value),
            Subject::Part { element, channel: Some(c) } => {
                sections.add(&format!("{element} of channel {c}"), key, value);
            }
            Subject::Attribute(name) => sections.add(name, key, value),
        }
    }
    sections.sections
}

/// Where the image lies, and what its store is.
fn provenance(image: &ImageSource) -> Vec<(String, String)> {
    let first = image.levels[0].parts().first();
    let mut axes: Vec<(usize, &str)> = first
        .map_or([None; 5], |part| part.axes)
        .into_iter()
        .zip(["t", "c", "z", "y", "x"])
        .filter_map(|(axis, name)| Some((axis?, name)))
        .collect();
    axes.sort_unstable();
    let stated = &image.provenance;
    present([
        ("Store", Some(image.store.display().to_string())),
        ("Image", Some(image.image.clone()).filter(|path| !path.is_empty())),
        // `Name` is that of the well.
        ("StatedName", stated_name(image)),
        ("NGFFVersion", stated.ngff_version.clone()),
        ("ZarrFormat", first.map(|part| part.array.zarr_format().to_string())),
        ("Axes", first.map(|_| axes.into_iter().map(|(_, name)| name).collect())),
        ("DataType", Some(image.source_type().name().to_owned())),
        ("Method", stated.method.clone()),
        ("Orientation", stated.orientation.clone()),
        ("Flipped", flipped(image.is_flipped)),
    ])
}

/// The name that an image of a plate has of its own.
fn stated_name(image: &ImageSource) -> Option<String> {
    let is_field = matches!(image.title, Some(Title::Field(_)));
    image.name.clone().filter(|_| is_field)
}

/// The axes along which voxels are stored backwards: their scale is negative. Order (x, y, z).
fn flipped(is_flipped: [bool; 3]) -> Option<String> {
    let names = ["x", "y", "z"].into_iter().zip(is_flipped);
    let found: Vec<&str> = names.filter(|(_, flipped)| *flipped).map(|(name, _)| name).collect();
    (!found.is_empty()).then(|| format!("{} (negative scale)", found.join(", ")))
}

fn present<const N: usize>(details: [(&str, Option<String>); N]) -> Vec<(String, String)> {
    details.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// As short as it is exact.
fn number(value: f64) -> String {
    value.to_string()
}

/// Collects sections within their limits.
#[derive(Default)]
struct Sections {
    sections: Vec<ImsSection>,
    bytes: usize,
}

impl Sections {
    fn add(&mut self, section: &str, key: &str, value: &str) {
        let [mut section, mut key] = [section, key].map(|name| name.replace('\0', ""));
        // Bio-Formats takes the rest of such a name for the number of a channel.
        let is_channel = section.starts_with("Channel ") || section.starts_with("Channel_");
        if is_channel || TAKEN_SECTIONS.contains(&section.as_str()) {
            section = format!("Zarr {section}");
        }
        if TAKEN_KEYS.contains(&key.as_str()) {
            key = format!("Zarr {key}");
        }
        let value = &value[..value.floor_char_boundary(TEXT_LIMIT_BYTES)];
        self.bytes += section.len() + key.len() + value.len();
        let is_unusable = |name: &str| name.is_empty() || name == ".";
        if self.bytes > TOTAL_LIMIT_BYTES || is_unusable(&section) || is_unusable(&key) {
            return;
        }
        let at = self.sections.iter().position(|known| known.name == section);
        let at = at.unwrap_or(self.sections.len());
        if at == self.sections.len() {
            if at == ENTRY_LIMIT {
                return;
            }
            self.sections.push(ImsSection { name: section, entries: Vec::new() });
        }
        let entries = &mut self.sections[at].entries;
        if entries.len() < ENTRY_LIMIT && entries.iter().all(|(known, _)| *known != key) {
            entries.push((key, value.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all sections and entries.
    fn names(sections: &Sections) -> Vec<(&str, Vec<&str>)> {
        sections
            .sections
            .iter()
            .map(|section| {
                let keys = section.entries.iter().map(|(key, _)| key.as_str());
                (section.name.as_str(), keys.collect())
            })
            .collect()
    }

    #[test]
    fn names_that_readers_take_for_something_else_are_marked() {
        let mut sections = Sections::default();
        sections.add("Image", "a.b", "[1,2]");
        sections.add("Image", "c", "null");
        sections.add("Channel 3", "x", "y");
        sections.add("Channel of channel 0", "x", "y");
        sections.add("Channels", "NumberOfChannels", "many");
        sections.add("Objective", "Model", "first");
        sections.add("Objective", "Model", "second");
        sections.add("", "x", "y");
        sections.add("a\0b", ".", "y");
        assert_eq!(
            names(&sections),
            [
                ("Zarr Image", vec!["a.b", "c"]),
                ("Zarr Channel 3", vec!["x"]),
                ("Zarr Channel of channel 0", vec!["x"]),
                ("Channels", vec!["Zarr NumberOfChannels"]),
                ("Objective", vec!["Model"]),
            ]
        );
        assert_eq!(sections.sections[4].entries[0].1, "first");
    }

    #[test]
    fn rubbish_is_bounded() {
        let mut sections = Sections::default();
        for number in 0..2 * ENTRY_LIMIT {
            sections.add("one", &number.to_string(), "");
            sections.add(&number.to_string(), "\u{e4}\0", "v");
        }
        assert_eq!(sections.sections.len(), ENTRY_LIMIT);
        assert_eq!(sections.sections[0].entries.len(), ENTRY_LIMIT);
        assert_eq!(sections.sections[1].entries[0].0, "\u{e4}");
        let mut sections = Sections::default();
        for number in 0..50 {
            sections.add("long", &number.to_string(), &"\u{e4}".repeat(TEXT_LIMIT_BYTES));
        }
        assert_eq!(sections.sections[0].entries.len(), TOTAL_LIMIT_BYTES / TEXT_LIMIT_BYTES - 1);
    }

    #[test]
    fn channels_have_the_names_of_imaris() {
        let channel = ChannelSource {
            emission_nm: Some(520.0),
            pinhole_um: Some(1.25),
            acquisition_mode: Some("WideField".to_owned()),
            ..ChannelSource::default()
        };
        let expected = [
            ("LSMEmissionWavelength", "520"),
            ("LSMPinhole", "1.25"),
            ("MicroscopeMode", "WideField"),
        ];
        assert_eq!(channel_details(&channel), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
