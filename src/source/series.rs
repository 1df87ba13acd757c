//! Which image of an OME-XML belongs to an image of the store.
//!
//! bioformats2raw writes `OME/METADATA.ome.xml` beside the images of a store, or at the root of a plate.
//! Which of its images is which:
//!
//! 1. the n-th path of `series` in the attributes of the group `OME` is that of the n-th image
//!    (OME-NGFF 0.4, "bioformats2raw.layout");
//! 2. without that list, the folder beside `OME` whose name is the number n;
//! 3. for plates, what the OME-XML says of the samples of each well;
//! 4. the only image of the OME-XML, if its planes have the size of the image.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;
use super::json::text;
use super::metadata::{ZarrNode, read_node};
use super::ome_xml::{self, XmlDocument, XmlImage};
use super::root::{SourceRoot, join};

/// Largest OME-XML read: that of a plate with 10^4 fields stays below it.
const XML_LIMIT_BYTES: u64 = 16 << 20;

/// The OME-XML that was found last, read once for all images it is of.
#[derive(Debug, Default)]
pub(crate) struct SeriesXml {
    last: Option<Arc<Series>>,
}

/// An OME-XML and the order of its images.
#[derive(Debug, Default)]
struct Series {
    /// The folder that the images lie below.
    folder: PathBuf,
    document: XmlDocument,
    /// Numbers of the images by their paths below the folder.
    numbers: HashMap<PathBuf, usize>,
    plate: Plate,
    /// The files that the order was read from.
    fingerprint: Fingerprint,
}

/// Numbers of the rows and columns of a plate by their names, and of its wells.
#[derive(Debug, Default)]
struct Plate {
    rows: HashMap<String, usize>,
    columns: HashMap<String, usize>,
    /// By row and column: which of the wells in the OME-XML.
    wells: HashMap<(usize, usize), usize>,
}

impl SeriesXml {
    /// What the OME-XML of a store says of an image. It is looked for from the image upwards, and every
    /// file looked at is recorded in the fingerprint. A file that cannot be read says nothing.
    pub(crate) fn of(
        &mut self,
        root: &SourceRoot,
        store: &Path,
        image: &str,
        fingerprint: &mut Fingerprint,
    ) -> Option<XmlImage> {
        let inside = Path::new(image);
        if inside.components().any(|part| part.as_os_str() == "labels") {
            // The OME-XML is of the image that they are labels of.
            return None;
        }
        for above in inside.ancestors() {
            let folder = join(store, above);
            let file = xml_beside(&folder);
            let Some(stamp) = fingerprint.record(root, &file).stamp() else { continue };
            let series = match &self.last {
                Some(last) if last.folder == folder => last.clone(),
                _ => {
                    let document = read_xml(root, &file, stamp.size(), fingerprint);
                    let series = Arc::new(Series::read(root, folder, document));
                    self.last = Some(series.clone());
                    series
                }
            };
            fingerprint.absorb(&series.fingerprint);
            return series.image(inside.strip_prefix(above).ok()?);
        }
        None
    }
}

/// Where the OME-XML of the images in a folder is.
pub(super) fn xml_beside(folder: &Path) -> PathBuf {
    folder.join("OME").join("METADATA.ome.xml")
}

fn read_xml(
    root: &SourceRoot,
    file: &Path,
    bytes: u64,
    fingerprint: &mut Fingerprint,
) -> XmlDocument {
    let read = if bytes <= XML_LIMIT_BYTES { root.read_metadata(file) } else { Ok(None) };
    if read.is_err() {
        fingerprint.doubt();
    }
    let text = read.ok().flatten().and_then(|(bytes, _)| String::from_utf8(bytes).ok());
    match text.as_deref().map(ome_xml::parse) {
        Some(Ok(document)) => document,
        Some(Err(error)) => {
            tracing::info!(path = %file.display(), %error, "OME-XML is not used");
            XmlDocument::default()
        }
        None => XmlDocument::default(),
    }
}

impl Series {
    fn read(root: &SourceRoot, folder: PathBuf, document: XmlDocument) -> Self {
        let mut fingerprint = Fingerprint::default();
        let mut attributes = |folder: &Path| match read_node(root, folder, &mut fingerprint) {
            Ok(Some(ZarrNode::Group(attributes))) => attributes,
            _ => Map::new(),
        };
        let numbers = first_of_each(series(&attributes(&folder.join("OME"))));
        let mut plate = Plate::default();
        if numbers.is_empty() && !document.wells.is_empty() {
            plate = Plate::parse(&attributes(&folder));
            let wells = document.wells.iter().map(|well| (well.row, well.column));
            plate.wells = first_of_each(wells);
        }
        Self { folder, document, numbers, plate, fingerprint }
    }

    /// The image at a path below the folder.
    fn image(&self, path: &Path) -> Option<XmlImage> {
        let images = &self.document.images;
        if !self.numbers.is_empty() {
            return images.get(*self.numbers.get(path)?).cloned();
        }
        let parts: Option<Vec<&str>> =
            path.components().map(|part| part.as_os_str().to_str()).collect();
        let parts = parts?;
        if let [number] = parts.as_slice()
            && let Ok(number) = number.parse::<usize>()
        {
            return images.get(number).cloned();
        }
        if let [row, column, field] = parts.as_slice()
            && !self.document.wells.is_empty()
        {
            return images.get(self.field(row, column, field)?).cloned();
        }
        match images.as_slice() {
            [only] => Some(XmlImage { must_fit: true, ..only.clone() }),
            _ => None,
        }
    }

