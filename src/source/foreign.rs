//! Formats that lie among Zarr stores and are not Zarr: recognised, so that they are named instead of
//! being shown as empty folders.
//!
//! * N5 (`saalfeldlab/n5`, README, "file-system specification"): `attributes.json` of a dataset has
//!   `dimensions`, `blockSize` and `dataType`, that of a container has `n5`; groups need none.
//! * Neuroglancer's precomputed volumes (`google/neuroglancer`, `datasource/precomputed`): `info` with
//!   `@type`, or with `type`, `scales` and `data_type`.
//! * Kerchunk (`fsspec/kerchunk`, "spec"): references in one JSON file, or in a folder of parquet files
//!   whose `.zmetadata` has a `record_size`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::{SourceError, Unsupported};
use super::fingerprint::Fingerprint;
use super::json::parse_lenient;
use super::metadata::METADATA_FILES;
use super::root::{EntryKind, SourceRoot};
use super::storage::Seen;

/// Larger documents are not read: those of N5 and of volumes have some kilobytes.
const DOCUMENT_LIMIT_BYTES: u64 = 1 << 20;

/// Read of a file that may hold references.
const PEEK_BYTES: usize = 4096;

/// Groups of N5 without a document that may lie above a dataset.
const GROUP_DEPTH_LIMIT: usize = 5;

/// Most subfolders looked at to decide whether all of a folder is N5.
const GROUP_NODES_LIMIT: usize = 2_000;

/// Words in the names of JSON files that may hold references.
const REFERENCE_WORDS: [&str; 7] =
    ["zarr", "kerchunk", "ref", "refs", "reference", "references", "combined"];

/// Members of kerchunk's documents; the keys of a store where the document has no version.
const REFERENCE_SIGNS: [&[u8]; 4] = [b"\"refs\"", b".zgroup\"", b".zarray\"", b"zarr.json\""];

/// The format of a folder without Zarr metadata, if it is a known one. The documents that show it are
/// recorded in the fingerprint.
///
/// # Errors
/// [`SourceError::Io`] when a document is there and cannot be read.
pub(crate) fn format_of(
    root: &SourceRoot,
    folder: &Path,
    fingerprint: &mut Fingerprint,
) -> Result<Option<Unsupported>, SourceError> {
    let mut read = |name: &str| read_document(root, &folder.join(name), fingerprint);
    if is_named_n5(folder.as_os_str()) || read("attributes.json")?.is_some_and(|it| is_n5(&it)) {
        return Ok(Some(Unsupported::N5));
    }
    if read("info")?.is_some_and(|info| is_precomputed(&info)) {
        return Ok(Some(Unsupported::Precomputed));
    }
    let consolidated = read(".zmetadata")?;
    if consolidated.is_some_and(|it| it.contains_key("record_size")) {
        return Ok(Some(Unsupported::Kerchunk));
    }
    let mut nodes = GROUP_NODES_LIMIT;
    let is_group = has_only_n5(root, folder, GROUP_DEPTH_LIMIT, &mut nodes, fingerprint);
    Ok(is_group.then_some(Unsupported::N5))
}

/// Whether a regular file by its name may hold references to chunks.
pub(crate) fn may_be_references(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_lowercase();
    let Some(stem) = name.strip_suffix(".json") else { return false };
    stem.split(|c: char| !c.is_alphanumeric()).any(|word| REFERENCE_WORDS.contains(&word))
}

/// The format of a regular file, by its first bytes.
///
/// # Errors
/// [`SourceError::Io`] when the file cannot be read.
pub(crate) fn format_of_file(
    root: &SourceRoot,
    path: &Path,
) -> Result<Option<Unsupported>, SourceError> {
    let fail = |error: io::Error| SourceError::io(path, error);
    let (file, stamp) = root.storage().open(path).map_err(fail)?;
    let mut bytes =
        vec![0; usize::try_from(stamp.size()).map_or(PEEK_BYTES, |n| n.min(PEEK_BYTES))];
    file.read_exact_at(&mut bytes, 0).map_err(fail)?;
    let holds = |sign: &&[u8]| bytes.windows(sign.len()).any(|part| part == *sign);
    Ok(if bytes.trim_ascii_start().starts_with(b"{") && REFERENCE_SIGNS.iter().any(holds) {
        Some(Unsupported::Kerchunk)
    } else {
        None
    })
}

