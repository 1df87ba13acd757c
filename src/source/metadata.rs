//! Zarr metadata files, read leniently. [`spelling`] puts the metadata of arrays in order.
//!
//! Sources: Zarr v2 specification ("Metadata"), Zarr v3 core specification ("Metadata"), and what
//! writers put into files in spite of them: `"zarr_format": "2"` (`WebKnossos`), `"attributes": null`.

mod spelling;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::axes::is_color;
use super::codec::NumpyType;
use super::error::{SourceError, Unsupported};
use super::fingerprint::Fingerprint;
use super::json::{parse_lenient, whole, whole_numbers};
use super::root::SourceRoot;
use super::source_type::SourceType;
use super::storage::Stamp;

pub(crate) use super::place::METADATA_FILES;
pub(crate) use spelling::ArrayDescription;

/// One node of a Zarr hierarchy, as far as its own metadata files say.
#[derive(Debug)]
pub(crate) enum ZarrNode {
    /// A group with its attributes.
    Group(Map<String, Value>),
    /// An array with its attributes.
    Array(Box<ArrayNode>),
}

/// Array metadata before `zarrs` has seen it.
#[derive(Debug)]
pub(crate) struct ArrayNode {
    /// The metadata document: `.zarray` or `zarr.json`.
    pub(crate) document: Map<String, Value>,
    /// 2 or 3.
    pub(crate) zarr_format: u8,
    /// `.zattrs`, or the `attributes` member.
    pub(crate) attributes: Map<String, Value>,
    /// Path of the file the document came from.
    pub(crate) file: PathBuf,
    /// State of that file when it was read.
    pub(crate) stamp: Stamp,
}

/// The members of a metadata file, and the state it was in.
type Document = (Map<String, Value>, Stamp);

/// Reads the node in a folder; `None` when the folder holds no Zarr metadata. Every file looked at
/// is recorded in the fingerprint.
///
/// # Errors
/// [`SourceError`] when there is metadata that cannot be read or parsed.
pub(crate) fn read_node(
    root: &SourceRoot,
    folder: &Path,
    fingerprint: &mut Fingerprint,
) -> Result<Option<ZarrNode>, SourceError> {
    read_soon(root, std::iter::once(folder));
    let mut read = |name: &str| read_document(root, &folder.join(name), fingerprint);
    if let Some(document) = read("zarr.json")? {
        return node_v3(document, folder.join("zarr.json")).map(Some);
    }
    let array = read(".zarray")?;
    let attributes = read(".zattrs").map(|found| found.map(|(attributes, _)| attributes));
    if let Some((document, stamp)) = array {
        let file = folder.join(".zarray");
        check_format(&document, 2, &file)?;
        // Nothing in the attributes of an array is needed to read it.
        let attributes = attributes.ok().flatten().unwrap_or_default();
        let node = ArrayNode { document, zarr_format: 2, attributes, file, stamp };
        return Ok(Some(ZarrNode::Array(Box::new(node))));
    }
    let attributes = attributes?;
    let group = read(".zgroup")?;
    if let Some((document, _)) = &group {
        check_format(document, 2, &folder.join(".zgroup"))?;
    }
    match (group, attributes) {
        (_, Some(attributes)) => Ok(Some(ZarrNode::Group(attributes))),
        (Some(_), None) => Ok(Some(ZarrNode::Group(Map::new()))),
        (None, None) => Ok(None),
    }
}

/// Nodes in these folders will be read: a remote source fetches all their files at once.
pub(crate) fn read_soon<P: AsRef<Path>>(root: &SourceRoot, folders: impl Iterator<Item = P>) {
    if root.storage().is_remote() {
        let files = |folder: P| METADATA_FILES.map(|name| folder.as_ref().join(name));
        root.storage().open_soon(&folders.flat_map(files).collect::<Vec<_>>());
    }
}

/// Reads one metadata file; `None` when there is none. It is recorded in the fingerprint.
fn read_document(
    root: &SourceRoot,
    path: &Path,
    fingerprint: &mut Fingerprint,
) -> Result<Option<Document>, SourceError> {
    let found = match root.read_metadata(path) {
        Ok(found) => found,
        Err(error) => {
            fingerprint.record(root, path);
            if matches!(error, SourceError::Io { .. }) {
                fingerprint.doubt();
            }
            return Err(error);
        }
    };
    let Some((bytes, stamp)) = found else {
        fingerprint.record_stamp(path, None);
        return Ok(None);
    };
    fingerprint.record_stamp(path, Some(stamp));
    match parse_lenient(&bytes) {
        Ok(Value::Object(members)) => Ok(Some((members, stamp))),
        Ok(_) => Err(SourceError::unsupported(path, Unsupported::Member("object"))),
        Err(source) => Err(SourceError::Json { path: path.to_path_buf(), source }),
    }
}

