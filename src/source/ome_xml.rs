//! OME-XML as bioformats2raw writes it beside its images, `OME/METADATA.ome.xml`, read for the facts that
//! a microscopist wants to see. Elements are known by their local names, whatever the namespace, and
//! a malformed attribute counts as absent.
//!
//! Sources: OME schema 2016-06 (`ome.xsd`), the elements named below; OME-NGFF 0.4,
//! "bioformats2raw.layout", for the file's place. `StructuredAnnotations` are left out.

use std::collections::{BTreeSet, HashMap};

use roxmltree::{Document, Node, ParsingOptions};

use super::date_time::parse_date_time;
use node::{MAX_IMAGES, child, children, filled, length, positive, short_text, text, whole};

mod node;
mod pixels;
mod plate;

pub(crate) use pixels::XmlPixels;
pub(crate) use plate::XmlWell;

/// Facts beyond this many per document are left out: many images may share one instrument.
const MAX_FACTS: usize = 1_000_000;
/// Nodes of a document; each takes the parser about 60 bytes.
const MAX_NODES: u32 = 2_000_000;
/// Attributes of an element; the schema knows no more than about twenty.
const MAX_ATTRIBUTES: usize = 128;
/// Different namespace prefixes in a document.
const MAX_PREFIXES: usize = 32;

// Attributes kept as facts. Attributes with a member of their own are not among them.
const OBJECTIVE: [&str; 7] = [
    "Manufacturer",
    "Model",
    "Immersion",
    "Correction",
    "WorkingDistance",
    "Medium",
    "RefractiveIndex",
];
const EXPERIMENTER: [&str; 3] = ["FirstName", "LastName", "Institution"];
const ENVIRONMENT: [&str; 3] = ["Temperature", "Humidity", "CO2Percent"];
const CHANNEL: [&str; 3] = ["ContrastMethod", "IlluminationType", "NDFilter"];
const EXPOSURE: [&str; 1] = ["ExposureTime"];
const DETECTOR: [&str; 8] =
    ["Manufacturer", "Model", "Type", "Gain", "Offset", "Voltage", "Binning", "Zoom"];
const LIGHT_SOURCE: [&str; 6] =
    ["Manufacturer", "Model", "Type", "Wavelength", "Power", "Attenuation"];
const FILTER: [&str; 3] = ["Model", "CutIn", "CutOut"];

/// The OME-XML of a store.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct XmlDocument {
    /// In document order; the index is the series number.
    pub(crate) images: Vec<XmlImage>,
    /// Of the only plate.
    pub(crate) wells: Vec<XmlWell>,
}

/// One image (one series) of an OME-XML.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct XmlImage {
    pub(crate) name: Option<String>,
    /// The name, if no other image of the document has it in any case.
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    /// Acquisition date, milliseconds since 1970-01-01 UTC; a date without a zone counts as UTC.
    pub(crate) acquired_ms: Option<i64>,
    /// Nominal magnification of the objective.
    pub(crate) lens_power: Option<f64>,
    pub(crate) numerical_aperture: Option<f64>,
    /// Of the microscope stand.
    pub(crate) manufacturer: Option<String>,
    /// Of the microscope stand.
    pub(crate) model: Option<String>,
    /// By position along c, where each has one sample per pixel, as bioformats2raw writes them.
    pub(crate) channels: Vec<XmlChannel>,
    pub(crate) pixels: XmlPixels,
    /// It may belong to another image: it belongs to this one only if the sizes of their planes are equal.
    pub(crate) must_fit: bool,
    /// Further facts: objective, experimenter, environment, stage label.
    pub(crate) facts: Vec<Fact>,
}

impl XmlImage {
    /// Samples per pixel, where they are all the channels that there are.
    pub(crate) fn samples(&self) -> Option<u64> {
        match self.channels.as_slice() {
            [only] => only.samples,
            _ => None,
        }
    }
}

