//! Zarr metadata files, read leniently and normalised for `zarrs`.
//!
//! Sources: Zarr v2 specification ("Metadata"), Zarr v3 core specification ("Metadata"), and what
//! writers put into files in spite of them: fill values of the wrong type, `zstd` without `checksum`,
//! a missing `dimension_separator`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zarrs::metadata::ArrayMetadata;
use zarrs::metadata::v2::ArrayMetadataV2;
use zarrs::metadata::v3::ArrayMetadataV3;

use super::json::parse_lenient;
use super::root::{EntryKind, Fingerprint, SourceRoot};
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
}

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
    let mut read = |name: &str| -> Result<Option<Map<String, Value>>, SourceError> {
        let path = folder.join(name);
        let Some((bytes, stamp)) = root.read_metadata(&path)? else {
            fingerprint.record_stamp(&path, None);
            return Ok(None);
        };
        fingerprint.record_stamp(&path, Some(stamp));
        match parse_lenient(&bytes) {
            Ok(Value::Object(members)) => Ok(Some(members)),
            Ok(_) => Err(SourceError::unsupported(path, Unsupported::Member("object"))),
            Err(source) => Err(SourceError::Json { path, source }),
        }
    };

    if let Some(mut document) = read("zarr.json")? {
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
            })))),
            _ => Err(SourceError::unsupported(file, Unsupported::Member("node_type"))),
        };
    }
    let array = read(".zarray")?;
    let attributes = read(".zattrs")?;
    if let Some(document) = array {
        let file = folder.join(".zarray");
        check_format(&document, 2, &file)?;
        let attributes = attributes.unwrap_or_default();
        let node = ArrayNode { document, zarr_format: 2, attributes, file };
        return Ok(Some(ZarrNode::Array(Box::new(node))));
    }
    let group = read(".zgroup")?;
    if let Some(document) = &group {
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
        Some(format) if format.as_u64() == Some(wanted) => Ok(()),
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
            for member in ["codecs", "fill_value", "data_type"] {
                if let Some(value) = document.get_mut(member) {
                    repair_codecs(value);
                }
            }
            let integer = document.get("data_type").and_then(Value::as_str).is_some_and(is_integer);
            repair_fill_value(&mut document, integer);
            document.remove("consolidated_metadata");
            serde_json::from_value::<ArrayMetadataV3>(Value::Object(document))
                .map(ArrayMetadata::V3)
                .map_err(|error| refuse(&error))
        } else {
            if !matches!(document.get("dimension_separator"), Some(Value::String(_))) {
                let separator = if self.has_nested_chunks(root) { "/" } else { "." };
                document.insert("dimension_separator".to_owned(), json!(separator));
            }
            let integer = document.get("dtype").and_then(Value::as_str).is_some_and(|dtype| {
                dtype.trim_start_matches(['<', '>', '|', '=']).starts_with(['i', 'u'])
            });
            repair_fill_value(&mut document, integer);
            document.insert("node_type".to_owned(), json!("array"));
            serde_json::from_value::<ArrayMetadataV2>(Value::Object(document))
                .map(ArrayMetadata::V2)
                .map_err(|error| refuse(&error))
        }
    }

    /// Some files leave the separator out although their chunks are nested: `/` then, if there is a
    /// folder with a number for a name and no file like `0.0.0`.
    fn has_nested_chunks(&self, root: &SourceRoot) -> bool {
        let Some(folder) = self.file.parent() else { return false };
        let Ok(entries) = root.list(folder) else { return false };
        let numeric = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mut nested = false;
        for entry in entries {
            let Some(name) = entry.name.to_str() else { continue };
            match entry.kind {
                EntryKind::File if name.contains('.') && name.split('.').all(numeric) => {
                    return false;
                }
                EntryKind::Directory if numeric(name) => nested = true,
                _ => {}
            }
        }
        nested
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

fn is_integer(data_type: &str) -> bool {
    data_type.starts_with("int") || data_type.starts_with("uint")
}

/// An integer array may say `0.0` (z5) or `"0"` (early bioformats2raw) or nothing (v2 `null`).
fn repair_fill_value(document: &mut Map<String, Value>, integer: bool) {
    let Some(value) = document.get_mut("fill_value") else {
        document.insert("fill_value".to_owned(), json!(0));
        return;
    };
    if integer {
        let repaired = match &*value {
            Value::String(text) => text.trim().parse::<i128>().ok().and_then(|n| {
                u64::try_from(n)
                    .map(Value::from)
                    .or_else(|_| i64::try_from(n).map(Value::from))
                    .ok()
            }),
            Value::Number(number) if number.is_f64() => number
                .as_f64()
                .filter(|n| n.fract() == 0.0 && n.abs() < 9e15)
                .and_then(|n| serde_json::from_str(&format!("{n:.0}")).ok()),
            Value::Null => Some(json!(0)),
            _ => None,
        };
        if let Some(repaired) = repaired {
            *value = repaired;
        }
    }
}

/// `zstd` without `checksum` means `false`, at any depth of a codec list (shards nest them).
fn repair_codecs(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(repair_codecs),
        Value::Object(members) => {
            if members.get("name").and_then(Value::as_str) == Some("zstd") {
                let configuration = members.entry("configuration").or_insert_with(|| json!({}));
                if let Value::Object(configuration) = configuration {
                    configuration.entry("checksum").or_insert(json!(false));
                    configuration.entry("level").or_insert(json!(0));
                }
            }
            members.values_mut().for_each(repair_codecs);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
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
        ] {
            let mut document = Map::new();
            document.insert("fill_value".to_owned(), given.clone());
            repair_fill_value(&mut document, true);
            assert_eq!(document["fill_value"], expected, "{given}");
        }
    }

    #[test]
    fn zstd_gets_its_checksum_member_inside_shards() {
        let mut codecs = json!([{"name": "sharding_indexed", "configuration": {
            "codecs": [{"name": "zstd", "configuration": {"level": 3}}]}}]);
        repair_codecs(&mut codecs);
        let inner = &codecs[0]["configuration"]["codecs"][0]["configuration"];
        assert_eq!(*inner, json!({"level": 3, "checksum": false}));
    }
}
