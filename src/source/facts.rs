//! Metadata that no other part of this program needs, kept as text: where an image comes from, how
//! it was acquired, what else its store says of it.
//!
//! Sources are the attributes of the image's group, as far as OME-NGFF gives them no meaning, and the
//! OME-XML that bioformats2raw puts beside its images (OME-NGFF 0.4, "bioformats2raw.layout"). What
//! Imaris has names for gets them (`ImarisWriter` `bpWriterHDF5.cxx`, Imaris5FileFormat.pdf 3.2); the
//! rest becomes sections of its own, which Imaris lists in its image properties.

use serde_json::{Map, Value};

use super::image::{ChannelSource, ImageSource, Section};
use super::json::text;
use super::ome_xml::{Fact, XmlChannel, XmlImage};

/// Entries kept of one section, and sections kept of one image.
const ENTRY_LIMIT: usize = 500;

/// Bytes of a text that is kept; a longer one is cut.
const TEXT_LIMIT_BYTES: usize = 16 << 10;

/// Bytes of a key or section name.
const NAME_LIMIT_BYTES: usize = 200;

/// Bytes kept of one image: all of it is part of what every opening reads.
const TOTAL_LIMIT_BYTES: usize = 256 << 10;

/// Attributes whose meaning is read elsewhere, or that describe storage.
const KNOWN_ATTRIBUTES: [&str; 10] = [
    "multiscales",
    "omero",
    "ome",
    "plate",
    "well",
    "labels",
    "image-label",
    "bioformats2raw.layout",
    "version",
    "_ARRAY_DIMENSIONS",
];

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

/// Adds to an image what its attributes and its OME-XML say.
pub(crate) fn describe(
    image: &mut ImageSource,
    attributes: &Map<String, Value>,
    xml: Option<XmlImage>,
) {
    let mut sections = Sections::default();
    sections.add_provenance(image, attributes);
    if let Some(xml) = xml {
        add_xml(image, &mut sections, xml);
    }
    let ome = attributes.get("ome").and_then(Value::as_object);
    for (key, value) in attributes.iter().chain(ome.into_iter().flatten()) {
        if !KNOWN_ATTRIBUTES.contains(&key.as_str()) {
            sections.add_attribute(key, value);
        }
    }
    image.sections = sections.finish();
}

fn add_xml(image: &mut ImageSource, sections: &mut Sections, xml: XmlImage) {
    image.name = image.name.take().or(xml.name);
    image.description = xml.description.map(|text| cut(&text, TEXT_LIMIT_BYTES).to_owned());
    image.acquired_ms = xml.acquired_ms;
    let details = [
        ("LensPower", xml.lens_power.map(number)),
        ("NumericalAperture", xml.numerical_aperture.map(number)),
        ("ManufactorString", xml.manufacturer),
        ("ManufactorType", xml.model),
    ];
    image.details.extend(present(details));
    sections.add_facts("", xml.facts);
    let [_, channels, ..] = image.levels[0].shape();
    // Where one channel stands for several samples, which is which is not told.
    if xml.channels.len() as u64 == channels {
        image.channels.resize_with(xml.channels.len(), ChannelSource::default);
        for (c, (channel, xml)) in image.channels.iter_mut().zip(xml.channels).enumerate() {
            add_channel(channel, sections, c, xml);
        }
    }
}

fn add_channel(channel: &mut ChannelSource, sections: &mut Sections, c: usize, xml: XmlChannel) {
    channel.name = channel.name.take().or(xml.name).or(xml.fluor);
    channel.color = channel.color.or(xml.color);
    let details = [
        ("LSMEmissionWavelength", xml.emission_nm.map(number)),
        ("LSMExcitationWavelength", xml.excitation_nm.map(number)),
        ("LSMPinhole", xml.pinhole_um.map(number)),
        ("MicroscopeMode", xml.acquisition_mode),
    ];
    let known: Vec<String> = channel.details.iter().map(|(key, _)| key.clone()).collect();
    channel.details.extend(present(details).filter(|(key, _)| !known.contains(key)));
    sections.add_facts(&format!(" of channel {c}"), xml.facts);
}

fn present<const N: usize>(
    details: [(&str, Option<String>); N],
) -> impl Iterator<Item = (String, String)> {
    let present = details.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    present.collect::<Vec<_>>().into_iter()
}

/// As short as it is exact.
fn number(value: f64) -> String {
    value.to_string()
}

/// Cuts a text at a character boundary.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Sections in the making, within their limits.
#[derive(Default)]
struct Sections {
    sections: Vec<Section>,
    bytes: usize,
}