/// One channel of an image.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct XmlChannel {
    pub(crate) name: Option<String>,
    /// Name of the fluorophore.
    pub(crate) fluor: Option<String>,
    pub(crate) emission_nm: Option<f64>,
    pub(crate) excitation_nm: Option<f64>,
    pub(crate) color: Option<[u8; 3]>,
    /// Kind of microscopy, such as `LaserScanningConfocalMicroscopy`.
    pub(crate) acquisition_mode: Option<String>,
    pub(crate) pinhole_um: Option<f64>,
    /// Samples per pixel: 3 or 4 are those of a colour camera.
    pub(crate) samples: Option<u64>,
    /// Further facts: contrast, detector, light source, emission filter.
    pub(crate) facts: Vec<Fact>,
}

/// A text worth keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// Element of the schema that it belongs to, such as `Objective`.
    pub(crate) section: &'static str,
    /// Attribute of the schema, such as `Immersion`.
    pub(crate) key: &'static str,
    /// With its unit, if it has one.
    pub(crate) value: String,
}

/// Why a text gives no images.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XmlError {
    /// Not XML, or XML with a document type or too many nodes.
    #[error("not usable as XML: {0}")]
    Syntax(String),
    /// No document of the schema comes near these limits.
    #[error(
        "an element has over {MAX_ATTRIBUTES} attributes, or all have over {MAX_PREFIXES} prefixes"
    )]
    Attributes,
}

/// Reads a document.
///
/// # Errors
/// [`XmlError`] for a text that is not well-formed, has a document type (and so could have
/// entities) or is built to be slow to read. A document without images is no error.
pub(crate) fn parse(text: &str) -> Result<XmlDocument, XmlError> {
    if !has_few_attributes(text) {
        return Err(XmlError::Attributes);
    }
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        // The parser's messages quote names of any length.
        .map_err(|error| XmlError::Syntax(error.to_string().chars().take(200).collect()))?;
    let root = document.root_element();
    let mut reader = Reader::new(root);
    let images = children(root, "Image").take(MAX_IMAGES);
    let mut images: Vec<XmlImage> = images.map(|image| reader.image(image)).collect();
    entitle(&mut images);
    Ok(XmlDocument { images, wells: plate::wells(root) })
}

/// Gives each image a title whose name is its own.
fn entitle(images: &mut [XmlImage]) {
    let folded = |name: &str| name.trim().to_lowercase();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in images.iter().filter_map(|image| image.name.as_deref()) {
        *counts.entry(folded(name)).or_default() += 1;
    }
    for image in images {
        // A name of nothing but marks is none.
        let name = image.name.as_deref().filter(|name| name.chars().any(char::is_alphanumeric));
        let own = name.filter(|name| counts.get(&folded(name)) == Some(&1));
        image.title = own.map(|name| name.trim().to_owned());
    }
}

/// The parser compares every attribute of an element with all before it, and every namespace in
/// scope with all others: without a limit, a text of some megabytes takes hours. A `<` never stands
/// inside a tag (XML 1.0, production 10), so what follows one is a tag up to the first bare `>`.
fn has_few_attributes(text: &str) -> bool {
    let mut prefixes = BTreeSet::new();
    text.split('<').skip(1).filter(|piece| !piece.starts_with(['!', '?', '/'])).all(|piece| {
        let mut quote = None;
        let mut attributes = 0;
        let end = piece.bytes().position(|byte| {
            match (quote, byte) {
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), _) if open == byte => quote = None,
                (None, b'=') => attributes += 1,
                _ => {}
            }
            quote.is_none() && byte == b'>'
        });
        let tag = end.and_then(|end| piece.get(..end)).unwrap_or(piece);
        for declaration in tag.split("xmlns:").skip(1) {
            prefixes.insert(declaration.split(['=', ' ', '\t', '\r', '\n']).next());
        }
        attributes <= MAX_ATTRIBUTES && prefixes.len() <= MAX_PREFIXES
    })
}

/// The elements that images refer to, and how many more facts may be kept.
struct Reader<'a, 'input> {
    by_id: HashMap<(&'a str, &'a str), Node<'a, 'input>>,
    facts_left: usize,
}