fn is_named_n5(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("n5"))
}

fn is_n5(attributes: &Map<String, Value>) -> bool {
    let has = |name: &str| attributes.contains_key(name);
    has("n5") || (has("dimensions") && has("blockSize") && has("dataType"))
}

fn is_precomputed(info: &Map<String, Value>) -> bool {
    let kind = info.get("@type").and_then(Value::as_str);
    kind.is_some_and(|kind| kind.starts_with("neuroglancer_"))
        || (info.get("scales").is_some_and(Value::is_array)
            && ["type", "data_type"]
                .iter()
                .all(|name| info.get(*name).is_some_and(Value::is_string)))
}

/// A small JSON object; `None` for anything else.
fn read_document(
    root: &SourceRoot,
    path: &Path,
    fingerprint: &mut Fingerprint,
) -> Result<Option<Map<String, Value>>, SourceError> {
    let (file, stamp) = match root.storage().open(path) {
        Ok(opened) => opened,
        Err(error) if is_no_document(&error) => return Ok(None),
        Err(error) => return Err(SourceError::io(path, error)),
    };
    fingerprint.record_stamp(path, Some(stamp));
    if stamp.size() > DOCUMENT_LIMIT_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(stamp.size()).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(|error| SourceError::io(path, error))?;
    match parse_lenient(&bytes) {
        Ok(Value::Object(members)) => Ok(Some(members)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Nothing of that name, or something else: a folder may be called `info`.
fn is_no_document(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidInput
    )
}

/// Whether there is nothing in a folder but datasets of N5, and groups of these. An unreadable entry
/// counts as none of them; it is reported when it is inspected itself.
fn has_only_n5(
    root: &SourceRoot,
    folder: &Path,
    depth: usize,
    nodes: &mut usize,
    fingerprint: &mut Fingerprint,
) -> bool {
    let mut inside: Vec<OsString> = Vec::new();
    fingerprint.record(root, folder);
    let listed = root.each_entry(folder, &mut |entry| {
        if entry.kind == EntryKind::Directory {
            inside.push(entry.name);
        }
        if inside.len() > GROUP_NODES_LIMIT {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if listed.is_err() || inside.is_empty() || inside.len() > *nodes {
        return false;
    }
    *nodes -= inside.len();
    inside.iter().all(|name| {
        let path = folder.join(name);
        // A container that is named so has a line of its own.
        let is_other = is_named_n5(name)
            || METADATA_FILES.iter().any(|file| root.look(&path.join(file)) != Seen::Absent);
        !is_other
            && match read_document(root, &path.join("attributes.json"), fingerprint) {
                Ok(Some(attributes)) if is_n5(&attributes) => true,
                Ok(_) => depth > 1 && has_only_n5(root, &path, depth - 1, nodes, fingerprint),
                Err(_) => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn documents_tell_their_format() {
        assert!(is_n5(&members(&json!({"n5": "4.0.0"}))));
        assert!(is_n5(&members(
            &json!({"dimensions": [1], "blockSize": [1], "dataType": "uint8"})
        )));
        assert!(!is_n5(&members(&json!({"dimensions": [1], "dataType": "uint8"}))));
        assert!(is_precomputed(&members(&json!({"@type": "neuroglancer_multiscale_volume"}))));
        let volume = json!({"type": "image", "data_type": "uint8", "scales": []});
        assert!(is_precomputed(&members(&volume)));
        assert!(!is_precomputed(&members(&json!({"type": "image", "scales": []}))));
    }

    #[test]
    fn names_promise_references() {
        for name in ["a.zarr.json", "kerchunk_x.JSON", "my-refs.json", "combined.json"] {
            assert!(may_be_references(OsStr::new(name)), "{name}");
        }
        for name in ["a.json", "referee.json", "zarr", "refs.txt", "zarr.json.bak"] {
            assert!(!may_be_references(OsStr::new(name)), "{name}");
        }
    }
}