/// The node of a `zarr.json`.
fn node_v3((mut document, stamp): Document, file: PathBuf) -> Result<ZarrNode, SourceError> {
    check_format(&document, 3, &file)?;
    let is_array = is_array(&document)
        .ok_or_else(|| SourceError::unsupported(&file, Unsupported::Member("node_type")))?;
    check_members(&document, is_array).map_err(|reason| SourceError::unsupported(&file, reason))?;
    let attributes = match document.remove("attributes") {
        Some(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    };
    if !is_array {
        return Ok(ZarrNode::Group(attributes));
    }
    let node = ArrayNode { document, zarr_format: 3, attributes, file, stamp };
    Ok(ZarrNode::Array(Box::new(node)))
}

/// A document without the member is of the format that its file name says.
fn check_format(
    document: &Map<String, Value>,
    wanted: u64,
    file: &Path,
) -> Result<(), SourceError> {
    match document.get("zarr_format") {
        None | Some(Value::Null) => Ok(()),
        Some(format) if whole(format) == Some(wanted) => Ok(()),
        Some(other) => {
            Err(SourceError::unsupported(file, Unsupported::ZarrFormat(other.to_string())))
        }
    }
}

/// What a `zarr.json` describes, by its `node_type`, or, where that is missing, by what only arrays
/// have.
fn is_array(document: &Map<String, Value>) -> Option<bool> {
    match document.get("node_type") {
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("array") => Some(true),
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("group") => Some(false),
        None | Some(Value::Null) => {
            let has = |name| document.contains_key(name);
            (has("shape") && has("codecs")).then_some(true)
        }
        Some(_) => None,
    }
}

/// Members that are none of the specification's must be understood, unless they say otherwise (Zarr v3
/// core specification, "Extensions"). `consolidated_metadata` says so since zarr-python 3.0.
fn check_members(document: &Map<String, Value>, is_array: bool) -> Result<(), Unsupported> {
    const OF_ALL: [&str; 4] = ["zarr_format", "node_type", "attributes", "consolidated_metadata"];
    const OF_ARRAYS: [&str; 8] = [
        "shape",
        "data_type",
        "chunk_grid",
        "chunk_key_encoding",
        "fill_value",
        "codecs",
        "storage_transformers",
        "dimension_names",
    ];
    let is_known = |name: &str| OF_ALL.contains(&name) || is_array && OF_ARRAYS.contains(&name);
    let may_be_ignored = |value: &Value| value.get("must_understand") == Some(&Value::Bool(false));
    match document.iter().find(|(name, value)| !is_known(name) && !may_be_ignored(value)) {
        Some((name, _)) => Err(Unsupported::MustUnderstand(name.clone())),
        None => Ok(()),
    }
}

impl ArrayNode {
    /// Puts the metadata in order.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] when it is not array metadata after all.
    pub(crate) fn described(&self) -> Result<ArrayDescription, SourceError> {
        let described = spelling::describe(&self.document, self.zarr_format);
        described.map_err(|reason| SourceError::unsupported(&self.file, reason))
    }

    /// Whether the array holds bytes, with the samples of each pixel side by side.
    pub(crate) fn is_color(&self) -> bool {
        let member = |name: &str| self.document.get(name).cloned().unwrap_or_default();
        let kind = if self.zarr_format == 3 { member("data_type") } else { member("dtype") };
        let kind = kind.as_str().and_then(NumpyType::parse).map(NumpyType::kind);
        kind == Some(SourceType::U8)
            && whole_numbers(&member("shape")).is_some_and(|shape| is_color(&shape))
    }

    /// Dimension names, where the array states them: v3 `dimension_names`, or the `_ARRAY_DIMENSIONS`
    /// attribute of xarray.
    pub(crate) fn dimension_names(&self) -> Option<Vec<String>> {
        let names = self
            .document
            .get("dimension_names")
            .filter(|value| !value.is_null())
            .or_else(|| self.attributes.get("_ARRAY_DIMENSIONS"))?;
        names.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }
}