impl<'a, 'input> Reader<'a, 'input> {
    fn new(root: Node<'a, 'input>) -> Self {
        let mut by_id = HashMap::new();
        let parts = children(root, "Instrument").flat_map(|instrument| instrument.children());
        for node in root.children().chain(parts) {
            let kind = match node.tag_name().name() {
                "Laser" | "Arc" | "Filament" | "LightEmittingDiode" | "GenericExcitationSource" => {
                    "LightSource"
                }
                kind @ ("Instrument" | "Experimenter" | "Objective" | "Detector" | "Filter") => {
                    kind
                }
                _ => continue,
            };
            if let Some(id) = node.attribute("ID") {
                by_id.entry((kind, id)).or_insert(node);
            }
        }
        Self { by_id, facts_left: MAX_FACTS }
    }

    /// The element that a reference or settings element below `node` refers to.
    fn referred(
        &self,
        node: Node<'a, 'input>,
        reference: &str,
        kind: &'static str,
    ) -> Option<Node<'a, 'input>> {
        self.by_id.get(&(kind, child(node, reference)?.attribute("ID")?)).copied()
    }

    /// Schema element "Image" and what it refers to.
    fn image(&mut self, image: Node<'a, 'input>) -> XmlImage {
        let objective = self.referred(image, "ObjectiveSettings", "Objective");
        let objective_settings = child(image, "ObjectiveSettings");
        let instrument = self.referred(image, "InstrumentRef", "Instrument");
        let microscope = instrument.and_then(|instrument| child(instrument, "Microscope"));
        let experimenter = self.referred(image, "ExperimenterRef", "Experimenter");
        let environment = child(image, "ImagingEnvironment");
        let mut facts = Vec::new();
        self.keep(&mut facts, "Microscope", [microscope, None], &["Type"]);
        self.keep(&mut facts, "Objective", [objective_settings, objective], &OBJECTIVE);
        self.keep(&mut facts, "Experimenter", [experimenter, None], &EXPERIMENTER);
        self.keep(&mut facts, "ImagingEnvironment", [environment, None], &ENVIRONMENT);
        self.keep(&mut facts, "StageLabel", [child(image, "StageLabel"), None], &["Name"]);
        let pixels = child(image, "Pixels");
        let content = |name: &str| child(image, name).and_then(|node| node.text());
        XmlImage {
            name: text(image, "Name"),
            title: None,
            description: content("Description").and_then(filled).map(str::to_owned),
            acquired_ms: content("AcquisitionDate").and_then(parse_date_time),
            lens_power: objective.and_then(|objective| positive(objective, "NominalMagnification")),
            numerical_aperture: objective.and_then(|objective| positive(objective, "LensNA")),
            manufacturer: microscope.and_then(|stand| short_text(stand, "Manufacturer")),
            model: microscope.and_then(|stand| short_text(stand, "Model")),
            channels: pixels.map_or_else(Vec::new, |pixels| self.channels(pixels)),
            pixels: pixels.map_or_else(XmlPixels::default, pixels::sizes_and_times),
            must_fit: false,
            facts,
        }
    }

    /// Schema elements "Pixels", "Channel" and "Plane".
    fn channels(&mut self, pixels: Node<'a, 'input>) -> Vec<XmlChannel> {
        let mut channels: Vec<XmlChannel> =
            children(pixels, "Channel").map(|channel| self.channel(channel)).collect();
        // The exposure may differ from plane to plane; the first stands for all.
        for plane in children(pixels, "Plane") {
            let c = plane.attribute("TheC").and_then(|c| c.parse::<usize>().ok());
            if let Some(channel) = c.and_then(|c| channels.get_mut(c))
                && !channel.facts.iter().any(|fact| fact.key == EXPOSURE[0])
            {
                self.keep(&mut channel.facts, "Channel", [Some(plane), None], &EXPOSURE);
            }
        }
        channels
    }

