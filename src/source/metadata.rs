//! Zarr metadata files, read leniently and normalised for `zarrs`.
//!
//! Sources: Zarr v2 specification ("Metadata"), Zarr v3 core specification ("Metadata"), and what
//! writers put into files in spite of them: fill values of the wrong type, `zstd` without `checksum`,
//! a missing `dimension_separator`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zarrs::metadata::ArrayMetadata;
use zarrs::metadata::v2::ArrayMetadataV2;
use zarrs::metadata::v3::ArrayMetadataV3;

use super::fingerprint::Fingerprint;
use super::json::parse_lenient;
use super::root::{EntryKind, SourceRoot};
use super::storage::FileStamp;
use super::{SourceError, Unsupported};

/// The files that make a folder a Zarr node.
pub(crate) const METADATA_FILES: [&str; 4] = ["zarr.json", ".zarray", ".zattrs", ".zgroup"];

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
    pub(crate) stamp: FileStamp,
}

/// The members of a metadata file, and the state it was in.
type Document = (Map<String, Value>, FileStamp);

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
    let mut read = |name: &str| -> Result<Option<Document>, SourceError> {
        let path = folder.join(name);
        let found = match root.read_metadata(&path) {
            Ok(found) => found,
            Err(error) => {
                fingerprint.record(root, &path);
                if matches!(error, SourceError::Io { .. }) {
                    fingerprint.doubt();
                }
                return Err(error);
            }
        };
        let Some((bytes, stamp)) = found else {
            fingerprint.record_stamp(&path, None);
            return Ok(None);
        };
        fingerprint.record_stamp(&path, Some(stamp));
        match parse_lenient(&bytes) {
            Ok(Value::Object(members)) => Ok(Some((members, stamp))),
            Ok(_) => Err(SourceError::unsupported(path, Unsupported::Member("object"))),
            Err(source) => Err(SourceError::Json { path, source }),
        }
    };

    if let Some((mut document, stamp)) = read("zarr.json")? {
        let file = folder.join("zarr.json");
        check_format(&document, 3, &file)?;
        let attributes = match document.remove("attributes") {
            Some(Value::Object(attributes)) => attributes,
            _ => Map::new(),
        };
        return match document.get("node_type").and_then(Value::as_str) {
            Some("group") => Ok(Some(ZarrNode::Group(attributes))),
            Some("array") => Ok(Some(ZarrNode::Array(Box::new(ArrayNode {
                document,
                zarr_format: 3,
                attributes,
                file,
                stamp,
            })))),
            _ => Err(SourceError::unsupported(file, Unsupported::Member("node_type"))),
        };
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

fn check_format(
    document: &Map<String, Value>,
    wanted: u64,
    file: &Path,
) -> Result<(), SourceError> {
    match document.get("zarr_format") {
        Some(format) if is_number(format, wanted) => Ok(()),
        Some(other) => {
            Err(SourceError::unsupported(file, Unsupported::ZarrFormat(other.to_string())))
        }
        None => Err(SourceError::unsupported(file, Unsupported::Member("zarr_format"))),
    }
}

impl ArrayNode {
    /// Metadata that `zarrs` accepts, with what is known to be harmless repaired.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] when it is not array metadata after all.
    pub(crate) fn normalised(&self, root: &SourceRoot) -> Result<ArrayMetadata, SourceError> {
        let refuse = |error: &serde_json::Error| {
            SourceError::unsupported(&self.file, Unsupported::Array(error.to_string()))
        };
        let mut document = self.document.clone();
        if self.zarr_format == 3 {
            let data_type = document.get("data_type").and_then(Value::as_str).unwrap_or_default();
            let data_type = data_type.to_owned();
            if let Some(codecs) = document.get_mut("codecs") {
                repair_codecs(codecs, &data_type);
            }
            repair_fill_value(&mut document, Kind::of_v3(&data_type));
            document.insert("zarr_format".to_owned(), json!(3));
            document.remove("consolidated_metadata");
            if document.get("storage_transformers").is_some_and(Value::is_null) {
                document.remove("storage_transformers");
            }
            serde_json::from_value::<ArrayMetadataV3>(Value::Object(document))
                .map(ArrayMetadata::V3)
                .map_err(|error| refuse(&error))
        } else {
            if !matches!(document.get("dimension_separator"), Some(Value::String(_))) {
                let separator = if self.has_nested_chunks(root) { "/" } else { "." };
                document.insert("dimension_separator".to_owned(), json!(separator));
            }
            repair_dtype(&mut document);
            let dtype = document.get("dtype").and_then(Value::as_str).unwrap_or_default();
            let kind = Kind::of_v2(dtype);
            repair_fill_value(&mut document, kind);
            if let Some(compressor) = document.get_mut("compressor") {
                repair_level(compressor);
            }
            document.insert("zarr_format".to_owned(), json!(2));
            document.insert("node_type".to_owned(), json!("array"));
            document.entry("order").or_insert(json!("C"));
            document.entry("compressor").or_insert(Value::Null);
            serde_json::from_value::<ArrayMetadataV2>(Value::Object(document))
                .map(ArrayMetadata::V2)
                .map_err(|error| refuse(&error))
        }
    }

    /// Some files leave the separator out although their chunks are nested: `/` then, if there is a
    /// folder with a number for a name and no file like `0.0.0`.
    fn has_nested_chunks(&self, root: &SourceRoot) -> bool {
        let Some(folder) = self.file.parent() else { return false };
        let numeric = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (mut nested, mut flat) = (false, false);
        let seen = root.each_entry(folder, &mut |entry| {
            let name = entry.name.to_str().unwrap_or_default();
            match entry.kind {
                EntryKind::File => flat |= name.contains('.') && name.split('.').all(numeric),
                EntryKind::Directory => nested |= numeric(name),
                _ => {}
            }
            if flat { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        seen.is_ok() && nested && !flat
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

/// Whether a JSON number is `wanted`, also where a writer spelt it with a decimal point.
fn is_number(value: &Value, wanted: u64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "compares with 2 and 3")]
    let wanted = wanted as f64;
    value.as_f64().is_some_and(|number| (number - wanted).abs() < f64::EPSILON)
}

/// What a fill value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    Other,
}

impl Kind {
    fn of_v3(data_type: &str) -> Self {
        if data_type.starts_with("int") || data_type.starts_with("uint") {
            Self::Integer
        } else if data_type.starts_with("float") {
            Self::Float
        } else {
            Self::Other
        }
    }

    fn of_v2(dtype: &str) -> Self {
        match dtype.trim_start_matches(['<', '>', '|', '=']).chars().next() {
            Some('i' | 'u') => Self::Integer,
            Some('f') => Self::Float,
            _ => Self::Other,
        }
    }
}

/// Types of one byte have no byte order, yet some writers state one.
fn repair_dtype(document: &mut Map<String, Value>) {
    let dtype = document.get("dtype").and_then(Value::as_str).unwrap_or_default();
    let plain = dtype.trim_start_matches(['<', '>', '|', '=']);
    if matches!(plain, "u1" | "i1" | "b1") {
        let dtype = format!("|{plain}");
        document.insert("dtype".to_owned(), json!(dtype));
    }
}

/// A number may be spelt `0.0` (z5), `"0"` (early bioformats2raw), `false`, `""`, or be left out.
fn repair_fill_value(document: &mut Map<String, Value>, kind: Kind) {
    let value = document.entry("fill_value").or_insert(Value::Null);
    let repaired = match (kind, &*value) {
        (Kind::Other, _) => None,
        (_, Value::Null) => Some(json!(0)),
        (_, Value::Bool(flag)) => Some(json!(u8::from(*flag))),
        (_, Value::String(text)) if text.trim().is_empty() => Some(json!(0)),
        (Kind::Integer, Value::String(text)) => text.trim().parse::<i128>().ok().and_then(|n| {
            u64::try_from(n).map(Value::from).or_else(|_| i64::try_from(n).map(Value::from)).ok()
        }),
        (Kind::Integer, Value::Number(number)) if number.is_f64() => number
            .as_f64()
            .filter(|n| n.fract() == 0.0)
            .and_then(|n| serde_json::from_str(&format!("{n:.0}")).ok())
            .filter(|value: &Value| value.is_u64() || value.is_i64()),
        // Finite ones only: "NaN", "Infinity" and "0x..." are spelt as Zarr wants them.
        (Kind::Float, Value::String(text)) => {
            text.trim().parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| json!(n))
        }
        _ => None,
    };
    if let Some(repaired) = repaired {
        *value = repaired;
    }
}

/// Decoding needs no compression level, but `zarrs` wants a legal one.
fn repair_level(compressor: &mut Value) {
    let Value::Object(members) = compressor else { return };
    let id = members.get("id").and_then(Value::as_str).unwrap_or_default();
    if matches!(id, "gzip" | "zlib" | "bz2" | "zstd") {
        members.insert("level".to_owned(), json!(1));
    }
}

/// Codec lists as `zarrs` accepts them, at any depth (shards nest them): names without
/// configuration, the `numcodecs.` names of codecs that have their own, members left out.
fn repair_codecs(codecs: &mut Value, data_type: &str) {
    let Value::Array(codecs) = codecs else { return };
    for codec in codecs {
        if let Value::String(name) = codec {
            *codec = json!({"name": name});
        }
        let Value::Object(members) = codec else { continue };
        let name = members.get("name").and_then(Value::as_str).unwrap_or_default();
        let own = match name {
            "numcodecs.zstd" => "zstd",
            "numcodecs.gzip" => "gzip",
            other => other,
        }
        .to_owned();
        members.insert("name".to_owned(), json!(own));
        if !matches!(own.as_str(), "zstd" | "gzip" | "blosc" | "sharding_indexed") {
            continue;
        }
        let configuration = members.entry("configuration").or_insert_with(|| json!({}));
        let Value::Object(configuration) = configuration else { continue };
        match own.as_str() {
            "zstd" => {
                configuration.entry("checksum").or_insert(json!(false));
                configuration.insert("level".to_owned(), json!(1));
            }
            "gzip" => {
                configuration.insert("level".to_owned(), json!(1));
            }
            "blosc" => {
                let bits = data_type.trim_start_matches(|c: char| c.is_ascii_alphabetic());
                let bytes = bits.parse::<u64>().map_or(1, |bits| bits / 8);
                configuration.entry("typesize").or_insert(json!(bytes.max(1)));
            }
            _ => {
                for inner in ["codecs", "index_codecs"] {
                    if let Some(codecs) = configuration.get_mut(inner) {
                        repair_codecs(codecs, data_type);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_values_of_the_wrong_type_are_repaired() {
        for (given, expected) in [
            (json!("0"), json!(0)),
            (json!("-7"), json!(-7)),
            (json!(0.0), json!(0)),
            (json!(null), json!(0)),
            (json!(12), json!(12)),
            (json!(1.5), json!(1.5)),
            (json!(false), json!(0)),
            (json!(""), json!(0)),
        ] {
            let mut document = Map::new();
            document.insert("fill_value".to_owned(), given.clone());
            repair_fill_value(&mut document, Kind::Integer);
            assert_eq!(document["fill_value"], expected, "{given}");
        }
        for (given, expected) in
            [(json!("0"), json!(0.0)), (json!(null), json!(0)), (json!("NaN"), json!("NaN"))]
        {
            let mut document = Map::new();
            document.insert("fill_value".to_owned(), given.clone());
            repair_fill_value(&mut document, Kind::Float);
            assert_eq!(document["fill_value"], expected, "{given}");
        }
    }

    #[test]
    fn what_decoding_does_not_need_does_not_matter() {
        let mut compressor = json!({"id": "gzip", "level": -1});
        repair_level(&mut compressor);
        assert_eq!(compressor["level"], 1);
        let mut document = Map::new();
        document.insert("dtype".to_owned(), json!("<u1"));
        repair_dtype(&mut document);
        assert_eq!(document["dtype"], "|u1");
        let mut codecs = json!(["bytes", {"name": "numcodecs.zstd"}, {"name": "blosc"}]);
        repair_codecs(&mut codecs, "uint16");
        assert_eq!(codecs[0], json!({"name": "bytes"}));
        assert_eq!(codecs[1]["name"], "zstd");
        assert_eq!(codecs[2]["configuration"]["typesize"], 2);
    }

    #[test]
    fn zstd_gets_its_checksum_member_inside_shards() {
        let mut codecs = json!([{"name": "sharding_indexed", "configuration": {
            "codecs": [{"name": "zstd", "configuration": {"level": 3}}]}}]);
        repair_codecs(&mut codecs, "uint16");
        let inner = &codecs[0]["configuration"]["codecs"][0]["configuration"];
        assert_eq!(*inner, json!({"level": 1, "checksum": false}));
    }
}