impl Sections {
    /// Where the image lies, and what its store is.
    fn add_provenance(&mut self, image: &ImageSource, attributes: &Map<String, Value>) {
        let ome = attributes.get("ome").and_then(Value::as_object).unwrap_or(attributes);
        let multiscale = ome
            .get("multiscales")
            .and_then(Value::as_array)
            .and_then(|entries| entries.get(image.multiscale));
        let version = |value: Option<&Value>| value?.get("version").and_then(text);
        let ngff = ome.get("version").and_then(text).or_else(|| version(multiscale));
        let first = &image.levels[0];
        let axes: String = ["t", "c", "z", "y", "x"]
            .into_iter()
            .zip(first.axes)
            .filter_map(|(name, axis)| axis.map(|axis| (axis, name)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_values()
            .collect();
        let entries = [
            ("Store", Some(image.store.display().to_string())),
            ("Image", Some(image.image.clone()).filter(|path| !path.is_empty())),
            ("NGFFVersion", ngff),
            ("ZarrFormat", Some(first.array.zarr_format().to_string())),
            ("Axes", Some(axes)),
            ("DataType", Some(image.source_type().name().to_owned())),
            ("Method", multiscale.and_then(|multiscale| multiscale.get("type")).and_then(text)),
            ("Orientation", multiscale.and_then(orientation)),
            ("Flipped", flipped(image.is_flipped)),
        ];
        for (key, value) in present(entries) {
            self.add("OME-Zarr", &key, &value);
        }
    }

    fn add_facts(&mut self, of: &str, facts: Vec<Fact>) {
        for Fact { section, key, value } in facts {
            self.add(&format!("{section}{of}"), key, &value);
        }
    }

    /// An object becomes a section; anything else stands with the provenance.
    fn add_attribute(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(members) => self.add_members(cut(key, NAME_LIMIT_BYTES), "", members),
            other => self.add("OME-Zarr", key, &plain(other)),
        }
    }

    fn add_members(&mut self, section: &str, prefix: &str, members: &Map<String, Value>) {
        for (key, value) in members {
            if self.bytes > TOTAL_LIMIT_BYTES {
                return;
            }
            let key = cut(key, NAME_LIMIT_BYTES);
            let key = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(members) => self.add_members(section, &key, members),
                other => self.add(section, &key, &plain(other)),
            }
        }
    }

    fn add(&mut self, section: &str, key: &str, value: &str) {
        if self.bytes > TOTAL_LIMIT_BYTES {
            return;
        }
        let clean = |name: &str| cut(name, NAME_LIMIT_BYTES).replace('\0', "");
        let (mut section, mut key) = (clean(section), clean(key));
        // Bio-Formats takes the rest of such a name for the number of a channel.
        let is_channel = section.starts_with("Channel ") || section.starts_with("Channel_");
        if is_channel || TAKEN_SECTIONS.contains(&section.as_str()) {
            section = format!("Zarr {section}");
        }
        if TAKEN_KEYS.contains(&key.as_str()) {
            key = format!("Zarr {key}");
        }
        let value = cut(value, TEXT_LIMIT_BYTES);
        self.bytes += section.len() + key.len() + value.len();
        let unusable = |name: &str| name.is_empty() || name == ".";
        if self.bytes > TOTAL_LIMIT_BYTES || unusable(&section) || unusable(&key) {
            return;
        }
        let at = self.sections.iter().position(|(name, _)| *name == section);
        let at = at.unwrap_or_else(|| {
            self.sections.push((section, Vec::new()));
            self.sections.len() - 1
        });
        if at >= ENTRY_LIMIT {
            self.sections.truncate(ENTRY_LIMIT);
            return;
        }
        let entries = &mut self.sections[at].1;
        if entries.len() < ENTRY_LIMIT && entries.iter().all(|(known, _)| *known != key) {
            entries.push((key, value.to_owned()));
        }
    }

    fn finish(self) -> Vec<Section> {
        self.sections
    }
}

/// Anatomical orientation of each axis (OME-NGFF RFC-4), such as `z: inferior-to-superior`.
fn orientation(multiscale: &Value) -> Option<String> {
    let axes = multiscale.get("axes")?.as_array()?;
    let of = |axis: &Value| {
        let value = axis.get("orientation")?.get("value").and_then(text)?;
        Some(format!("{}: {value}", axis.get("name").and_then(text)?))
    };
    let found: Vec<String> = axes.iter().filter_map(of).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// The axes along which voxels are stored backwards: their scale is negative.
fn flipped(is_flipped: [bool; 3]) -> Option<String> {
    let names = ["x", "y", "z"].into_iter().zip(is_flipped);
    let found: Vec<&str> = names.filter(|(_, flipped)| *flipped).map(|(name, _)| name).collect();
    (!found.is_empty()).then(|| format!("{} (negative scale)", found.join(", ")))
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    text(value).unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_become_sections_and_reserved_names_are_kept_apart() {
        let mut sections = Sections::default();
        sections.add_attribute("xyz_orientation", &json!("RAS"));
        sections.add_attribute("Image", &json!({"a": {"b": [1, 2]}, "c": null}));
        sections.add_attribute("Channel 3", &json!({"x": "y"}));
        sections.add_attribute("Channel names", &json!({"x": "y"}));
        sections.add_attribute("Channels", &json!({"NumberOfChannels": "many"}));
        sections.add_attribute("", &json!({"x": "y"}));
        let own = |entries: &[(&str, &str)]| {
            entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            sections.finish(),
            [
                ("OME-Zarr".to_owned(), own(&[("xyz_orientation", "RAS")])),
                ("Zarr Image".to_owned(), own(&[("a.b", "[1,2]"), ("c", "null")])),
                ("Zarr Channel 3".to_owned(), own(&[("x", "y")])),
                ("Zarr Channel names".to_owned(), own(&[("x", "y")])),
                ("Channels".to_owned(), own(&[("Zarr NumberOfChannels", "many")])),
            ]
        );
    }

    #[test]
    fn rubbish_is_bounded() {
        let mut sections = Sections::default();
        for number in 0..5000 {
            let name = format!("{number}{}", "n".repeat(100_000));
            sections.add_attribute(&name, &json!({"\u{e4}\0": "v".repeat(100)}));
        }
        let kept = sections.finish();
        assert!(kept.len() <= ENTRY_LIMIT);
        assert!(kept.iter().all(|(name, entries)| name.len() <= 300 && entries[0].0 == "\u{e4}"));
    }

    #[test]
    fn axes_say_where_they_point() {
        let multiscale = json!({"axes": [{"name": "z"}, {"name": "y",
            "orientation": {"type": "anatomical", "value": "posterior-to-anterior"}}]});
        assert_eq!(orientation(&multiscale).as_deref(), Some("y: posterior-to-anterior"));
    }
}