    /// Schema element "Channel" and what it refers to.
    fn channel(&mut self, channel: Node<'a, 'input>) -> XmlChannel {
        let detector = self.referred(channel, "DetectorSettings", "Detector");
        let detector_settings = child(channel, "DetectorSettings");
        let light = self.referred(channel, "LightSourceSettings", "LightSource");
        let light_settings = child(channel, "LightSourceSettings");
        let path = child(channel, "LightPath");
        let filter = path.and_then(|path| self.referred(path, "EmissionFilterRef", "Filter"));
        let band = filter.and_then(|filter| child(filter, "TransmittanceRange"));
        let mut facts = Vec::new();
        self.keep(&mut facts, "Channel", [Some(channel), None], &CHANNEL);
        self.keep(&mut facts, "Detector", [detector_settings, detector], &DETECTOR);
        self.keep(&mut facts, "LightSource", [light_settings, light], &LIGHT_SOURCE);
        self.keep(&mut facts, "EmissionFilter", [filter, band], &FILTER);
        XmlChannel {
            name: text(channel, "Name"),
            fluor: text(channel, "Fluor"),
            emission_nm: length(channel, "EmissionWavelength", "nm", 1e3),
            excitation_nm: length(channel, "ExcitationWavelength", "nm", 1e3),
            color: channel.attribute("Color").and_then(parse_color),
            acquisition_mode: text(channel, "AcquisitionMode"),
            pinhole_um: length(channel, "PinholeSize", "um", 1.0),
            samples: whole(channel, "SamplesPerPixel"),
            facts,
        }
    }

    /// Keeps those of the attributes that are there, each from the first node that has it.
    fn keep(
        &mut self,
        facts: &mut Vec<Fact>,
        section: &'static str,
        nodes: [Option<Node>; 2],
        keys: &[&'static str],
    ) {
        for &key in keys {
            let mut found = nodes.into_iter().flatten().filter_map(|node| {
                let value = short_text(node, key)?;
                let unit = short_text(node, &format!("{key}Unit"));
                let unit = unit.as_deref().or_else(|| default_unit(key));
                Some(if let Some(unit) = unit { format!("{value} {unit}") } else { value })
            });
            if self.facts_left > 0
                && let Some(value) = found.next()
            {
                self.facts_left -= 1;
                facts.push(Fact { section, key, value });
            }
        }
    }
}

/// Units of attributes that state none, by the schema.
fn default_unit(key: &str) -> Option<&'static str> {
    match key {
        "WorkingDistance" => Some("\u{b5}m"),
        "Temperature" => Some("\u{b0}C"),
        "Voltage" => Some("V"),
        "Wavelength" | "CutIn" | "CutOut" => Some("nm"),
        "Power" => Some("mW"),
        "ExposureTime" => Some("s"),
        _ => None,
    }
}