    /// The number of the image of a field of a plate.
    fn field(&self, row: &str, column: &str, field: &str) -> Option<usize> {
        let place = (*self.plate.rows.get(row)?, *self.plate.columns.get(column)?);
        let well = self.document.wells.get(*self.plate.wells.get(&place)?)?;
        *well.images.get(field.parse::<usize>().ok()?)?
    }
}

/// The paths of `series`, also below `ome` (0.5).
fn series(attributes: &Map<String, Value>) -> Vec<PathBuf> {
    let below = attributes.get("ome").and_then(|ome| ome.get("series"));
    let list = below.or_else(|| attributes.get("series")).and_then(Value::as_array);
    let path = |value: &Value| {
        let path = text(value).unwrap_or_default();
        let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.collect::<PathBuf>()
    };
    list.into_iter().flatten().map(path).collect()
}

/// Numbers things in their order; the first of several equal ones counts.
fn first_of_each<T: Eq + Hash>(things: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut numbers = HashMap::new();
    for (number, thing) in things.into_iter().enumerate() {
        numbers.entry(thing).or_insert(number);
    }
    numbers
}

impl Plate {
    /// The rows and columns of the member `plate` (OME-NGFF 0.4, "plate").
    fn parse(attributes: &Map<String, Value>) -> Self {
        let below = attributes.get("ome").and_then(|ome| ome.get("plate"));
        let plate = below.or_else(|| attributes.get("plate"));
        let names = |member: &str| {
            let list = plate.and_then(|plate| plate.get(member)).and_then(Value::as_array);
            let name = |entry: &Value| entry.get("name").and_then(text).unwrap_or_default();
            first_of_each(list.into_iter().flatten().map(name))
        };
        Self { rows: names("rows"), columns: names("columns"), wells: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::storage::Memory;

    /// The names of the images that an OME-XML gives to the paths of a store.
    fn names(files: &[(&str, &str)], paths: &[&str]) -> Vec<Option<String>> {
        let memory = Memory::default();
        for (path, text) in files {
            memory.put(path, text.as_bytes());
        }
        let root = SourceRoot::in_memory(memory);
        let mut xml = SeriesXml::default();
        let mut name = |path: &&str| {
            let found = xml.of(&root, Path::new("a.zarr"), path, &mut Fingerprint::default())?;
            found.name
        };
        paths.iter().map(&mut name).collect()
    }

    fn some(names: &[&str]) -> Vec<Option<String>> {
        names.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect()
    }

    const XML: &str = "a.zarr/OME/METADATA.ome.xml";
    const TWO: &str = r#"<OME><Image ID="I:0" Name="p"/><Image ID="I:1" Name="q"/></OME>"#;
    const GROUP: (&str, &str) = ("a.zarr/OME/.zgroup", r#"{"zarr_format": 2}"#);

    #[test]
    fn the_list_of_series_comes_before_numbers() {
        let list = ("a.zarr/OME/.zattrs", r#"{"series": ["macro/", "0"]}"#);
        let found = names(&[(XML, TWO), GROUP, list], &["macro", "0", "1", "macro/labels/0"]);
        assert_eq!(found, some(&["p", "q", "", ""]));
        let list = r#"{"zarr_format": 3, "node_type": "group", "attributes":
            {"ome": {"series": ["A/1/0", "A/1/1"]}}}"#;
        let found = names(&[(XML, TWO), ("a.zarr/OME/zarr.json", list)], &["A/1/1", "A/1/0"]);
        assert_eq!(found, some(&["q", "p"]));
    }

    #[test]
    fn without_a_list_the_folder_is_the_number() {
        let found = names(&[(XML, TWO)], &["1", "0", "2", "x", "b/0", ""]);
        assert_eq!(found, some(&["q", "p", "", "", "", ""]));
        let nested = "a.zarr/b/OME/METADATA.ome.xml";
        let found = names(&[(nested, TWO), (XML, "<OME/>")], &["b/0", "b/1", "0"]);
        assert_eq!(found, some(&["p", "q", ""]));
        // The only image may lie anywhere.
        let one = r#"<OME><Image Name="p"/></OME>"#;
        assert_eq!(names(&[(XML, one)], &["", "deep/down"]), some(&["p", "p"]));
    }

    #[test]
    fn fields_of_a_plate_by_the_samples_of_their_wells() {
        let plate =
            r#"{"plate": {"rows": [{"name": "A"}, {"name": "B"}], "columns": [{"name": "7"}]}}"#;
        let xml = r#"<OME><Plate><Well Row="1" Column="0"><WellSample Index="0"><ImageRef ID="I:0"/>
            </WellSample></Well><Well Row="0" Column="0"><WellSample Index="1"><ImageRef ID="I:1"/>
            </WellSample></Well></Plate><Image ID="I:0" Name="p"/><Image ID="I:1" Name="q"/></OME>"#;
        let files =
            [(XML, xml), ("a.zarr/.zattrs", plate), ("a.zarr/.zgroup", r#"{"zarr_format": 2}"#)];
        let found = names(&files, &["A/7/0", "B/7/0", "B/7/1", "C/7/0"]);
        assert_eq!(found, some(&["q", "p", "", ""]));
    }
}
