//! The members of a group that its metadata states, for sources that list nothing: a web server.
//!
//! Sources: consolidated metadata (`.zmetadata` of Zarr v2, `consolidated_metadata` in `zarr.json`, both written
//! by zarr-python), and OME-NGFF 0.4 and 0.5: "plate", "well", and `series` of "bioformats2raw.layout".

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::super::fingerprint::Fingerprint;
use super::super::metadata::{METADATA_FILES, ZarrNode, read_node};
use super::super::root::{SourceRoot, join};

/// Most members of a group that are looked for.
const MOST_MEMBERS: usize = 10_000;

/// The names right in the group at `inside` of a store.
pub(super) fn members(root: &SourceRoot, store: &Path, inside: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for above in inside.ancestors() {
        let below = inside.strip_prefix(above).unwrap_or(inside);
        for path in consolidated(root, &join(store, above)) {
            found.extend(first_below(&path, below));
        }
        for path in listed(root, &join(store, above)) {
            found.extend(first_below(&path, below));
        }
    }
    found.into_iter().take(MOST_MEMBERS).collect()
}

/// The name that a path has right below a folder.
fn first_below(path: &str, folder: &Path) -> Option<String> {
    let inside = Path::new(path).strip_prefix(folder).ok()?;
    let name = inside.iter().next()?.to_str()?;
    let is_plain = name != ".." && name != "/" && !METADATA_FILES.contains(&name);
    is_plain.then(|| name.to_owned())
}

/// The paths of all nodes that the consolidated metadata of a group has.
fn consolidated(root: &SourceRoot, group: &Path) -> Vec<String> {
    let read = |name: &str| -> Option<Value> {
        let (bytes, _) = root.read_metadata(&group.join(name)).ok()??;
        serde_json::from_slice(&bytes).ok()
    };
    let keys = |found: Option<&Value>| -> Vec<String> {
        let members = found.and_then(Value::as_object);
        members.map(|members| members.keys().cloned().collect()).unwrap_or_default()
    };
    if let Some(of_v3) = read("zarr.json") {
        let consolidated = of_v3.get("consolidated_metadata");
        return keys(consolidated.and_then(|consolidated| consolidated.get("metadata")));
    }
    keys(read(".zmetadata").as_ref().and_then(|document| document.get("metadata")))
}

/// The paths that the attributes of a group list: wells, fields, series.
fn listed(root: &SourceRoot, group: &Path) -> Vec<String> {
    let attributes = |folder: &Path| match read_node(root, folder, &mut Fingerprint::default()) {
        Ok(Some(ZarrNode::Group(attributes))) => Some(attributes),
        _ => None,
    };
    let Some(own) = attributes(group) else { return Vec::new() };
    let ome = ome_of(&own);
    let mut paths = paths_of(ome.get("plate").and_then(|plate| plate.get("wells")));
    paths.extend(paths_of(ome.get("well").and_then(|well| well.get("images"))));
    if ome.contains_key("bioformats2raw.layout") {
        let series = attributes(&group.join("OME")).unwrap_or_default();
        let series = ome_of(&series).get("series").and_then(Value::as_array);
        let names = series.into_iter().flatten().filter_map(Value::as_str);
        paths.extend(names.map(str::to_owned));
    }
    paths
}

/// Where OME metadata stands: below `ome` since 0.5.
fn ome_of(attributes: &Map<String, Value>) -> &Map<String, Value> {
    attributes.get("ome").and_then(Value::as_object).unwrap_or(attributes)
}

/// The `path` of each entry of a list.
fn paths_of(list: Option<&Value>) -> Vec<String> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    let path = |entry: &Value| entry.get("path").and_then(Value::as_str).map(str::to_owned);
    entries.filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::storage::Memory;

    fn found(files: &[(&str, Value)], inside: &str) -> Vec<String> {
        let memory = Memory::default();
        for (path, document) in files {
            memory.put(path, document.to_string().as_bytes());
        }
        let root = SourceRoot::in_memory(memory);
        members(&root, Path::new("s"), Path::new(inside)).into_iter().collect()
    }

    #[test]
    fn members_are_those_that_metadata_states() {
        let group = json!({"zarr_format": 2});
        let v2 = json!({"metadata": {".zgroup": group, "a/.zgroup": group, "a/b/.zarray": {}, "c/.zattrs": {}}});
        assert_eq!(found(&[("s/.zmetadata", v2.clone())], ""), ["a", "c"]);
        assert_eq!(found(&[("s/.zmetadata", v2)], "a"), ["b"]);
        let v3 = json!({"zarr_format": 3, "node_type": "group", "attributes": {},
            "consolidated_metadata": {"metadata": {"a": {}, "a/b": {}, "../x": {}}}});
        assert_eq!(found(&[("s/zarr.json", v3)], ""), ["a"]);
        let plate =
            json!({"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}, {"path": "B/1"}]}});
        let well = json!({"well": {"images": [{"path": "0"}, {"path": "1"}]}});
        let files = [("s/.zattrs", plate), ("s/A/1/.zattrs", well)];
        assert_eq!(found(&files, ""), ["A", "B"]);
        assert_eq!(found(&files, "A"), ["1", "2"]);
        assert_eq!(found(&files, "A/1"), ["0", "1"]);
        let series = [
            ("s/.zattrs", json!({"bioformats2raw.layout": 3})),
            ("s/OME/.zattrs", json!({"series": ["0", "1"]})),
        ];
        assert_eq!(found(&series, ""), ["0", "1"]);
    }
}