/// RGBA in a signed 32-bit number (schema type "Color"); some write it unsigned.
fn parse_color(color: &str) -> Option<[u8; 3]> {
    let color = color.trim();
    let rgba = color.parse().map(i32::cast_unsigned).or_else(|_| color.parse::<u32>()).ok()?;
    let [red, green, blue, _] = rgba.to_be_bytes();
    Some([red, green, blue])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels of a laser scanning microscope, as Bio-Formats writes them.
    const CONFOCAL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
 <Experimenter ID="Experimenter:0" FirstName="Ada" LastName="Byron" Email="ada@example.org"/>
 <Instrument ID="Instrument:0"><Microscope Manufacturer="Zeiss" Model="LSM 880" Type="Inverted"/>
  <Laser ID="LightSource:0:0" Model="Argon" Wavelength="488.0"/>
  <Detector ID="Detector:0:0" Model="GaAsP" Type="PMT" Zoom="1.5"/>
  <Objective ID="Objective:0:0" Model="Plan-Apochromat" NominalMagnification="63.0" LensNA="1.4"
   Immersion="Oil" WorkingDistance="0.19" WorkingDistanceUnit="mm"/>
  <Filter ID="Filter:0:0"><TransmittanceRange CutIn="499.0" CutOut="553.0"/></Filter></Instrument>
 <Image ID="Image:0" Name="cells.czi"><AcquisitionDate>2019-09-19T11:48:26.5</AcquisitionDate>
  <ExperimenterRef ID="Experimenter:0"/><Description> HeLa &amp; DAPI
 </Description><InstrumentRef ID="Instrument:0"/>
  <ObjectiveSettings ID="Objective:0:0" Medium="Oil" RefractiveIndex="1.518"/>
  <ImagingEnvironment Temperature="37.0"/>
  <Pixels ID="Pixels:0" SizeC="2">
   <Channel ID="Channel:0:0" Name="Ch1" Fluor="EGFP" Color="16711935" EmissionWavelength="0.525"
    EmissionWavelengthUnit="&#181;m" ExcitationWavelength="488" PinholeSize="50.1"
    AcquisitionMode="LaserScanningConfocalMicroscopy" SamplesPerPixel="1">
    <LightSourceSettings ID="LightSource:0:0" Attenuation="0.98"/>
    <DetectorSettings ID="Detector:0:0" Gain="700.0" Binning="1x1"/>
    <LightPath><EmissionFilterRef ID="Filter:0:0"/></LightPath></Channel>
   <Channel ID="Channel:0:1" Color="-16776961" ContrastMethod="Fluorescence"/>
   <MetadataOnly/><Plane TheC="1" TheT="0" TheZ="0" ExposureTime="20" ExposureTimeUnit="ms"/>
   <Plane TheC="1" TheT="0" TheZ="1" ExposureTime="40"/></Pixels></Image>
 <StructuredAnnotations><Image Name="none"/></StructuredAnnotations></OME>"#;

    fn spelt(facts: &[Fact]) -> String {
        let one = |fact: &Fact| format!("{}.{}={}", fact.section, fact.key, fact.value);
        facts.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn only(body: &str) -> XmlImage {
        let found = parse(&format!("<OME><Image>{body}</Image></OME>")).expect("well-formed");
        found.images.into_iter().next().expect("one image")
    }

    #[test]
    fn confocal_of_two_channels() {
        // The default namespace, another one under a prefix, and none say the same.
        let prefixed = CONFOCAL.replace("</", "</o:").replace('<', "<o:");
        let prefixed = prefixed.replace("<o:/o:", "</o:").replace("<o:?", "<?");
        let prefixed = prefixed.replace("xmlns=", "xmlns:o=").replace("2016-06", "2015-01");
        let bare = CONFOCAL.replace("xmlns=", "was=");
        let found = parse(CONFOCAL).expect("well-formed");
        assert_eq!(found, parse(&prefixed).expect("well-formed"));
        assert_eq!(found, parse(&format!("\u{feff}{bare}")).expect("well-formed"));
        let [image] = found.images.as_slice() else { panic!("one image, annotations are none") };
        assert_eq!(image.name.as_deref(), Some("cells.czi"));
        assert_eq!(image.description.as_deref(), Some("HeLa & DAPI"));
        assert_eq!(image.acquired_ms, Some(1_568_893_706_500));
        assert_eq!((image.lens_power, image.numerical_aperture), (Some(63.0), Some(1.4)));
        assert_eq!(image.manufacturer.as_deref(), Some("Zeiss"));
        assert_eq!(image.model.as_deref(), Some("LSM 880"));
        assert_eq!(
            spelt(&image.facts),
            "Microscope.Type=Inverted, Objective.Model=Plan-Apochromat, Objective.Immersion=Oil, \
            Objective.WorkingDistance=0.19 mm, Objective.Medium=Oil, \
            Objective.RefractiveIndex=1.518, Experimenter.FirstName=Ada, \
            Experimenter.LastName=Byron, ImagingEnvironment.Temperature=37.0 \u{b0}C"
        );
        let [green, red] = image.channels.as_slice() else { panic!("two channels") };
        assert_eq!((green.emission_nm, green.excitation_nm), (Some(525.0), Some(488.0)));
        assert_eq!((green.color, green.pinhole_um), (Some([0, 255, 0]), Some(50.1)));
        assert_eq!(green.fluor.as_deref(), Some("EGFP"));
        assert_eq!(green.acquisition_mode.as_deref(), Some("LaserScanningConfocalMicroscopy"));
        assert_eq!(
            spelt(&green.facts),
            "Detector.Model=GaAsP, Detector.Type=PMT, Detector.Gain=700.0, Detector.Binning=1x1, \
            Detector.Zoom=1.5, LightSource.Model=Argon, LightSource.Wavelength=488.0 nm, \
            LightSource.Attenuation=0.98, EmissionFilter.CutIn=499.0 nm, \
            EmissionFilter.CutOut=553.0 nm"
        );
        assert_eq!((red.name.as_ref(), red.color), (None, Some([255, 0, 0])));
        let facts = "Channel.ContrastMethod=Fluorescence, Channel.ExposureTime=20 ms";
        assert_eq!(spelt(&red.facts), facts);
    }

    #[test]
    fn rubbish_members_count_as_absent() {
        assert_eq!(only(""), XmlImage::default());
        let image = only(
            r#"<AcquisitionDate>soon</AcquisitionDate><Description/><InstrumentRef ID="9"/>
            <ObjectiveSettings/><Pixels><Channel Name=" " Color="red" EmissionWavelength="NaN"
            ExcitationWavelength="500" ExcitationWavelengthUnit="pixel" PinholeSize="-1"/>
            <Plane TheC="7" ExposureTime="1"/><Plane/></Pixels>"#,
        );
        assert_eq!(
            image,
            XmlImage { channels: vec![XmlChannel::default()], ..XmlImage::default() }
        );
        assert_eq!(parse("<html/>").expect("well-formed"), XmlDocument::default());
    }

    #[test]
    fn colours_signed_and_unsigned() {
        assert_eq!(parse_color("-1"), Some([255, 255, 255]));
        assert_eq!(parse_color("-16776961"), Some([255, 0, 0]));
        assert_eq!(parse_color("4278190335"), Some([255, 0, 0]));
        assert_eq!(parse_color("4294967296"), None);
    }

    #[test]
    fn hostile_texts_end_soon() {
        let entities = r#"<!DOCTYPE OME [<!ENTITY a "b">]><OME>&a;</OME>"#;
        let attributes = (0..200_000).map(|n| format!(" a{n}='>'")).collect::<Vec<_>>().concat();
        let prefixes = (0..99).map(|n| format!("<a xmlns:p{n}='u'>")).collect::<Vec<_>>().concat();
        let nodes = format!("<OME>{}</OME>", "<a/>".repeat(2_000_000));
        let deep = "<a>".repeat(1_000_000);
        for text in ["", "{}", "<OME", "<OME><Image></OME>", "\0", entities, &nodes, &deep] {
            assert!(matches!(parse(text), Err(XmlError::Syntax(_))), "{text:.30}");
        }
        for text in [format!("<OME{attributes}/>"), prefixes] {
            assert!(matches!(parse(&text), Err(XmlError::Attributes)), "{text:.30}");
        }
        let deep = format!("<OME>{deep}{}<Image/></OME>", "</a>".repeat(1_000_000));
        assert_eq!(parse(&deep).expect("depth takes no stack").images.len(), 1);
        let many = format!("<OME>{}</OME>", "<Image/>".repeat(MAX_IMAGES + 1));
        assert_eq!(parse(&many).expect("well-formed").images.len(), MAX_IMAGES);
    }

    #[test]
    fn text_told_of_many_images_is_cut() {
        let image = r#"<Image><InstrumentRef ID="0"/></Image>"#.repeat(2);
        let model = "\u{b5}".repeat(9_999);
        let instrument =
            format!(r#"<Instrument ID="0"><Microscope Model="{model}"/></Instrument>"#);
        let found = parse(&format!("<OME>{instrument}{image}</OME>")).expect("well-formed");
        let model = found.images[1].model.as_ref().expect("model");
        assert_eq!(model.chars().count(), node::MAX_CHARS);
    }
}
