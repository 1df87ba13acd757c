//! Nodes whose metadata says that they are no images.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::error::Unsupported;
use super::super::metadata::ArrayNode;

/// Largest matrix of a transform: homogeneous, of five axes (OME-NGFF 0.6, "affine").
const MATRIX_LIMIT: u64 = 6;

/// Members of `ome` that say what the walk does (OME-NGFF 0.5).
const UNDERSTOOD: [&str; 8] = [
    "multiscales",
    "plate",
    "well",
    "labels",
    "series",
    "omero",
    "image-label",
    "bioformats2raw.layout",
];

/// Members of `ome` that do not describe the nodes below.
const NEUTRAL: [&str; 4] = ["version", "name", "description", "_creator"];

/// Members of `ome` that place or select the nodes below: collections (RFC-8) and scenes (0.6).
const PLACING: [&str; 4] = ["nodes", "collection", "collections", "scene"];

/// Members that are named in one line, and the bytes of each.
const MEMBERS_TOLD: usize = 8;
const MEMBER_TOLD_CHARS: usize = 64;

/// Why the shape of an array outside any multiscales shows that it is no image.
pub(super) fn not_an_image(inside: &Path, node: &ArrayNode) -> Option<Unsupported> {
    let shape = node.document.get("shape")?.as_array()?;
    match &shape[..] {
        [] => Some(Unsupported::Dimensions(0)),
        [_] => {
            // xarray calls the array of an axis' coordinates like the axis ("dimension coordinate").
            let names = node.dimension_names().unwrap_or_default();
            let is_own =
                inside.file_name().is_some_and(|own| names.iter().any(|name| own == &**name));
            Some(if is_own { Unsupported::Coordinates } else { Unsupported::Dimensions(1) })
        }
        [rows, columns] => {
            let (rows, columns) = (rows.as_u64()?, columns.as_u64()?);
            // Square, or with a column for the translation.
            let is_matrix = (2..=MATRIX_LIMIT).contains(&columns)
                && rows >= 2
                && (rows == columns || rows == columns - 1);
            let has_image =
                ["multiscales", "ome"].iter().any(|it| node.attributes.contains_key(*it));
            (is_matrix && !has_image).then_some(Unsupported::Matrix(rows, columns))
        }
        _ => None,
    }
}

/// Members of the metadata of a group without images that are not understood.
pub(super) fn not_understood(attributes: &Map<String, Value>) -> Option<Unsupported> {
    let ome = attributes.get("ome").and_then(Value::as_object);
    let has = |name: &str| ome.is_some_and(|ome| ome.contains_key(name));
    if attributes.contains_key("multiscales") || has("multiscales") {
        return Some(Unsupported::Member("multiscales"));
    }
    let is_unknown =
        |name: &&String| !UNDERSTOOD.contains(&name.as_str()) && !NEUTRAL.contains(&name.as_str());
    let mut unknown: Vec<&String> = ome?.keys().filter(is_unknown).collect();
    unknown.sort_unstable();
    let is_lost = !UNDERSTOOD.iter().any(|name| has(name)) || PLACING.iter().any(|name| has(name));
    if unknown.is_empty() || !is_lost {
        return None;
    }
    let quoted = |name: &&String| {
        let name: String = name.chars().take(MEMBER_TOLD_CHARS).collect();
        format!("{name:?}")
    };
    let mut told: Vec<String> = unknown.iter().take(MEMBERS_TOLD).map(quoted).collect();
    if unknown.len() > MEMBERS_TOLD {
        told.push(format!("and {} more", unknown.len() - MEMBERS_TOLD));
    }
    Some(Unsupported::OmeMembers(told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn told(attributes: &Value) -> Option<String> {
        not_understood(attributes.as_object().expect("an object")).map(|reason| reason.to_string())
    }

    #[test]
    fn collections_and_scenes_are_named() {
        let collection = json!({"ome": {"version": "0.7", "type": "collection", "name": "x",
            "nodes": [{"type": "multiscale", "path": {"type": "zarr", "path": "./a"}}]}});
        let line = told(&collection).expect("told");
        assert!(line.contains("\"nodes\", \"type\""), "{line}");
        assert!(
            told(&json!({"ome": {"version": "0.6", "scene": {}}})).expect("told").contains("scene")
        );
        assert!(told(&json!({"ome": {"plate": {}, "nodes": []}})).expect("told").contains("nodes"));
        let many: Map<String, Value> =
            (0..5000).map(|n| (n.to_string().repeat(200), json!(0))).collect();
        assert!(told(&json!({"ome": many})).expect("told").len() < 1000);
    }

    #[test]
    fn an_unusable_list_of_images_is_told() {
        for multiscales in [json!([]), json!({}), json!("x"), json!([3])] {
            assert!(
                told(&json!({"multiscales": multiscales})).expect("told").contains("multiscales")
            );
            assert!(told(&json!({"ome": {"multiscales": multiscales}})).is_some());
        }
    }

    #[test]
    fn what_is_understood_is_no_news() {
        for attributes in [
            json!({}),
            json!({"ome": {"version": "0.5"}}),
            json!({"ome": {"plate": {}, "version": "0.5", "vendor": 3}}),
            json!({"ome": {"series": ["0"], "_creator": {"name": "x"}}}),
            json!({"ome": "text", "nodes": []}),
        ] {
            assert_eq!(told(&attributes), None, "{attributes}");
        }
    }
}
