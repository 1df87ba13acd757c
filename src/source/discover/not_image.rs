//! Nodes whose metadata says that they are no images.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::error::Unsupported;
use super::super::metadata::ArrayNode;

/// Largest matrix of a transform: homogeneous, of five axes (OME-NGFF 0.6, "affine").
const MATRIX_LIMIT: u64 = 6;

/// Members of `ome` that say what the walk does (OME-NGFF 0.5).
const UNDERSTOOD: [&str; 9] = [
    "scene",
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

/// Members of `ome` that may place or select the nodes below, and are not known.
const PLACING: [&str; 2] = ["collection", "collections"];

/// Members of a collection (RFC-8).
const OF_COLLECTIONS: [&str; 4] = ["type", "id", "nodes", "attributes"];

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
    let is_node = ome.is_some_and(|ome| !ome.contains_key("multiscales") && is_image_node(ome));
    if is_node {
        return Some(Unsupported::Member("nodes"));
    }
    let is_collection = ome.is_some_and(|ome| ome.get("type").is_some_and(|it| it == "collection"));
    let is_unknown = |name: &&String| {
        let name = name.as_str();
        let is_of_collection = is_collection && OF_COLLECTIONS.contains(&name);
        !UNDERSTOOD.contains(&name) && !NEUTRAL.contains(&name) && !is_of_collection
    };
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

/// Whether an `ome` object is the node of an image.
fn is_image_node(ome: &Map<String, Value>) -> bool {
    ome.get("type").is_some_and(|kind| kind == "multiscale" || kind == "singlescale")
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
    fn members_that_are_not_known_are_named() {
        let future =
            json!({"ome": {"version": "0.9", "type": "gallery", "name": "x", "nodes": []}});
        let line = told(&future).expect("told");
        assert!(line.contains("\"nodes\", \"type\""), "{line}");
        let line = told(&json!({"ome": {"type": "multiscale", "nodes": 3}})).expect("told");
        assert!(line.contains("\"nodes\""), "{line}");
        let collection = json!({"ome": {"type": "collection", "nodes": [], "wells": 3}});
        assert!(told(&collection).expect("told").contains("wells"));
        let line = told(&json!({"ome": {"plate": {}, "collections": []}})).expect("told");
        assert!(line.contains("collections"), "{line}");
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
            json!({"ome": {"version": "0.6", "scene": {}}}),
            json!({"ome": {"type": "collection", "nodes": [], "name": "x", "id": "a"}}),
            json!({"ome": {"plate": {}, "version": "0.5", "vendor": 3}}),
            json!({"ome": {"series": ["0"], "_creator": {"name": "x"}}}),
            json!({"ome": "text", "nodes": []}),
        ] {
            assert_eq!(told(&attributes), None, "{attributes}");
        }
    }
}
